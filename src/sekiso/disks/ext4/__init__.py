"""ext4 (and ext3, ext2): reading, finding changes, making and filling, without mounting anything."""

from sekiso.disks.ext4.changes import changes_between
from sekiso.disks.ext4.content import BlobPlace, BlobProvider, BlobStream, WimBlobs
from sekiso.disks.ext4.format import count_inodes_and_blocks, estimate_size_bytes, format_ext4
from sekiso.disks.ext4.reader import Ext4Volume, open_ext4
from sekiso.disks.ext4.writer import FillStats, fill_ext4

__all__ = [
    "BlobPlace",
    "BlobProvider",
    "BlobStream",
    "Ext4Volume",
    "FillStats",
    "WimBlobs",
    "changes_between",
    "count_inodes_and_blocks",
    "estimate_size_bytes",
    "fill_ext4",
    "format_ext4",
    "open_ext4",
]
