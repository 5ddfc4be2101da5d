"""The reader against foreign ones: libwim over libntfs-3g, sleuthkit, ntfs-3g's own tools."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import lzma
import os
import random
import struct
from collections.abc import Iterable
from pathlib import Path

import pytest

from sekiso.disks.blocks import FileBlocks, SliceBlocks
from sekiso.disks.ntfs import open_ntfs
from sekiso.disks.ntfs.scan import ATTRIBUTE_LIST
from sekiso.errors import CanceledError, DamagedInputError, DirtyVolumeError, UnsupportedInputError
from sekiso.model.progress import SilentProgress
from sekiso.wim.blobs import HashSink
from sekiso.wim.tree import NO_BLOB, Node, find, walk

from .volumes import (
    LONG_TEXT,
    fragment,
    junction_data,
    libwim_tree,
    make_volume,
    mounted,
    populate,
    reparse,
    run,
    set_attributes,
    symlink_data,
    write,
)

WINDOWS_MADE = Path("/usr/share/forensics-samples/fs.ntfs.xz")


def differences(theirs: Node, ours: Node) -> list[str]:
    """Compare two trees in every field; link groups as partitions of paths."""
    left, right = {"/": theirs, **dict(walk(theirs))}, {"/": ours, **dict(walk(ours))}
    found = [f"only libwim: {path}" for path in left.keys() - right.keys()]
    found += [f"only Sekiso: {path}" for path in right.keys() - left.keys()]
    for path in left.keys() & right.keys():
        for item in dataclasses.fields(Node):
            if item.name in ("children", "link_group"):
                continue
            a, b = getattr(left[path], item.name), getattr(right[path], item.name)
            if a != b:
                found.append(f"{path}: {item.name}: {a!r} != {b!r}")
    if partition(left) != partition(right):
        found.append("link groups differ")
    return found


def partition(nodes: dict[str, Node]) -> set[frozenset[str]]:
    groups: dict[int, set[str]] = {}
    for path, node in nodes.items():
        if node.link_group:
            groups.setdefault(node.link_group, set()).add(path)
    return {frozenset(paths) for paths in groups.values() if len(paths) > 1}


def assert_equal_to_libwim(volume: Path, scratch: Path) -> Node:
    theirs = libwim_tree(volume, scratch)
    with FileBlocks(volume) as blocks:
        ours = open_ntfs(blocks).tree(HashSink())
    assert differences(theirs, ours) == []
    return ours


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rich")
    volume = make_volume(folder / "rich.img", 64)
    with mounted(volume, folder / "mnt") as m:
        populate(m)
        fragment(m, "fragmented", 1500, random.Random(5))
    return volume


@pytest.mark.root
def test_rich_volume_is_what_libwim_captures(rich: Path, tmp_path: Path) -> None:
    tree = assert_equal_to_libwim(rich, tmp_path)
    paths = dict(walk(tree))
    assert len(paths) > 1500
    assert paths["/Program Files"].short_name == "PROGRA~1"
    assert paths["/Users/born.txt"].object_id == bytes(range(100, 164))
    assert [name for name, _ in paths["/Users/Public/dl.exe"].named_streams] == [
        "Zone.Identifier",
        "big",
        "empty",
    ]
    assert paths["/Documents and Settings"].reparse is not None
    assert paths["/many/first"].link_group != 0
    assert paths["/comp/text"].data == hashlib.sha1(LONG_TEXT).digest()


@pytest.mark.root
@pytest.mark.parametrize(
    "options",
    [
        ("-c", "512"),
        ("-c", "1024"),
        ("-c", "65536"),
        ("-s", "4096", "-c", "4096"),
    ],
    ids=["512", "1024", "64K", "4Kn"],
)
def test_cluster_and_sector_sizes(tmp_path: Path, options: tuple[str, ...]) -> None:
    volume = make_volume(tmp_path / "v.img", 32, *options)
    with mounted(volume, tmp_path / "mnt") as m:
        write(m, "folder/file", random.Random(3).randbytes(300_000))
        write(m, "folder/tiny", b"tiny")
        for number in range(300):
            write(m, f"many/{number}", str(number).encode())
    assert_equal_to_libwim(volume, tmp_path)


@pytest.mark.root
def test_file_table_with_an_attribute_list(tmp_path: Path) -> None:
    """A file table in so many pieces that its own record does not hold them all."""
    volume = make_volume(tmp_path / "v.img", 8, "-c", "512", "-z", "1")
    with mounted(volume, tmp_path / "mnt") as m:
        fill = 0
        (m / "f").mkdir()
        with contextlib.suppress(OSError):  # until the volume is full
            while True:
                (m / f"f/{fill}").write_bytes(b"\xaa" * 1000)
                fill += 1
        for number in range(0, fill, 2):  # now free room comes in small pieces only
            (m / f"f/{number}").unlink()
        for number in range(fill // 2 + 700):
            (m / f"f/new {number}").write_bytes(b"n" * 100)
    with FileBlocks(volume) as blocks:
        table = open_ntfs(blocks).table
        first = table.attributes.first
        row = table.records.row_of(0)
        assert ATTRIBUTE_LIST in table.attributes.kind[first[row] : first[row + 1]]
        assert len(table.records.extents) > 200
    assert_equal_to_libwim(volume, tmp_path)


def test_volume_made_by_windows(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(lzma.decompress(WINDOWS_MADE.read_bytes()))
    volume = tmp_path / "volume.img"
    volume.write_bytes(disk.read_bytes()[2048 * 512 :][: 100352 * 512])
    assert_equal_to_libwim(volume, tmp_path)
    with FileBlocks(disk) as blocks:
        tree = open_ntfs(SliceBlocks(blocks, 2048 * 512, 100352 * 512, label="partition 1")).tree(HashSink())
    listed = run("fls", "-r", "-p", "-u", volume).splitlines()
    names = {line.split(":\t", 1)[1] for line in listed if line[:3] in ("r/r", "d/d")}
    theirs = {
        name for name in names if not name.startswith("$") and ":" not in name and "System Volume" not in name
    }
    ours = {path[1:] for path, _ in walk(tree) if not path.startswith(("/$", "/System Volume"))}
    assert ours == theirs


@pytest.mark.root
def test_content_as_sleuthkit_and_ntfscat_read_it(rich: Path) -> None:
    with FileBlocks(rich) as blocks:
        volume = open_ntfs(blocks)
        for path in ("/comp/mixed", "/fragmented", "/sparse.bin", "/Windows/System32/a.dll", "/comp/text"):
            ours = volume.read_file(path)
            assert ours == _output("ntfscat", rich, path)
        number = volume.paths.lookup("/Users/Public/dl.exe").owner  # type: ignore[union-attr]
        assert volume.read_file("/users/PUBLIC/DL.exe") == _output("icat", rich, str(number))
        assert volume.read_file("/absent") is None
        assert volume.read_file("/Users") is None
        assert volume.read_file("/Users/link.txt") == b"resident"
        assert volume.read_file("/Documents and Settings/Public/dl.exe") == b"exe" * 1000
        with pytest.raises(UnsupportedInputError, match="the limit here is 10"):
            volume.read_file("/comp/text", limit_bytes=10)
        assert volume.facts.label == "Sekiso test"
        serial = _output("fsstat", rich).decode()
        assert f"Volume Serial Number: {volume.facts.uuid}" in serial
        text = _output("ntfsinfo", "-m", rich).decode()
        free = next(int(line.split()[2]) for line in text.splitlines() if "Free Clusters" in line)
        geometry = volume.access.geometry
        assert volume.facts.used_bytes == (geometry.cluster_count - free) * geometry.cluster_size_bytes


def _output(*argv: str | Path) -> bytes:
    import subprocess

    return subprocess.run([str(a) for a in argv], capture_output=True, check=True).stdout


@pytest.mark.root
def test_parts_of_the_tree(rich: Path) -> None:
    with FileBlocks(rich) as blocks:
        volume = open_ntfs(blocks)
        part = volume.tree(HashSink(), only=["/Users/Public/dl.exe", "/TREE-not-there"], exclude=["/wide"])
        assert [path for path, _ in walk(part)] == ["/Users", "/Users/Public", "/Users/Public/dl.exe"]
        rest = dict(walk(volume.tree(HashSink(), exclude=["/wide", "/many", "/Windows/WinSxS"])))
        assert not [path for path in rest if path.startswith(("/wide", "/many", "/Windows/WinSxS"))]
        assert rest["/Windows/System32/a.dll"].link_group == rest["/Windows/System32/b.dll"].link_group != 0
        alone = volume.tree(HashSink(), only=["/Windows/System32/a.dll"])
        assert find(alone, "/Windows/System32/a.dll").link_group == 0  # type: ignore[union-attr]


@pytest.mark.root
def test_cancel_and_progress(rich: Path) -> None:
    class Impatient(SilentProgress):
        seen = 0

        def advance(self, done: int) -> None:
            self.seen = done

        def canceled(self) -> bool:
            return self.seen > 100_000

    with FileBlocks(rich) as blocks, pytest.raises(CanceledError):
        open_ntfs(blocks).tree(HashSink(), progress=Impatient())


@pytest.mark.root
def test_reported_and_refused(tmp_path: Path) -> None:
    volume = make_volume(tmp_path / "v.img", 32)
    with mounted(volume, tmp_path / "mnt") as m:
        ea = struct.pack("<IBBH", 20, 0, 5, 4) + b"NAME1\0" + b"data"
        os.setxattr(write(m, "with-ea", b"x"), "system.ntfs_ea", ea + bytes(-len(ea) % 4))
        data = struct.pack("<IIII", 1, 2, 1, 0)
        wof = write(m, "wof.exe", b"")
        os.setxattr(wof, "user.WofCompressedData", b"compressed elsewhere")
        with wof.open("r+b") as stream:
            stream.truncate(100_000)
        os.setxattr(wof, "system.ntfs_reparse_data", reparse(0x80000017, data))
        os.setxattr(write(m, "dedup.bin", b""), "system.ntfs_reparse_data", reparse(0x80000013, bytes(120)))
        set_attributes(write(m, "plain", b"p"), 0x20)
        os.setxattr(write(m, "loop-a", b""), "system.ntfs_reparse_data", symlink_data("loop-b"))
        os.setxattr(write(m, "loop-b", b""), "system.ntfs_reparse_data", symlink_data("loop-a"))
        (m / "up").mkdir()
        os.setxattr(m / "up", "system.ntfs_reparse_data", junction_data("D:\\"))
    with FileBlocks(volume) as blocks:
        opened = open_ntfs(blocks)
        with pytest.raises(UnsupportedInputError, match="deduplicated"):
            opened.tree(HashSink())
        with pytest.raises(UnsupportedInputError, match="overlay filter"):
            opened.read_file("/wof.exe")
        assert opened.read_file("/loop-a") is None
        assert opened.read_file("/up/plain") == b"p"
        tree = opened.tree(HashSink(), exclude=["/dedup.bin"])
        assert any("/with-ea" in line and "$EA" in line for line in opened.dropped)
        wof_node = find(tree, "/wof.exe")
        assert wof_node is not None
        assert wof_node.data == hashlib.sha1(bytes(100_000)).digest()
        assert [name for name, _ in wof_node.named_streams] == ["WofCompressedData"]
        assert wof_node.reparse is not None
        assert wof_node.reparse.tag == 0x80000017


@pytest.mark.root
def test_hibernated_volume_is_refused(tmp_path: Path) -> None:
    volume = make_volume(tmp_path / "v.img", 16)
    for content, refused in ((b"wake" + bytes(5000), False), (b"hibr" + bytes(5000), True)):
        with mounted(volume, tmp_path / "mnt", "remove_hiberfile") as m:
            write(m, "hiberfil.sys", content)
        with FileBlocks(volume) as blocks:
            if not refused:
                open_ntfs(blocks)
                continue
            with pytest.raises(DirtyVolumeError, match="hibernated") as caught:
                open_ntfs(blocks)
    assert "powercfg /h off" in str(caught.value)


def test_dirty_volumes_are_refused(tmp_path: Path) -> None:
    """The dirty mark and an open journal, put where NTFS keeps them."""
    volume = make_volume(tmp_path / "v.img", 16)
    clean = bytearray(volume.read_bytes())
    with FileBlocks(volume) as blocks:
        opened = open_ntfs(blocks)
        record = opened.table.offset_of(3)
        log = opened.table.load(2).streams[""].extents[0].lcn * opened.access.geometry.cluster_size_bytes
    marked = bytearray(clean)
    at = _attribute(marked, record, 0x70)
    marked[at + 24 + 10] |= 1
    volume.write_bytes(marked)
    with FileBlocks(volume) as blocks, pytest.raises(DirtyVolumeError, match="marked as dirty"):
        open_ntfs(blocks)
    for clients, flags, major, refused in (
        (0, 0, 1, True),
        (0, 2, 1, False),
        (0xFFFF, 0, 1, False),
        (0xFFFF, 0, 2, True),
    ):
        open_log = bytearray(clean)
        for page, lsn in ((0, 50), (4096, 100)):
            head = b"RSTR" + struct.pack("<HHQIIHHH", 30, 9, 0, 4096, 4096, 48, 0, major)
            area = struct.pack("<QHHHH", lsn, 1, 0xFFFF, clients if page else 0xFFFF, flags if page else 2)
            open_log[log + page : log + page + len(head)] = head
            open_log[log + page + 48 : log + page + 48 + len(area)] = area
        volume.write_bytes(open_log)
        with FileBlocks(volume) as blocks:
            if refused:
                with pytest.raises(DirtyVolumeError, match="journal"):
                    open_ntfs(blocks)
            else:
                open_ntfs(blocks)


def _attribute(data: bytearray, record: int, kind: int) -> int:
    at = record + struct.unpack_from("<H", data, record + 20)[0]
    while struct.unpack_from("<I", data, at)[0] != kind:
        at += struct.unpack_from("<I", data, at + 4)[0]
    return at


def test_torn_record_is_reported_not_skipped(tmp_path: Path) -> None:
    volume = make_volume(tmp_path / "v.img", 16)
    data = bytearray(volume.read_bytes())
    with FileBlocks(volume) as blocks:
        place = open_ntfs(blocks).table.offset_of(24)
    data[place + 510] ^= 0xFF
    volume.write_bytes(data)
    with FileBlocks(volume) as blocks:
        opened = open_ntfs(blocks)
        assert opened.table.records.torn == (24,)
        with pytest.raises(DamagedInputError, match="only partly written, the first is number 24"):
            opened.tree(HashSink())


def test_no_ntfs_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.img"
    for content in (b"", bytes(4096), b"\xeb\x52\x90-FVE-FS-" + bytes(600)):
        path.write_bytes(content)
        with FileBlocks(path) as blocks, pytest.raises((DamagedInputError, UnsupportedInputError)):
            open_ntfs(blocks)


class _Checked:
    """A sink that checks that as much comes as was announced."""

    def add(self, chunks: Iterable[bytes | memoryview], size_bytes: int) -> bytes:
        total = sum(len(chunk) for chunk in chunks)
        assert total == size_bytes
        return NO_BLOB


@pytest.mark.root
def test_sizes_are_announced_rightly(rich: Path) -> None:
    with FileBlocks(rich) as blocks:
        open_ntfs(blocks).tree(_Checked())
