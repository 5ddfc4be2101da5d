"""What a composition will do, as data: the console's preview, the dry run, the offloaded job and the log."""

from __future__ import annotations

import enum
import random
import uuid
from dataclasses import dataclass
from typing import Any

import msgspec

from sekiso.guests.booting import DiskIdentifiers, Generalization
from sekiso.model.canonical import content_id
from sekiso.model.layer import GuestFamily, LayerKind
from sekiso.model.machine import DiskAllocation, DiskFormat, Generation

PLAN_VERSION = 1


@dataclass(frozen=True, slots=True)
class DiskIdentity:
    """Identifiers of a new disk. Chosen when the plan is made, so that every execution gives the same disk.

    Attributes:
        identifiers: of the partitions and file systems.
        file: identifier inside the VHD or VHDX file, a UUID.
    """

    identifiers: DiskIdentifiers
    file: str


def new_identity(family: GuestFamily, seed: str | None = None) -> DiskIdentity:
    """Return fresh identifiers; the same ones for the same seed."""
    source = random.SystemRandom() if seed is None else random.Random(f"sekiso disk identity {seed}")  # noqa: S311

    def guid() -> str:
        return str(uuid.UUID(int=source.getrandbits(128), version=4))

    ntfs = f"{source.getrandbits(64):016X}"
    return DiskIdentity(
        DiskIdentifiers(
            disk_signature=source.getrandbits(32) or 1,
            disk_guid=guid(),
            esp_guid=guid(),
            msr_guid=guid(),
            root_guid=guid(),
            root_filesystem=ntfs if family is GuestFamily.WINDOWS else guid(),
            esp_volume_id=source.getrandbits(32),
        ),
        file=guid(),
    )


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """One layer of an image, in merge order.

    Attributes:
        identity: content-addressed identity of the layer version.
        name: name of the layer.
        layer_version: its version.
        kind: OS, platform or app.
        entries: entries in its tree, folders that only hold content included.
    """

    identity: str
    name: str
    layer_version: str
    kind: LayerKind
    entries: int


class ConflictKind(enum.StrEnum):
    """What two layers disagree about."""

    FILE = "file"
    DELETION = "deletion"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two or more layers above the OS that say different things about one path (LY-6).

    Attributes:
        path: the path.
        kind: whole file, deletion against change, or one key inside a file that is merged by content.
        key: which key, for kind `key` (`user nginx`, `package libssl3`).
        layers: the layers that disagree, in merge order.
        winner: the layer whose word stands.
        detail: what they say, in words.
    """

    path: str
    kind: ConflictKind
    layers: tuple[str, ...]
    winner: str
    key: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing the execution does.

    Attributes:
        what: `merge`, `write`, `link`, `folder`, `remove`, `partition`, `format`, `fill`, `boot`, `convert`.
        target: path in the image, partition, or disk file.
        reason: why.
        size_bytes: how much is written, where that is known.
        digest: SHA-256 or SHA-1 of what is written, where that is known.
    """

    what: str
    target: str
    reason: str
    size_bytes: int | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class ComposePlan:
    """Everything a composition will do. Executing the same plan twice gives the same content.

    Attributes:
        layers: the layers in merge order.
        family: guest family.
        generation: generation of the machines the image is for.
        bootable: False for a data volume.
        disk_format: format of the disk file.
        allocation: fixed or dynamic.
        size_bytes: size of the disk as the guest sees it.
        generalization: what happens to the machine's identity.
        identity: identifiers of the disk.
        created: time stamp given to everything the engine makes itself, Unix seconds.
        tree: SHA-256 of the composed tree's canonical metadata.
        entries: entries in the composed tree.
        content_bytes: bytes of content in the composed tree (hard links counted once).
        actions: what is done, in order.
        conflicts: what the layers disagree about, and who wins.
        notes: facts a reader must know, in words.
        version: version of this data.
    """

    layers: tuple[PlannedLayer, ...]
    family: GuestFamily
    generation: Generation
    bootable: bool
    disk_format: DiskFormat
    allocation: DiskAllocation
    size_bytes: int
    generalization: Generalization
    identity: DiskIdentity
    created: int
    tree: str
    entries: int
    content_bytes: int
    actions: tuple[Action, ...]
    conflicts: tuple[Conflict, ...]
    notes: tuple[str, ...] = ()
    version: int = PLAN_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-serialisable data."""
        return msgspec.to_builtins(self)

    @property
    def plan_id(self) -> str:
        """SHA-256 of the plan's canonical JSON."""
        return content_id(self.to_dict())


def plan_from_dict(data: object) -> ComposePlan:
    """Return the plan that `to_dict` gave.

    Raises:
        msgspec.ValidationError: it is not a plan.
    """
    return msgspec.convert(data, ComposePlan)
