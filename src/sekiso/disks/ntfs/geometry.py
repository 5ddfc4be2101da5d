"""The boot sector of an NTFS volume and checked access to its bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sekiso.disks.blocks import BlockReader
from sekiso.errors import DamagedInputError, UnsupportedInputError

_BOOT_BYTES = 512
_MAX_CLUSTER_BYTES = 2 << 20
_RECORD_SIZES = (512, 1024, 2048, 4096)


@dataclass(frozen=True, slots=True)
class Geometry:
    """What the boot sector says.

    Attributes:
        cluster_size_bytes: length of a cluster.
        cluster_count: clusters of the volume.
        record_size_bytes: length of a file record.
        mft_lcn: first cluster of the master file table.
        serial_number: 64-bit serial number of the volume.
        size_bytes: length of the volume.
    """

    cluster_size_bytes: int
    cluster_count: int
    record_size_bytes: int
    mft_lcn: int
    serial_number: int
    size_bytes: int


class VolumeBytes:
    """Bytes of a volume, with the errors that a damaged one causes."""

    def __init__(self, blocks: BlockReader) -> None:
        self._blocks = blocks
        self.name = blocks.name
        self.geometry = _read_geometry(blocks)

    def damaged(self, offset: int, reason: str) -> DamagedInputError:
        """Return (not raise) the error for damage at a byte of the volume."""
        return DamagedInputError(path=self.name, offset=offset, reason=reason)

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`.

        Raises:
            DamagedInputError: the volume ends before that.
        """
        data = self._blocks.read(offset, length)
        if len(data) != length:
            raise self.damaged(offset, f"The volume ends where {length} bytes should be.")
        return data

    def read_clusters(self, lcn: int, count: int) -> bytes:
        """Return `count` clusters from cluster `lcn`."""
        size = self.geometry.cluster_size_bytes
        return self.read(lcn * size, count * size)


def _read_geometry(blocks: BlockReader) -> Geometry:
    """Parse and check the boot sector.

    Source: the NTFS documentation of the Linux-NTFS project, "$Boot"; [MS-FSA] names no layout.
    """

    def bad(offset: int, reason: str) -> DamagedInputError:
        return DamagedInputError(path=blocks.name, offset=offset, reason=reason)

    boot = blocks.read(0, _BOOT_BYTES)
    if boot[3:11] == b"-FVE-FS-":
        raise UnsupportedInputError(
            path=blocks.name,
            reason="The volume is encrypted with BitLocker.",
            remedy="Turn BitLocker off in the guest, wait until decryption has ended, and shut it down.",
        )
    if len(boot) < _BOOT_BYTES or boot[3:11] != b"NTFS    ":
        raise bad(3, "There is no NTFS boot sector.")
    sector_bytes, sectors_per_cluster = struct.unpack_from("<HB", boot, 11)
    if sector_bytes not in (512, 1024, 2048, 4096):
        raise bad(11, f"{sector_bytes} bytes per sector are not possible.")
    # values from 244 on mean a power of two: 256 - value; this is how clusters above 64 KiB are written
    per_cluster = 1 << (256 - sectors_per_cluster) if sectors_per_cluster >= 244 else sectors_per_cluster
    cluster_bytes = sector_bytes * per_cluster
    if per_cluster == 0 or per_cluster & (per_cluster - 1) or cluster_bytes > _MAX_CLUSTER_BYTES:
        raise bad(13, f"A cluster of {cluster_bytes} bytes is not possible.")
    sectors, mft_lcn = struct.unpack_from("<QQ", boot, 40)
    size_bytes = sectors * sector_bytes
    if size_bytes > blocks.size_bytes:
        raise bad(40, f"The volume has {size_bytes} bytes, but only {blocks.size_bytes} are there.")
    record = struct.unpack_from("<b", boot, 64)[0]
    record_bytes = 1 << -record if -31 < record < 0 else record * cluster_bytes
    if record_bytes not in _RECORD_SIZES:
        raise bad(64, f"File records of {record_bytes} bytes are not possible.")
    cluster_count = size_bytes // cluster_bytes
    if mft_lcn >= cluster_count:
        raise bad(48, "The master file table lies outside the volume.")
    serial = struct.unpack_from("<Q", boot, 72)[0]
    return Geometry(cluster_bytes, cluster_count, record_bytes, mft_lcn, serial, size_bytes)
