"""Lay partitions out on a disk: pure, the result is the table to write."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sekiso.disks.partitions.gpt import ENTRY_COUNT, GptLayout
from sekiso.disks.partitions.table import Partition, PartitionTable
from sekiso.errors import RuleError

ALIGNMENT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PartitionRequest:
    """A partition wanted.

    Attributes:
        type_id: GPT: type GUID; MBR: two hexadecimal digits.
        size_bytes: size, rounded up to whole MiB; None takes the room left, in the last request only.
        name: GPT: name, at most 36 UTF-16 units.
        unique_id: GPT: unique GUID; a fresh one when empty.
        bootable: MBR: the active flag; GPT: the legacy-boot attribute.
        attributes: GPT: attribute bits.
    """

    type_id: str
    size_bytes: int | None
    name: str = ""
    unique_id: str = ""
    bootable: bool = False
    attributes: int = 0


def plan_partitions(
    scheme: Literal["mbr", "gpt"],
    disk_bytes: int,
    requests: Sequence[PartitionRequest],
    *,
    disk_id: str = "",
    sector_bytes: int = 512,
) -> PartitionTable:
    """Return the table of a disk with these partitions, one after the other from 1 MiB on.

    Args:
        scheme: kind of table.
        disk_bytes: size of the disk.
        requests: the partitions, in order.
        disk_id: GPT: disk GUID; MBR: signature, eight hexadecimal digits; a fresh one when empty.
        sector_bytes: 512 or 4096.

    Raises:
        RuleError: they do not fit, or a request is not allowed in that kind of table.
    """
    if scheme == "gpt":
        whole = str(uuid.UUID(disk_id or str(uuid.uuid4())))
        end_lba = GptLayout.of(disk_bytes, sector_bytes).last_usable_lba + 1
    else:
        whole = f"{int(disk_id, 16) if disk_id else uuid.uuid4().int & 0xFFFFFFFF or 1:08x}"
        end_lba = min(disk_bytes // sector_bytes, 1 << 32)
    _check_requests(scheme, requests)
    unit = ALIGNMENT_BYTES // sector_bytes
    partitions: list[Partition] = []
    at = unit
    for number, request in enumerate(requests, 1):
        sectors = _sectors(request, at, end_lba, unit, sector_bytes)
        partitions.append(_partition(scheme, whole, number, at, sectors, request))
        at += sectors
    return PartitionTable(scheme, whole, tuple(partitions), disk_bytes, sector_bytes)


def _sectors(request: PartitionRequest, at: int, end_lba: int, unit: int, sector_bytes: int) -> int:
    if request.size_bytes is None:
        sectors = (end_lba - at) // unit * unit
    else:
        sectors = -(-request.size_bytes // ALIGNMENT_BYTES) * unit
    if sectors <= 0 or at + sectors > end_lba:
        raise RuleError(
            field="size_bytes",
            reason=f"The partitions need more room than the disk has: {(at + sectors) * sector_bytes} bytes "
            f"of {end_lba * sector_bytes}.",
            remedy="Choose a larger disk.",
        )
    return sectors


def _check_requests(scheme: str, requests: Sequence[PartitionRequest]) -> None:
    limit = ENTRY_COUNT if scheme == "gpt" else 4
    if len(requests) > limit:
        raise RuleError(
            field="partitions", reason=f"A disk of this kind has at most {limit} partitions.", remedy=""
        )
    if any(r.size_bytes is None for r in requests[:-1]):
        raise RuleError(field="size_bytes", reason="Only the last partition can take the rest.", remedy="")
    for request in requests:
        if len(request.name.encode("utf-16-le")) > 72:
            raise RuleError(field="name", reason="A partition's name has at most 36 characters.", remedy="")
        if scheme == "mbr" and (request.name or request.attributes or not 0 < int(request.type_id, 16) < 256):
            raise RuleError(
                field="partitions",
                reason="An MBR has types of one byte, and no names or attributes.",
                remedy="",
            )


def _partition(
    scheme: str, disk_id: str, number: int, first_lba: int, sectors: int, request: PartitionRequest
) -> Partition:
    if scheme == "gpt":
        kind = str(uuid.UUID(request.type_id))
        unique = str(uuid.UUID(request.unique_id)) if request.unique_id else str(uuid.uuid4())
    else:
        kind, unique = f"{int(request.type_id, 16):02x}", f"{disk_id}-{number:02x}"
    attributes = request.attributes | (4 if scheme == "gpt" and request.bootable else 0)
    return Partition(
        number, first_lba, sectors, kind, unique, request.name,
        request.bootable or bool(attributes & 4), attributes,
    )  # fmt: skip
