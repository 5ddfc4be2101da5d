"""The filler against e2fsck, the kernel and our own reader."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from sekiso.disks.ext4 import (
    BlobStream,
    FillStats,
    WimBlobs,
    estimate_size_bytes,
    fill_ext4,
    format_ext4,
)
from sekiso.errors import NoSpaceError, UnsupportedInputError
from sekiso.wim.file import WimFile
from sekiso.wim.tree import NORMAL, SPARSE_FILE, Node, UnixData, new_root
from sekiso.wim.writer import WimWriter
from tests.integration.disks.ext4.helpers import (
    UUID,
    Store,
    differences,
    fsck,
    make_image,
    mounted,
    opened,
    read_tree,
    sample_tree,
    snapshot,
    tool,
    tree_snapshot,
)

OFFSET = 1 << 20


def compose(path: Path, root: Node, store: object, size_bytes: int, *, inodes: int = 0) -> FillStats:
    path.unlink(missing_ok=True)
    tool("truncate", "-s", OFFSET + size_bytes, path)
    format_ext4(path, offset_bytes=OFFSET, size_bytes=size_bytes, uuid=UUID, label="root", inodes=inodes)
    return fill_ext4(path, offset_bytes=OFFSET, root=root, blobs=store)  # type: ignore[arg-type]


@pytest.mark.root
def test_the_kernel_sees_the_tree_that_was_filled_in(tmp_path: Path) -> None:
    source = make_image(tmp_path / "source", "-b", "4096")
    with mounted(source) as top:
        sample_tree(top)
    with mounted(source, "ro,noatime") as top:
        expected = snapshot(top)
    root, store = read_tree(source, tmp_path / "store")
    image = tmp_path / "image"
    stats = compose(image, root, store, estimate_size_bytes(root, store.size))
    fsck(image, OFFSET)
    with mounted(image, "ro,noatime", offset_bytes=OFFSET) as top:
        assert differences(expected, snapshot(top)) == []
    again, store2 = read_tree(image, tmp_path / "store 2", offset=OFFSET)
    assert differences(tree_snapshot(root, store), tree_snapshot(again, store2)) == []
    assert again.creation_time == root.creation_time
    assert list(again.children or ()) == sorted(root.children or (), key=os.fsencode)
    with opened(image, offset=OFFSET) as volume:
        assert (volume.facts.uuid, volume.facts.label, volume.facts.clean) == (UUID, "root", True)
        free_bytes = volume.facts.size_bytes - volume.facts.used_bytes
        assert free_bytes == stats.free_blocks * stats.block_size


@pytest.mark.root
def test_the_kernel_can_go_on_writing(tmp_path: Path) -> None:
    """Every count and bitmap must be right, or the kernel (or e2fsck after it) complains."""
    root, store = generated_tree(tmp_path, files=300)
    image = tmp_path / "image"
    compose(image, root, store, 64 << 20)
    with mounted(image, offset_bytes=OFFSET) as top:
        for number in range(500):
            (top / f"new {number}").write_bytes(os.urandom(3000))
        for path in list((top / "folder").iterdir())[:100]:
            path.unlink()
        (top / "folder" / "added").write_bytes(b"added")
    fsck(image, OFFSET)


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    root, store = generated_tree(tmp_path, files=200)
    for name in ("one", "two"):
        compose(tmp_path / name, root, store, 32 << 20)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def generated_tree(tmp_path: Path, *, files: int) -> tuple[Node, Store]:
    rng = random.Random(7)
    store = Store(tmp_path / "blobs")
    root = new_root()
    folder = directory("folder")
    root.children = {"folder": folder}
    for number in range(files):
        data = rng.randbytes(rng.choice([0, 1, 4095, 4096, 4097, 20_000]))
        assert folder.children is not None
        folder.children[f"file {number}"] = regular(f"file {number}", store.add([data], len(data)))
    store.close()
    return root, store


def regular(name: str, sha1: bytes, attributes: int = NORMAL) -> Node:
    return Node(
        name=name,
        attributes=attributes,
        write_time=133_000_000_000_000_000,
        data=sha1,
        unix=UnixData(0, 0, 0o100644),
    )


def directory(name: str) -> Node:
    return Node(name=name, attributes=0x10, unix=UnixData(0, 0, 0o40755), children={})


def test_many_extents_make_a_deep_tree(tmp_path: Path) -> None:
    """More extents than fit into one level below the inode (4 × 340)."""
    parts = 1500
    content = b"".join(b"%04d" % n + bytes(8192 - 4) for n in range(parts))
    store = Store(tmp_path / "blobs")
    sha1 = store.add([content], len(content))
    store.close()
    root = new_root()
    root.children = {"sparse": regular("sparse", sha1, SPARSE_FILE)}
    image = tmp_path / "image"
    compose(image, root, store, 64 << 20)
    fsck(image, OFFSET)
    assert "(ETB" in tool("debugfs", "-R", "stat /sparse", f"{image}?offset={OFFSET}")
    with opened(image, offset=OFFSET) as volume:
        assert volume.read_file("/sparse") == content
        assert (
            volume.files.inode(12).sectors == 8 * (parts + 5 + 1)
            or volume.files.inode(12).sectors > 8 * parts
        )


def test_content_in_pieces_of_any_length(tmp_path: Path) -> None:
    rng = random.Random(3)
    plain = rng.randbytes(5_000_000)
    holes = bytes(100_000) + rng.randbytes(5000) + bytes(90_000) + b"end"

    class Provider:
        def locate(self, sha1: bytes) -> BlobStream:
            data = plain if sha1[0] == 1 else holes
            return BlobStream(len(data), lambda: pieces(data))

    def pieces(data: bytes) -> Iterator[bytes]:
        position = 0
        while position < len(data):
            step = 1 + position % 7919
            yield data[position : position + step]
            position += step

    root = new_root()
    root.children = {
        "plain": regular("plain", b"\1" * 20),
        "holes": regular("holes", b"\2" * 20, SPARSE_FILE),
    }
    image = tmp_path / "image"
    stats = compose(image, root, Provider(), 32 << 20)
    fsck(image, OFFSET)
    assert stats.blocks == -(-len(plain) // 4096) + 3
    with opened(image, offset=OFFSET) as volume:
        assert volume.read_file("/plain") == plain
        assert volume.read_file("/holes") == holes


@pytest.mark.root
@pytest.mark.parametrize(("count", "length"), [(700, 10), (6000, 20), (9000, 200)])
def test_a_folder_of_many_names_has_an_index(count: int, length: int, tmp_path: Path) -> None:
    """From one level to two; the names hold bytes above 127, which count as negative in the hash."""
    names = [f"{n:>05}é".ljust(length - 1, "ü")[: length // 2] + f"{n}" for n in range(count)]
    root = new_root()
    folder = directory("folder")
    folder.children = {name: regular(name, bytes(20)) for name in names}
    root.children = {"folder": folder}
    image = tmp_path / "image"
    size = estimate_size_bytes(root, lambda _: 0)
    compose(image, root, None, size)
    fsck(image, OFFSET)
    assert "Root node dump" in tool("debugfs", "-R", "htree_dump /folder", f"{image}?offset={OFFSET}")
    with opened(image, offset=OFFSET) as volume:
        inode = volume.resolve("/folder")
        assert inode is not None
        assert sorted(os.fsdecode(e.name) for e in volume.files.entries(inode)) == sorted(names)
    with mounted(image, offset_bytes=OFFSET) as top:
        assert all((top / "folder" / name).exists() for name in names[::7])
        assert not (top / "folder" / "absent").exists()
        for name in names[::50]:
            (top / "folder" / name).rename(top / "folder" / f"new {name}")
    fsck(image, OFFSET)


def test_a_tree_with_its_own_lost_and_found(tmp_path: Path) -> None:
    store = Store(tmp_path / "blobs")
    sha1 = store.add([b"found"], 5)
    store.close()
    root = new_root()
    kept = directory("lost+found")
    kept.unix = UnixData(0, 0, 0o40700)
    kept.children = {"#123": regular("#123", sha1)}
    root.children = {"lost+found": kept}
    image = tmp_path / "image"
    compose(image, root, store, 16 << 20)
    fsck(image, OFFSET)
    with opened(image, offset=OFFSET) as volume:
        assert volume.read_file("/lost+found/#123") == b"found"


def test_an_estimate_is_enough_and_not_wasteful(tmp_path: Path) -> None:
    root, store = generated_tree(tmp_path, files=1000)
    size = estimate_size_bytes(root, store.size)
    stats = compose(tmp_path / "image", root, store, size)
    assert stats.free_blocks > 0
    assert size < 64 << 20


def test_too_small_a_file_system_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    root, store = generated_tree(tmp_path, files=2000)
    image = tmp_path / "image"
    tool("truncate", "-s", OFFSET + (8 << 20), image)
    format_ext4(image, offset_bytes=OFFSET, size_bytes=8 << 20, uuid=UUID, label="", inodes=3000)
    before = image.read_bytes()
    with pytest.raises(NoSpaceError):
        fill_ext4(image, offset_bytes=OFFSET, root=root, blobs=store)
    assert image.read_bytes() == before


def test_a_second_filling_is_refused(tmp_path: Path) -> None:
    root, store = generated_tree(tmp_path, files=3)
    image = tmp_path / "image"
    compose(image, root, store, 16 << 20)
    with pytest.raises(UnsupportedInputError):
        fill_ext4(image, offset_bytes=OFFSET, root=root, blobs=store)


def test_several_groups_and_a_large_file(tmp_path: Path) -> None:
    """Blocks go past backups of the superblock and into groups whose bitmaps mke2fs did not write."""
    store = Store(tmp_path / "blobs")
    data = random.Random(1).randbytes(1 << 20) * 150
    sha1 = store.add([data], len(data))
    store.close()
    root = new_root()
    root.children = {"large": regular("large", sha1)}
    image = tmp_path / "image"
    compose(image, root, store, 300 << 20)
    fsck(image, OFFSET)
    with opened(image, offset=OFFSET) as volume:
        assert volume.read_file("/large", limit_bytes=1 << 30) == data


def test_content_of_wim_files(tmp_path: Path) -> None:
    """From an uncompressed WIM of ours by copying, from a compressed one of wimlib through its reader."""
    source = make_image(tmp_path / "source", "-b", "4096")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "large").write_bytes(bytes(range(256)) * 3000)
    (folder / "small").write_bytes(b"small")
    (folder / "link").symlink_to("small")
    tool("mke2fs", "-q", "-F", "-t", "ext4", "-d", folder, source)
    with opened(source) as volume, WimWriter(tmp_path / "own.wim") as writer:
        root = volume.tree(writer)
        writer.add_image(root, name="x")
        writer.commit()
    tool("wimlib-imagex", "export", tmp_path / "own.wim", "1", tmp_path / "packed.wim", "--compress=XPRESS")
    images: list[bytes] = []
    for name in ("own.wim", "packed.wim"):
        with WimFile.open(tmp_path / name) as wim:
            compose(tmp_path / "image", wim.read_tree(), WimBlobs([wim]), 16 << 20)
        fsck(tmp_path / "image", OFFSET)
        images.append((tmp_path / "image").read_bytes())
        with opened(tmp_path / "image", offset=OFFSET) as volume:
            assert volume.read_file("/large") == (folder / "large").read_bytes()
            assert volume.read_file("/link") == b"small"
    assert images[0] == images[1]


@pytest.mark.parametrize("seed", range(4))
def test_estimates_are_always_enough(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    store = Store(tmp_path / "blobs")
    root = new_root()
    root.children = {}
    for number in range(rng.choice([1, 10, 60])):
        folder = directory(f"folder {number}")
        folder.xattrs = (("user.x", bytes(rng.choice([0, 300]))),)
        root.children[folder.name] = folder
        folder.children = {}
        for index in range(rng.choice([0, 5, 200])):
            data = rng.randbytes(rng.choice([0, 1, 5000, 30_000]))
            name = f"{index} " + "n" * rng.randrange(200)
            folder.children[name] = regular(name, store.add([data], len(data)))
    store.close()
    stats = compose(tmp_path / "image", root, store, estimate_size_bytes(root, store.size))
    assert stats.free_blocks > 0
