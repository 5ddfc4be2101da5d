"""NTFS: read whole volumes, find what changed between two states; without mounting anything."""

from __future__ import annotations

from sekiso.disks.ntfs.volume import NtfsVolume, open_ntfs

__all__ = ["NtfsVolume", "open_ntfs"]
