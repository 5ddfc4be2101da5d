"""Where partitions lie on the disk of an image, and how large the disk must be. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sekiso.compositing.composition import Composition
from sekiso.compositing.plan import DiskIdentity
from sekiso.compositing.request import ComposeRequest
from sekiso.compositing.stack import LayerStack
from sekiso.disks.ext4 import estimate_size_bytes
from sekiso.disks.sizes import plan_size
from sekiso.errors import RuleError
from sekiso.guests.booting import PartitionRole, PartitionScheme, WantedPartition
from sekiso.model.layer import GuestFamily
from sekiso.model.machine import Generation
from sekiso.wim.tree import Node, blobs_of, nodes

SECTOR_BYTES = 512
_MIB = 1 << 20
_ALIGN_SECTORS = _MIB // SECTOR_BYTES
#: The end of a GPT disk holds the backup table; one aligned unit keeps the root aligned too.
_TAIL_SECTORS = _ALIGN_SECTORS
_ROOM_TO_WORK = 512 * _MIB
_LINUX_DATA = "0fc63daf-8483-4772-8e79-3d69d8477de4"
_BASIC_DATA = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"


@dataclass(frozen=True, slots=True)
class PlacedPartition:
    """One partition and where it lies.

    Attributes:
        role: what it is for.
        filesystem: `vfat`, `ext4`, `ntfs` or empty.
        first_lba: first sector.
        sectors: length in sectors of 512 bytes.
        type_id: GPT type GUID, or MBR type as two hexadecimal digits.
        unique_id: GPT partition GUID; empty with MBR.
        name: GPT partition name.
        label: label of the file system.
        active: MBR boot flag.
        reason: why it is there.
    """

    role: PartitionRole
    filesystem: str
    first_lba: int
    sectors: int
    type_id: str
    unique_id: str
    name: str
    label: str
    active: bool
    reason: str

    @property
    def offset_bytes(self) -> int:
        """First byte on the disk."""
        return self.first_lba * SECTOR_BYTES

    @property
    def size_bytes(self) -> int:
        """Length in bytes."""
        return self.sectors * SECTOR_BYTES


@dataclass(frozen=True, slots=True)
class DiskLayout:
    """The whole disk.

    Attributes:
        scheme: partition table.
        size_bytes: size of the disk.
        partitions: in order.
        notes: facts a person should know.
        sector_bytes: logical sector size.
    """

    scheme: PartitionScheme
    size_bytes: int
    partitions: tuple[PlacedPartition, ...]
    notes: tuple[str, ...] = ()
    sector_bytes: int = SECTOR_BYTES

    @property
    def root(self) -> PlacedPartition:
        """The root partition."""
        return next(part for part in self.partitions if part.role is PartitionRole.ROOT)


def lay_out(
    composition: Composition,
    sizes: Mapping[bytes, int],
    request: ComposeRequest,
    stack: LayerStack,
    identity: DiskIdentity,
) -> DiskLayout:
    """Place the partitions of an image.

    Args:
        composition: the tree and how it boots.
        sizes: size of every blob of the tree.
        request: disk format and, perhaps, the size asked for.
        stack: its layers; the OS layer remembers how large its source disk was.
        identity: the identifiers of the disk.

    Raises:
        RuleError: the size asked for is too small, or the format has no such size.
    """
    needed = _root_need(composition.root, sizes, stack.family)
    boot = composition.boot
    wanted = boot.partitions if boot is not None else (_data_partition(stack.family, request.generation),)
    scheme = boot.scheme if boot is not None else _data_scheme(request.generation)
    first = boot.first_partition_lba if boot is not None else _ALIGN_SECTORS
    fixed = sum(_aligned(part.size_bytes) for part in wanted if part.size_bytes is not None)
    around = first * SECTOR_BYTES + fixed + _TAIL_SECTORS * SECTOR_BYTES
    minimum = around + needed
    if request.size_bytes is not None and request.size_bytes < minimum:
        raise RuleError(
            field="size",
            reason=f"The layers need a disk of at least {-(-minimum // _MIB)} MiB; "
            f"{request.size_bytes // _MIB} MiB were asked for.",
            remedy="Choose a larger size, or leave it out.",
        )
    facts = stack.layers[0].manifest.boot
    source = around + facts.root_size_bytes if facts is not None else 0
    comfortable = max(minimum + needed // 4 + _ROOM_TO_WORK, source)
    size = plan_size(request.disk_format, request.size_bytes or comfortable)
    return DiskLayout(
        scheme=scheme,
        size_bytes=size.size_bytes,
        partitions=_place(wanted, scheme, first, size.size_bytes // SECTOR_BYTES, identity),
        notes=() if size.size_bytes == size.wanted_bytes or request.size_bytes is None else (size.reason,),
    )


def _root_need(root: Node, sizes: Mapping[bytes, int], family: GuestFamily) -> int:
    if family is GuestFamily.LINUX:
        return _aligned(estimate_size_bytes(root, lambda sha1: sizes.get(sha1, 0)))
    # NTFS: clusters of 4 KiB per stream, one MFT record of 1 KiB per entry with half as much again for
    # index blocks, and the volume's own files (log, bitmap, upcase, MFT zone).
    total, entries = 64 * _MIB, 0
    for node in nodes(root):
        entries += 1
        total += sum(-(-sizes.get(sha1, 0) // 4096) * 4096 for sha1 in blobs_of(node))
    total += entries * 1536
    return _aligned(total + total // 20)


def _data_partition(family: GuestFamily, generation: Generation) -> WantedPartition:
    windows = family is GuestFamily.WINDOWS
    if generation is Generation.ONE:
        type_id = "07" if windows else "83"
    else:
        type_id = _BASIC_DATA if windows else _LINUX_DATA
    return WantedPartition(
        role=PartitionRole.ROOT,
        filesystem="ntfs" if windows else "ext4",
        size_bytes=None,
        type_id=type_id,
        name="data",
        reason="the content of the layers, as a data volume",
    )


def _data_scheme(generation: Generation) -> PartitionScheme:
    return PartitionScheme.MBR if generation is Generation.ONE else PartitionScheme.GPT


def _place(
    wanted: tuple[WantedPartition, ...],
    scheme: PartitionScheme,
    first_lba: int,
    disk_sectors: int,
    identity: DiskIdentity,
) -> tuple[PlacedPartition, ...]:
    end = (disk_sectors - _TAIL_SECTORS) // _ALIGN_SECTORS * _ALIGN_SECTORS
    fixed = sum(_aligned(part.size_bytes) // SECTOR_BYTES for part in wanted if part.size_bytes is not None)
    rest = end - first_lba - fixed
    placed: list[PlacedPartition] = []
    lba = first_lba
    for part in wanted:
        sectors = rest if part.size_bytes is None else _aligned(part.size_bytes) // SECTOR_BYTES
        guid = _guid(part.role, identity) if scheme is PartitionScheme.GPT else ""
        placed.append(
            PlacedPartition(
                part.role,
                part.filesystem,
                lba,
                sectors,
                part.type_id,
                guid,
                part.name,
                part.label,
                part.active,
                part.reason,
            )
        )
        lba += sectors
    return tuple(placed)


def _guid(role: PartitionRole, identity: DiskIdentity) -> str:
    ids = identity.identifiers
    return {PartitionRole.ESP: ids.esp_guid, PartitionRole.MSR: ids.msr_guid}.get(role, ids.root_guid)


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _MIB) * _MIB
