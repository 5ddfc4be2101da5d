"""ext4 (and ext3, ext2): reading, finding changes, making and filling, without mounting anything."""

from sekiso.disks.ext4.reader import Ext4Volume, open_ext4

__all__ = ["Ext4Volume", "open_ext4"]
