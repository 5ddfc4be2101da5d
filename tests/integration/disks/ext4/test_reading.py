"""The reader against the kernel: every way of storing a tree must give the same tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sekiso.errors import UnsupportedInputError
from sekiso.wim.blobs import HashSink
from sekiso.wim.tree import DIRECTORY, NORMAL, REPARSE_POINT, SPARSE_FILE, find, walk
from tests.integration.disks.ext4.helpers import (
    differences,
    make_image,
    mounted,
    opened,
    read_tree,
    sample_tree,
    snapshot,
    tool,
    tree_snapshot,
)

pytestmark = pytest.mark.root

KINDS = {
    "debian": (),
    "4k": ("-b", "4096"),
    "1k without 64bit": ("-b", "1024", "-O", "^64bit,^metadata_csum"),
    "ext2": ("-b", "1024", "-O", "^extent,^has_journal,^64bit,^metadata_csum,^huge_file,^flex_bg"),
    "ext3 4k": ("-b", "4096", "-O", "^extent,^64bit,^metadata_csum,^flex_bg"),
    "small inodes": ("-b", "1024", "-I", "128", "-O", "^extra_isize,^metadata_csum,^64bit"),
    "inline data": ("-b", "4096", "-O", "inline_data"),
    "bigalloc": ("-b", "4096", "-O", "bigalloc", "-C", "16384"),
    "meta_bg": ("-b", "1024", "-O", "meta_bg,^resize_inode"),
    "sparse_super2": ("-b", "1024", "-O", "sparse_super2"),
    "large inodes": ("-b", "4096", "-I", "1024"),
    "csum seed": ("-b", "4096", "-O", "metadata_csum_seed"),
    "gdt_csum": ("-b", "4096", "-O", "uninit_bg,^metadata_csum"),
    "no filetype": ("-b", "2048", "-O", "^filetype"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_reads_what_the_kernel_wrote(kind: str, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", *KINDS[kind])
    with mounted(image) as top:
        sample_tree(top)
    with mounted(image, "ro,noatime") as top:
        expected = snapshot(top)
    root, store = read_tree(image, tmp_path / "store")
    assert differences(expected, tree_snapshot(root, store)) == []
    kinds = {path: node.attributes for path, node in walk(root)}
    assert kinds["/folder"] == DIRECTORY
    assert kinds["/short link"] == kinds["/long link"] == REPARSE_POINT
    assert (kinds["/sparse"], kinds["/large"], kinds["/fifo"]) == (SPARSE_FILE, NORMAL, 0)


def test_reads_blocks_larger_than_a_page(tmp_path: Path) -> None:
    """The kernel of most machines cannot mount this; mke2fs fills it instead."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "content").write_bytes(os.urandom(300_000))
    (source / "folder").mkdir()
    (source / "folder" / "x").write_bytes(b"x")
    image = make_image(tmp_path / "image", "-b", "65536", "-d", str(source), size="256M")
    with opened(image) as volume:
        assert volume.read_file("/content") == (source / "content").read_bytes()
        assert volume.read_file("/folder/x") == b"x"


def test_values_of_attributes_in_inodes_of_their_own(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", "-b", "4096", "-O", "ea_inode")
    with mounted(image) as top:
        (top / "f").write_bytes(b"f")
        os.setxattr(top / "f", "user.long", b"0123456789" * 2000)
        os.setxattr(top / "f", "user.too long", b"0" * 65536)
    with opened(image) as volume:
        node = find(volume.tree(HashSink()), "/f")
        assert node is not None
        assert node.xattrs == (("user.long", b"0123456789" * 2000),)
        assert [line for line in volume.dropped if line.startswith("/f: ")]


def test_reserved_but_unwritten_blocks_are_zeros(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", "-b", "4096")
    with mounted(image) as top:
        descriptor = os.open(top / "reserved", os.O_RDWR | os.O_CREAT)
        os.posix_fallocate(descriptor, 0, 1_000_000)
        os.pwrite(descriptor, b"written", 500_000)
        os.close(descriptor)
        with (top / "many holes").open("wb") as stream:
            for number in range(1500):
                stream.seek(number * 8192)
                stream.write(b"%04d" % number)
        expected = {name: (top / name).read_bytes() for name in ("reserved", "many holes")}
    with opened(image) as volume:
        assert {name: volume.read_file(f"/{name}") for name in expected} == expected


def test_read_file_follows_links_inside_the_volume(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    with mounted(image) as top:
        (top / "usr" / "lib").mkdir(parents=True)
        (top / "usr" / "lib" / "os-release").write_text("ID=debian\n")
        (top / "etc").mkdir()
        (top / "etc" / "os-release").symlink_to("../usr/lib/os-release")
        (top / "lib").symlink_to("/usr/lib")
        (top / "loop").symlink_to("loop")
        (top / "out").symlink_to("../../../../etc")
    with opened(image) as volume:
        assert volume.read_file("/etc/os-release") == b"ID=debian\n"
        assert volume.read_file("/lib/os-release") == b"ID=debian\n"
        assert volume.read_file("/out/os-release") == b"ID=debian\n"
        assert volume.read_file("/loop") is None
        assert volume.read_file("/etc") is None
        assert volume.read_file("/etc/absent") is None
        assert (volume.is_directory("/lib"), volume.is_directory("/usr/lib")) == (False, True)
        with pytest.raises(UnsupportedInputError):
            volume.read_file("/etc/os-release", limit_bytes=3)


def test_reads_a_selection(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    with mounted(image) as top:
        for name in ("a/b/c", "a/b/d", "a/e", "f"):
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_text(name)
    with opened(image) as volume:

        def paths(**chosen: object) -> list[str]:
            return [path for path, _ in walk(volume.tree(HashSink(), **chosen))]  # type: ignore[arg-type]

        assert paths(only=["/a/b/c"]) == ["/a", "/a/b", "/a/b/c"]
        assert paths(only=["/a"]) == ["/a"]
        assert paths(exclude=["/a/b"]) == ["/a", "/a/e", "/f"]
        assert paths(only=["/a/b/c", "/f"], exclude=["/a"]) == ["/f"]


def test_what_cannot_be_kept_is_reported(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    with mounted(image) as top:
        (top / "fixed").write_text("x")
        (top / "owned").write_text("x")
        tool("chattr", "+i", top / "fixed")
    tool("debugfs", "-w", "-R", "set_inode_field /owned projid 42", image)
    with opened(image) as volume:
        volume.tree(HashSink())
        assert "/fixed: inode flags: immutable" in volume.dropped
        assert "/owned: project id 42" in volume.dropped


def test_capture_by_wimlib_is_the_same(tmp_path: Path) -> None:
    """A foreign capture of the mounted tree, read by our WIM reader, gives the same nodes."""
    from sekiso.wim.file import WimFile

    image = make_image(tmp_path / "image", "-b", "4096")
    with mounted(image) as top:
        sample_tree(top)
        (top / os.fsdecode(b"not \xff utf-8")).unlink()  # wimlib cannot capture it
    with mounted(image, "ro,noatime") as top:
        tool(
            "wimlib-imagex", "capture", top, tmp_path / "w.wim", "--unix-data", "--compress=none", "--norpfix"
        )
    with WimFile.open(tmp_path / "w.wim") as wim:
        foreign = {path: node for path, node in walk(wim.read_tree()) if not path.startswith("/lost+found")}
    root, _ = read_tree(image, tmp_path / "store")
    own = dict(walk(root))
    assert own.keys() == foreign.keys()
    for path, node in own.items():
        other = foreign[path]
        facts = [
            (n.attributes & ~DIRECTORY if n.reparse else n.attributes, n.access_time, n.write_time, n.data)
            for n in (node, other)
        ]
        assert facts[0] == facts[1], path
        assert (node.reparse, node.unix, node.xattrs) == (
            other.reparse,
            other.unix,
            tuple(sorted(other.xattrs)),
        )
        assert bool(node.link_group) == bool(other.link_group)


def test_wimlib_applies_what_was_read(tmp_path: Path) -> None:
    """Our reader, our WIM writer, a foreign apply: the kernel sees the same tree."""
    from sekiso.wim.writer import WimWriter

    image = make_image(tmp_path / "image", "-b", "4096")
    with mounted(image) as top:
        sample_tree(top)
        (top / os.fsdecode(b"not \xff utf-8")).unlink()  # wimlib cannot apply it
    with mounted(image, "ro,noatime") as top:
        expected = snapshot(top)
    with opened(image) as volume, WimWriter(tmp_path / "own.wim") as writer:
        writer.add_image(volume.tree(writer), name="x")
        writer.commit()
    target = make_image(tmp_path / "target", "-b", "4096")
    with mounted(target) as top:
        tool("wimlib-imagex", "apply", tmp_path / "own.wim", "1", top, "--unix-data")
    with mounted(target, "ro,noatime") as top:
        found = snapshot(top)
    for wanted in (expected, found):
        del wanted["/"]  # wimlib leaves a mount point's own attributes alone
    assert differences(expected, found) == []


def test_a_folder_for_encryption_is_refused(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", "-O", "encrypt")
    with mounted(image) as top:
        (top / "secret").mkdir()
        (top / "open").write_text("x")
    tool("debugfs", "-w", "-R", "set_inode_field /secret flags 0x80800", image)
    with opened(image) as volume:
        with pytest.raises(UnsupportedInputError):
            volume.tree(HashSink())
        assert [path for path, _ in walk(volume.tree(HashSink(), exclude=["/secret"]))] == ["/open"]


@pytest.mark.parametrize(
    "options",
    [
        ("-O", "casefold", "-E", "encoding=utf8"),
        ("-O", "large_dir"),
        ("-O", "verity"),
        ("-O", "orphan_file"),
        ("-O", "mmp"),
        ("-O", "fast_commit"),
        ("-O", "^flex_bg,^resize_inode"),
        ("-O", "quota,project"),
        ("-O", "^dir_index,^large_file,^ext_attr"),
    ],
    ids=lambda options: options[1],
)
def test_features_that_make_no_difference_for_reading(options: tuple[str, ...], tmp_path: Path) -> None:
    """Filled by mke2fs, because not every kernel can mount them."""
    source = tmp_path / "source"
    (source / "folder").mkdir(parents=True)
    for number in range(200):
        (source / "folder" / f"file {number}").write_bytes(b"%d" % number)
    image = make_image(tmp_path / "image", "-b", "4096", *options, "-d", str(source))
    with opened(image) as volume:
        assert volume.read_file("/folder/file 123") == b"123"
        assert sum(1 for _ in walk(volume.tree(HashSink()))) == 201
