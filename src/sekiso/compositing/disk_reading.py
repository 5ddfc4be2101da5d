"""Opens a disk and everything on it that Sekiso can read, without mounting anything."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sekiso.disks.blocks import BlockReader, SliceBlocks
from sekiso.disks.ext4 import open_ext4
from sekiso.disks.ntfs import open_ntfs
from sekiso.disks.open import open_disk
from sekiso.disks.partitions import Partition, read_partition_table
from sekiso.disks.recognise import recognise_filesystem
from sekiso.disks.volume import Volume
from sekiso.errors import DirtyVolumeError, UnsupportedInputError
from sekiso.guests.importing import DiskContents, DiskVolume

_BOOT_AREA_BYTES = 1 << 20
#: Guest families know file systems by the names blkid(8) gives them.
_BLKID_NAMES = {
    "fat": "vfat",
    "lvm": "LVM2_member",
    "luks": "crypto_LUKS",
    "mdraid": "linux_raid_member",
    "bitlocker": "BitLocker",
    "refs": "ReFS",
    "empty": "",
    "unknown": "",
}


@contextmanager
def open_contents(path: Path) -> Generator[DiskContents]:
    """Open a disk file and its volumes; everything is closed at the end.

    A volume that cannot be read is kept with its problem in words: only the guest family knows whether it
    matters.

    Raises:
        DamagedInputError: the disk file or its partition table is damaged.
        UnsupportedInputError: the disk format is refused.
    """
    with ExitStack() as files:
        blocks = files.enter_context(open_disk(path))
        yield contents_of(blocks, str(path))


def contents_of(blocks: BlockReader, name: str) -> DiskContents:
    """Return what lies on an opened disk; see `open_contents`."""
    table = read_partition_table(blocks)
    if table.scheme == "none":
        volume = _volume(blocks, DiskVolume(0, 0, blocks.size_bytes))
        return DiskContents(name, "none", (volume,))
    sector = table.sector_bytes
    volumes = tuple(
        _volume(
            SliceBlocks(
                blocks, part.first_lba * sector, part.sectors * sector, label=f"partition {part.number}"
            ),
            _disk_volume(part, table.disk_id, table.scheme, sector),
        )
        for part in table.partitions
    )
    first = min((part.first_lba for part in table.partitions), default=0) * sector
    return DiskContents(name, table.scheme, volumes, blocks.read(0, min(first, _BOOT_AREA_BYTES)))


def _disk_volume(part: Partition, disk_id: str, scheme: str, sector: int) -> DiskVolume:
    guid = part.unique_id if scheme == "gpt" else f"{disk_id}-{part.number:02x}"
    return DiskVolume(
        index=part.number,
        first_byte=part.first_lba * sector,
        size_bytes=part.sectors * sector,
        type_id=part.type_id,
        partition_guid=guid,
        name=part.name,
        active=part.bootable,
    )


def _volume(blocks: BlockReader, facts: DiskVolume) -> DiskVolume:
    signature = _BLKID_NAMES.get(found := recognise_filesystem(blocks), found)
    volume: Volume | None = None
    problem = ""
    try:
        if signature in ("ext2", "ext3", "ext4"):
            volume = open_ext4(blocks)
        elif signature == "ntfs":
            volume = open_ntfs(blocks)
    except (DirtyVolumeError, UnsupportedInputError) as exc:
        problem = exc.render()
    return DiskVolume(
        index=facts.index,
        first_byte=facts.first_byte,
        size_bytes=facts.size_bytes,
        type_id=facts.type_id,
        partition_guid=facts.partition_guid,
        name=facts.name,
        active=facts.active,
        signature=signature,
        volume=volume,
        problem=problem,
    )
