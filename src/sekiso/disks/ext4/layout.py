"""Numbers of the ext4 on-disk format: features, flags, offsets.

Source: "ext4 Data Structures and Algorithms", docs.kernel.org/filesystems/ext4/.
"""

from __future__ import annotations

import struct

SUPERBLOCK_OFFSET = 1024
SUPERBLOCK_SIZE = 1024
MAGIC = 0xEF53
ROOT_INODE = 2
RESIZE_INODE = 7
JOURNAL_INODE = 8
FIRST_ORDINARY_INODE = 11
EXTENT_MAGIC = 0xF30A
XATTR_MAGIC = 0xEA020000
MAX_EXTENT_BLOCKS = 32768
MAX_EXTENT_DEPTH = 5
NAME_MAX_BYTES = 255
DIRENT_TAIL_SIZE = 12
DIRENT_TAIL_TYPE = 0xDE

STATE_VALID = 1
STATE_ERROR = 2


class Compat:
    """Features that a reader may ignore. Plain numbers: enumeration flags are slow for every inode."""

    HAS_JOURNAL = 0x4
    EXT_ATTR = 0x8
    RESIZE_INODE = 0x10
    DIR_INDEX = 0x20
    SPARSE_SUPER2 = 0x200
    FAST_COMMIT = 0x400
    ORPHAN_FILE = 0x1000


class Incompat:
    """Features that a reader must know."""

    COMPRESSION = 0x1
    FILETYPE = 0x2
    RECOVER = 0x4
    JOURNAL_DEV = 0x8
    META_BG = 0x10
    EXTENTS = 0x40
    BITS64 = 0x80
    MMP = 0x100
    FLEX_BG = 0x200
    EA_INODE = 0x400
    DIRDATA = 0x1000
    CSUM_SEED = 0x2000
    LARGEDIR = 0x4000
    INLINE_DATA = 0x8000
    ENCRYPT = 0x10000
    CASEFOLD = 0x20000


class RoCompat:
    """Features that a writer must know."""

    SPARSE_SUPER = 0x1
    LARGE_FILE = 0x2
    BTREE_DIR = 0x4
    HUGE_FILE = 0x8
    GDT_CSUM = 0x10
    DIR_NLINK = 0x20
    EXTRA_ISIZE = 0x40
    QUOTA = 0x100
    BIGALLOC = 0x200
    METADATA_CSUM = 0x400
    READONLY = 0x1000
    PROJECT = 0x2000
    SHARED_BLOCKS = 0x4000
    VERITY = 0x8000
    ORPHAN_PRESENT = 0x10000


#: Features whose files this reader understands (or refuses one by one, such as encrypted ones).
READABLE_INCOMPAT = (
    Incompat.FILETYPE
    | Incompat.RECOVER
    | Incompat.META_BG
    | Incompat.EXTENTS
    | Incompat.BITS64
    | Incompat.MMP
    | Incompat.FLEX_BG
    | Incompat.EA_INODE
    | Incompat.CSUM_SEED
    | Incompat.LARGEDIR
    | Incompat.INLINE_DATA
    | Incompat.ENCRYPT
    | Incompat.CASEFOLD
)


class Flag:
    """Inode flags that decide how content is stored."""

    ENCRYPT = 0x800
    INDEX = 0x1000
    HUGE_FILE = 0x40000
    EXTENTS = 0x80000
    VERITY = 0x100000
    EA_INODE = 0x200000
    INLINE_DATA = 0x10000000


#: Inode flags a person may have set, which a WIM cannot keep (as `chattr` calls them).
USER_FLAGS = {
    0x1: "secure deletion",
    0x2: "undeletable",
    0x4: "compressed",
    0x8: "synchronous updates",
    0x10: "immutable",
    0x20: "append only",
    0x40: "no dump",
    0x80: "no access time",
    0x4000: "data journalling",
    0x8000: "no tail merging",
    0x10000: "synchronous folder updates",
    0x20000: "top of folder hierarchy",
    0x100000: "verity",
    0x2000000: "direct access",
    0x20000000: "project inheritance",
    0x40000000: "case folding",
}
USER_FLAG_MASK = sum(USER_FLAGS)

S_IFMT = 0o170000
S_IFSOCK = 0o140000
S_IFLNK = 0o120000
S_IFREG = 0o100000
S_IFBLK = 0o060000
S_IFDIR = 0o040000
S_IFCHR = 0o020000
S_IFIFO = 0o010000

#: Directory entry file type of each inode type.
DIRENT_TYPES = {
    S_IFREG: 1,
    S_IFDIR: 2,
    S_IFCHR: 3,
    S_IFBLK: 4,
    S_IFIFO: 5,
    S_IFSOCK: 6,
    S_IFLNK: 7,
}

BG_INODE_UNINIT = 0x1
BG_BLOCK_UNINIT = 0x2
BG_INODE_ZEROED = 0x4

#: Prefix of the names of extended attributes by their index.
XATTR_PREFIXES = {
    1: "user.",
    2: "system.posix_acl_access",
    3: "system.posix_acl_default",
    4: "trusted.",
    5: "lustre.",
    6: "security.",
    7: "system.",
    8: "system.richacl",
    10: "gnu.",
}
XATTR_ACL_ACCESS = 2
XATTR_ACL_DEFAULT = 3
XATTR_SYSTEM = 7
XATTR_ENCRYPTION = 9

DIRENT = struct.Struct("<IHBB")
EXTENT_HEADER = struct.Struct("<HHHHI")
EXTENT = struct.Struct("<IHHI")
EXTENT_INDEX = struct.Struct("<IIHH")
XATTR_ENTRY = struct.Struct("<BBHIII")
