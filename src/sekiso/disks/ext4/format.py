"""Making an empty ext4 file system with mke2fs, and how large it must be for a tree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sekiso.disks.ext4.encode import EXTRA_ISIZE, raw_xattr, split_xattrs
from sekiso.disks.ext4.superblock import is_backup_group
from sekiso.disks.ext4.xattrs import MalformedXattrError
from sekiso.process import run
from sekiso.wim.tree import NO_BLOB, Node, walk

BLOCK_SIZE = 4096
INODE_SIZE = 256
#: Features of a root file system that Linux 5.x and GRUB 2.06 read; nothing newer.
_FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,"
    "sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"
)
_RESERVED_PERCENT = 5
_BYTES_PER_INODE = 16384
#: Any fixed time makes mke2fs deterministic: 2020-01-01 00:00:00 UTC.
_FORMAT_TIME_S = 1_577_836_800
_GROUP_BLOCKS = 8 * BLOCK_SIZE
#: For lost+found, the resize inode, and a last group that is too small to be used.
_SPARE_BLOCKS = 600
_MIB = 1 << 20


def format_ext4(
    path: Path,
    *,
    offset_bytes: int,
    size_bytes: int,
    uuid: str,
    label: str,
    inodes: int = 0,
    reserved_percent: int = _RESERVED_PERCENT,
) -> None:
    """Make an empty ext4 file system inside a raw file; the same arguments always give the same bytes.

    Args:
        path: the raw file, at least `offset_bytes + size_bytes` long.
        offset_bytes: where the file system starts in it.
        size_bytes: its size; a rest that fills no block of 4 KiB stays unused.
        uuid: identifier of the file system, which seeds its hashes too.
        label: volume label, at most 16 bytes.
        inodes: least number of inodes; 0 for one per 16 KiB.
        reserved_percent: blocks kept for root.

    Raises:
        ToolMissingError: mke2fs is not installed.
        ToolFailedError: it failed.
    """
    blocks = size_bytes // BLOCK_SIZE
    count = max(inodes, size_bytes // _BYTES_PER_INODE)
    extended = f"offset={offset_bytes},root_owner=0:0,hash_seed={uuid},lazy_itable_init=1,lazy_journal_init=1"
    # fmt: off
    run(
        [
            "mke2fs", "-q", "-F", "-t", "ext4", "-O", _FEATURES, "-b", str(BLOCK_SIZE), "-I", str(INODE_SIZE),
            "-N", str(count), "-m", str(reserved_percent), "-U", uuid, "-L", label, "-E", extended,
            path, str(blocks),
        ],
        env={"E2FSPROGS_FAKE_TIME": str(_FORMAT_TIME_S), "MKE2FS_CONFIG": "/dev/null"},
    )
    # fmt: on


def estimate_size_bytes(root: Node, sizes: Callable[[bytes], int]) -> int:
    """Return a size with which `format_ext4` makes a file system that surely holds a tree.

    It has inodes enough without asking for a number of them.

    Args:
        root: the tree.
        sizes: length in bytes of the content with a SHA-1; of a file with holes, as if it had none.

    Returns:
        Size in bytes, a multiple of 1 MiB, including journal and inode tables and the reserved blocks.
    """
    inodes, blocks = count_inodes_and_blocks(root, sizes)
    inodes = max(inodes + 16, 1024)
    size = least = inodes * _BYTES_PER_INODE
    for _ in range(8):  # the tables grow with the size
        size = max(size, least)
        groups = size // (_GROUP_BLOCKS * BLOCK_SIZE) + 1
        fixed = _table_blocks(max(inodes, size // _BYTES_PER_INODE), groups) + _journal_blocks(size)
        size = (blocks + fixed + _SPARE_BLOCKS) * BLOCK_SIZE * 100 // (100 - _RESERVED_PERCENT - 1)
    return -(-max(size, least) // _MIB) * _MIB


def _table_blocks(inodes: int, groups: int) -> int:
    """Return the blocks of inode tables, bitmaps, descriptors and their copies, room to grow included."""
    tables = inodes * INODE_SIZE // BLOCK_SIZE + groups * (2 + INODE_SIZE * 16 // BLOCK_SIZE)
    copies = sum(1 for group in range(min(groups, 1 << 20)) if is_backup_group(group))
    # mke2fs keeps room for descriptors of a file system 1,024 times as large, at most 1,024 blocks.
    descriptors = -(-groups * 64 // BLOCK_SIZE)
    return tables + copies * (1 + descriptors + min(1024, 1024 * descriptors, 16 * groups + 16))


def _journal_blocks(size: int) -> int:
    """Return the size of the journal that mke2fs makes. Source: ext2fs_default_journal_size."""
    limits = ((32768, 1024), (262144, 4096), (524288, 8192), (4194304, 16384), (8388608, 32768))
    for below, journal in (*limits, (16777216, 65536), (33554432, 131072)):
        if size // BLOCK_SIZE < below:
            return journal
    return 262144


def count_inodes_and_blocks(root: Node, sizes: Callable[[bytes], int]) -> tuple[int, int]:
    """Return how many inodes and blocks of 4 KiB a tree takes (at most)."""
    seen: set[int] = set()
    inodes, blocks = 1, _folder_blocks(root)
    for _, node in walk(root):
        if node.link_group and node.children is None:
            if node.link_group in seen:
                continue
            seen.add(node.link_group)
        inodes += 1
        blocks += _blocks_of(node, sizes)
    return inodes, blocks


def _blocks_of(node: Node, sizes: Callable[[bytes], int]) -> int:
    count = 1 if node.xattrs and _needs_xattr_block(node) else 0
    if node.children is not None:
        return count + _folder_blocks(node)
    if node.reparse is not None:
        return count + 1
    if node.data != NO_BLOB:
        content = -(-sizes(node.data) // BLOCK_SIZE)
        count += content + (content // 32768) // 340 + 1 + (1 if content > 65536 else 0) if content else 0
    return count


def _needs_xattr_block(node: Node) -> bool:
    try:
        items = [raw_xattr(name, value) for name, value in node.xattrs]
    except MalformedXattrError:
        return True
    return bool(split_xattrs(items, INODE_SIZE - 0x80 - EXTRA_ISIZE)[1])


def _folder_blocks(node: Node) -> int:
    used = 24 + sum(8 + (len(name.encode("utf-8", "surrogatepass")) + 3 & ~3) for name in node.children or {})
    linear = used // (BLOCK_SIZE - 12 - 264) + 1
    # Large folders have an index, and blocks that are not filled up.
    return linear if linear < 3 else linear * 100 // 80 + linear // 400 + 2
