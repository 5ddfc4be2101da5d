"""Changes between two states of a volume, against the difference of two captures by libwim."""

from __future__ import annotations

import functools
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sekiso.disks.blocks import ByteRange, FileBlocks
from sekiso.disks.ntfs import open_ntfs
from sekiso.disks.ntfs.changes import changes_between
from sekiso.disks.volume import VolumeChanges
from sekiso.errors import UnsupportedInputError
from sekiso.wim.blobs import HashSink
from sekiso.wim.tree import ARCHIVE, NO_BLOB, NORMAL, Node, find, walk

from .volumes import (
    ADMINS,
    SYSTEM,
    USERS,
    ace,
    descriptor,
    libwim_tree,
    make_volume,
    mounted,
    populate,
    run,
    set_attributes,
    write,
)

pytestmark = pytest.mark.root


@dataclass(frozen=True)
class Pair:
    base: Path
    modified: Path
    scratch: Path


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One volume with rich content; tests copy it."""
    folder = tmp_path_factory.mktemp("filled")
    volume = make_volume(folder / "base.img", 48)
    with mounted(volume, folder / "mnt") as m:
        populate(m)
        for name in ("x", "y", "deep/z"):
            write(m, f"tree/{name}", name.encode() * 1000)
        write(m, "other/x", b"other x")
    return volume


@pytest.fixture
def change(filled: Path, tmp_path: Path) -> Callable[..., Pair]:
    """Make a changed copy of the volume."""

    def make(*steps: Callable[[Path], None]) -> Pair:
        modified = tmp_path / "modified.img"
        run("cp", "--sparse=always", filled, modified)
        for step in steps:
            with mounted(modified, tmp_path / "mnt") as m:
                step(m)
        return Pair(filled, modified, tmp_path)

    return make


def written(pair: Pair) -> list[ByteRange]:
    """What an overlay would hold: 64 KiB pieces that differ."""
    found = []
    with pair.base.open("rb") as a, pair.modified.open("rb") as b:
        at = 0
        while piece := a.read(65536):
            if piece != b.read(65536):
                found.append(ByteRange(at, 65536))
            at += 65536
    return found


def found_by_us(pair: Pair) -> VolumeChanges:
    """Compare with and without the overlay's map: both must say the same."""
    with FileBlocks(pair.base) as a, FileBlocks(pair.modified) as b:
        base, modified = open_ntfs(a), open_ntfs(b)
        with_map = changes_between(base, modified, written(pair))
        without = changes_between(base, modified, None)
    assert (with_map.changed, with_map.deleted, with_map.replaced) == (
        without.changed,
        without.deleted,
        without.replaced,
    )
    return with_map


def signature(node: Node) -> tuple[object, ...]:
    return (
        node.attributes & ~(ARCHIVE | NORMAL),
        node.creation_time,
        0 if node.is_directory else node.write_time,
        node.security,
        node.short_name,
        node.data,
        node.named_streams,
        node.reparse,
        node.object_id,
    )


def groups(tree: Node) -> dict[str, frozenset[str]]:
    found: dict[int, set[str]] = {}
    for path, node in walk(tree):
        if node.link_group:
            found.setdefault(node.link_group, set()).add(path)
    return {path: frozenset(paths) for paths in found.values() for path in paths}


@functools.cache
def base_by_libwim(volume: Path) -> Node:
    return libwim_tree(volume, volume.parent)


def found_by_libwim(pair: Pair) -> tuple[tuple[str, ...], tuple[str, ...]]:
    base, modified = base_by_libwim(pair.base), libwim_tree(pair.modified, pair.scratch)
    before, after = dict(walk(base)), dict(walk(modified))
    links_before, links_after = groups(base), groups(modified)
    changed: set[str] = set()
    for path, node in after.items():
        names = links_after.get(path, frozenset({path}))
        gained = names - links_before.get(path, frozenset({path}))
        if path not in before or signature(before[path]) != signature(node) or gained:
            changed |= {path} | names
    if signature(base) != signature(modified):
        changed.add("/")
    gone = set(before) - set(after)
    topmost = {path for path in gone if path.rpartition("/")[0] not in gone}
    return tuple(sorted(changed)), tuple(sorted(topmost))


def check(pair: Pair, *, replaced: tuple[str, ...] = ()) -> VolumeChanges:
    ours = found_by_us(pair)
    changed, deleted = found_by_libwim(pair)
    implied = tuple(f"{path}/" for path in replaced)
    assert ours.changed == changed
    assert ours.deleted == tuple(path for path in deleted if not path.startswith(implied or ("\0",)))
    assert ours.replaced == replaced
    return ours


def keep_times(path: Path, content: bytes) -> None:
    """Overwrite content in place; size, write time and creation time stay."""
    times = os.getxattr(path, "system.ntfs_times")
    with path.open("r+b") as stream:
        stream.write(content)
    os.setxattr(path, "system.ntfs_times", times)


def test_nothing_changed(change: Callable[..., Pair]) -> None:
    pair = change(lambda m: None)
    ours = check(pair)
    assert (ours.changed, ours.deleted) == ((), ())


def test_reading_and_archive_bit_are_no_change(change: Callable[..., Pair]) -> None:
    def step(m: Path) -> None:
        os.utime(m / "tree/x", ns=(1, (m / "tree/x").stat().st_mtime_ns))
        set_attributes(m / "tree/y", 0x80)
        set_attributes(m / "tree/deep/z", 0x20)

    assert check(change(step)).changed == ()


def test_everyday_changes(change: Callable[..., Pair]) -> None:
    def step(m: Path) -> None:
        write(m, "new/folder/file", b"new" * 5000)
        write(m, "tree/added", b"resident")
        (m / "wide/00007.txt").unlink()
        (m / "wide/00008.txt").rename(m / "wide/renamed.txt")
        (m / "wide/00009.txt").rename(m / "new/moved.txt")
        write(m, "wide/00299.txt", b"other content, other length")
        shutil.rmtree(m / "level 0")
        os.setxattr(m / "Users/Public/dl.exe", "user.added", b"stream")
        os.removexattr(m / "Users/Public/dl.exe", "user.big")
        os.setxattr(m / "Users", "user.dirstream", b"other stream")
        entries = [ace(0, 3, 0x1F01FF, SYSTEM)]
        os.setxattr(m / "acl/3", "system.ntfs_acl", descriptor(ADMINS, USERS, entries))
        os.setxattr(m / "other", "system.ntfs_acl", descriptor(SYSTEM, USERS, entries))
        set_attributes(m / "acl/4", 0x22)
        os.setxattr(m / "tree/y", "system.ntfs_object_id", bytes(range(16, 32)))
        os.setxattr(m / "Program Files", "system.ntfs_dos_name", b"PROGRA~2")

    ours = check(change(step))
    assert "/level 0" in ours.deleted
    assert "/tree" not in ours.changed


def test_content_with_size_and_times_preserved(change: Callable[..., Pair]) -> None:
    def step(m: Path) -> None:
        keep_times(m / "tree/x", b"X")  # in clusters
        keep_times(m / "Windows/System32/tiny.txt", b"R")  # in the record
        keep_times(m / "comp/noise", b"N")  # compressed
        keep_times(m / "sparse.bin", b"S")

    expected = {"/tree/x", "/Windows/System32/tiny.txt", "/comp/noise", "/sparse.bin"}
    assert expected <= set(check(change(step)).changed)


def test_content_written_behind_the_file_system(change: Callable[..., Pair]) -> None:
    """Only the clusters differ: no record and no time says so."""

    def behind(pair: Pair) -> None:
        needle = b"y" * 1000
        data = bytearray(pair.modified.read_bytes())
        at = data.index(needle)
        data[at + 5] = ord("!")
        pair.modified.write_bytes(data)

    pair = change(lambda m: None)
    behind(pair)
    assert check(pair).changed == ("/tree/y",)


def test_waste_after_the_end_of_a_file_is_no_change(change: Callable[..., Pair]) -> None:
    pair = change(lambda m: None)
    data = bytearray(pair.modified.read_bytes())
    at = data.index(b"y" * 1000)
    data[at + 1001] = 77
    pair.modified.write_bytes(data)
    assert check(pair).changed == ()


def test_hard_links(change: Callable[..., Pair]) -> None:
    def step(m: Path) -> None:
        (m / "Windows/System32/c.dll").hardlink_to(m / "Windows/System32/a.dll")
        (m / "many/name number 0003 of this file").unlink()
        (m / "tree/link").hardlink_to(m / "tree/x")

    ours = check(change(step))
    assert "/Windows/WinSxS/x/a.dll" in ours.changed
    assert "/many/first" not in ours.changed
    assert "/many/name number 0003 of this file" in ours.deleted


def test_renamed_folder_takes_its_content_along(change: Callable[..., Pair]) -> None:
    ours = check(change(lambda m: (m / "tree").rename(m / "wood")))
    assert ours.changed == ("/wood", "/wood/deep", "/wood/deep/z", "/wood/x", "/wood/y")
    assert ours.deleted == ("/tree",)


def test_folder_made_anew(change: Callable[..., Pair]) -> None:
    def step(m: Path) -> None:
        shutil.rmtree(m / "tree")
        write(m, "tree/x", b"new x")

    assert check(change(step), replaced=("/tree",)).deleted == ()


def test_folder_replaced_by_another_one(change: Callable[..., Pair]) -> None:
    def step(m: Path) -> None:
        shutil.rmtree(m / "other")
        (m / "tree").rename(m / "other")

    ours = check(change(step), replaced=("/other",))
    assert "/other/deep/z" in ours.changed
    assert ours.deleted == ("/tree",)


def test_folder_and_file_change_places(change: Callable[..., Pair]) -> None:
    def step(m: Path) -> None:
        shutil.rmtree(m / "tree")
        write(m, "tree", b"now a file")
        (m / "other/x").unlink()
        write(m, "other/x/inside", b"now a folder")

    ours = found_by_us(change(step))
    assert ours.changed == ("/other/x", "/other/x/inside", "/tree")
    assert (ours.deleted, ours.replaced) == ((), ())


def test_record_used_again(change: Callable[..., Pair]) -> None:
    def remove(m: Path) -> None:
        for number in range(300):
            (m / f"wide/{number:05}.txt").unlink()

    def refill(m: Path) -> None:
        for number in range(200):
            write(m, f"refilled/{number}", b"again")

    ours = check(change(remove, refill))
    assert len(ours.deleted) == 300


def test_name_that_only_changes_its_case(change: Callable[..., Pair]) -> None:
    def step(m: Path) -> None:
        (m / "tree").rename(m / "TREE")
        (m / "other/x").rename(m / "other/X")

    ours = found_by_us(change(step))
    assert ours.changed == ("/TREE", "/other/X")
    assert ours.deleted == ()


def test_defragmented_file_is_no_change(change: Callable[..., Pair]) -> None:
    """Content that moved to other clusters is compared, not taken for changed."""

    def step(m: Path) -> None:
        path = m / "comp/noise"
        content, times = path.read_bytes(), os.getxattr(path, "system.ntfs_times")
        with path.open("r+b") as stream:
            stream.truncate(0)
            write(m, "comp/in the way", random.Random(9).randbytes(1 << 20))
            stream.write(content)
        os.setxattr(path, "system.ntfs_times", times)

    assert "/comp/noise" not in check(change(step)).changed


def test_tree_of_the_changes(change: Callable[..., Pair]) -> None:
    """Reading just the changed paths gives those entries and the folders above them."""

    def step(m: Path) -> None:
        write(m, "tree/deep/z", b"changed")
        (m / "Windows/System32/c.dll").hardlink_to(m / "Windows/System32/a.dll")

    pair = change(step)
    ours = found_by_us(pair)
    with FileBlocks(pair.modified) as blocks:
        volume = open_ntfs(blocks)
        part = volume.tree(HashSink(), only=ours.changed)
        whole = volume.tree(HashSink())
    paths = {path for path, _ in walk(part)}
    assert paths == {
        *ours.changed,
        "/tree",
        "/tree/deep",
        "/Windows",
        "/Windows/System32",
        "/Windows/WinSxS",
        "/Windows/WinSxS/x",
    }
    for path, node in walk(part):
        same = find(whole, path)
        assert same is not None
        assert signature(node) == signature(same)
    group = {n.link_group for p, n in walk(part) if p.endswith(".dll")}
    assert len(group) == 1
    assert group != {0}
    assert find(part, "/tree/deep/z").data != NO_BLOB  # type: ignore[union-attr]


def test_volume_formatted_anew_is_refused(filled: Path, tmp_path: Path) -> None:
    other = make_volume(tmp_path / "other.img", 16)
    with (
        FileBlocks(filled) as a,
        FileBlocks(other) as b,
        pytest.raises(UnsupportedInputError, match="formatted anew"),
    ):
        changes_between(open_ntfs(a), open_ntfs(b), None)
