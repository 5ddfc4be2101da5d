"""The identifiers of a disk file, fresh or chosen so that a build can be repeated."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass

_NAMESPACE = uuid.UUID("8f7c1f9e-52b5-5d0a-9b52-6d6d1f0f6a11")


@dataclass(frozen=True, slots=True)
class DiskIds:
    """Everything in a new disk file that would otherwise be random or the time of day.

    Attributes:
        disk_id: VHD unique id; VHDX virtual disk id (the SCSI page 83 identifier a guest sees).
        file_write_id: VHDX header's FileWriteGuid.
        data_write_id: VHDX header's DataWriteGuid, which a child disk names as its parent linkage.
        created_s: time stamp of a VHD, seconds since 1970 in UTC.
    """

    disk_id: uuid.UUID
    file_write_id: uuid.UUID
    data_write_id: uuid.UUID
    created_s: int

    @staticmethod
    def fresh() -> DiskIds:
        """Return identifiers that no other disk has."""
        return DiskIds(uuid.uuid4(), uuid.uuid4(), uuid.uuid4(), int(time.time()))

    @staticmethod
    def derived(seed: str, *, created_s: int) -> DiskIds:
        """Return identifiers that follow from `seed`: the same seed gives the same file."""
        disk, file, data = (uuid.uuid5(_NAMESPACE, f"{seed}/{part}") for part in ("disk", "file", "data"))
        return DiskIds(disk, file, data, created_s)
