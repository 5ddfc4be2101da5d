"""NTFS: read whole volumes, find what changed between two states; without mounting anything."""

from __future__ import annotations

from sekiso.disks.ntfs.changes import changes_between
from sekiso.disks.ntfs.volume import NtfsVolume, open_ntfs

__all__ = ["NtfsVolume", "changes_between", "open_ntfs"]
