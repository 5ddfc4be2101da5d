"""What came of engine work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sekiso.compositing.plan import Conflict
from sekiso.model.layer import GuestFamily
from sekiso.model.machine import Generation


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import made.

    Attributes:
        path: the layer file.
        identity: identity of the layer.
        file_bytes: size of the file.
        entries: entries in its tree.
        content_bytes: bytes of content, unpacked, same content counted once.
        family: guest family.
        generation: generation that the source disk starts as.
        os_name: name of the operating system.
        notes: what a reader must know.
    """

    path: str
    identity: str
    file_bytes: int
    entries: int
    content_bytes: int
    family: GuestFamily
    generation: Generation
    os_name: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PackSummary:
    """What packing made.

    Attributes:
        path: the VHDX.
        file_bytes: size of the file.
        size_bytes: size of the disk as a machine sees it.
    """

    path: str
    file_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ComposeSummary:
    """What a composition made.

    Attributes:
        path: the disk file.
        plan_id: identity of the plan.
        file_bytes: bytes that the file takes up.
        size_bytes: size of the disk as a machine sees it.
        conflicts: number of conflicts between the layers.
        entries: entries in its tree.
        content_bytes: bytes of content.
        notes: what a reader must know.
    """

    path: str
    plan_id: str
    file_bytes: int
    size_bytes: int
    conflicts: int
    entries: int
    content_bytes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """The plan of an image.

    Attributes:
        plan_id: identity of the plan.
        plan: the whole plan, as `ComposePlan.to_dict` gives it.
        conflicts: what the layers disagree about, and who wins.
        size_bytes: size of the disk as a machine sees it.
        entries: entries in its tree.
        content_bytes: bytes of content.
        notes: what a reader must know.
    """

    plan_id: str
    plan: dict[str, Any]
    conflicts: tuple[Conflict, ...]
    size_bytes: int
    entries: int
    content_bytes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CaptureSummary:
    """What a capture made.

    Attributes:
        path: the layer file.
        identity: identity of the layer.
        file_bytes: size of the file.
        content_bytes: bytes of content, unpacked.
        changed: number of entries added or changed.
        deleted: number of entries deleted.
        excluded: number of changed entries left out.
        notes: what a reader must know.
    """

    path: str
    identity: str
    file_bytes: int
    content_bytes: int
    changed: int
    deleted: int
    excluded: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SquashSummary:
    """What squashing made.

    Attributes:
        path: the layer file.
        identity: identity of the layer.
        file_bytes: size of the file.
        content_bytes: bytes of content, unpacked.
        entries: entries in its tree.
        deleted: number of paths it deletes.
        notes: what a reader must know.
    """

    path: str
    identity: str
    file_bytes: int
    content_bytes: int
    entries: int
    deleted: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One entry of a layer.

    Attributes:
        name: its name.
        kind: `folder`, `file`, `link`, `device` (FIFOs and sockets too) or `deleted` (the layer removes it).
        size_bytes: bytes of content; 0 for what has none.
        modified_s: time of last change, Unix seconds; 0 for what is deleted.
        changed: False for a folder that is there only to hold what lies in it.
        target: where a link leads to.
        mode: Linux mode bits, type bits left out; None elsewhere.
        owner: Linux user and group number; None elsewhere.
        attributes: Windows attributes.
    """

    name: str
    kind: str
    size_bytes: int = 0
    modified_s: int = 0
    changed: bool = True
    target: str = ""
    mode: int | None = None
    owner: tuple[int, int] | None = None
    attributes: int = 0


@dataclass(frozen=True, slots=True)
class FilesSummary:
    """What a layer holds in one folder.

    Attributes:
        path: the folder.
        entries: folders first, each by name.
        total: how many there are; more than `entries` has if the limit cut them off.
    """

    path: str
    entries: tuple[FileEntry, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Difference:
    """One path in which two layers differ.

    Attributes:
        path: the path.
        what: `added`, `changed`, `removed` (from the layer), `replaced` (a folder by a file or a file by a
            folder), `deletes` (only the right layer deletes it from the layers below), `keeps` (only the
            left one does).
        reasons: what of a changed entry differs (`content`, `unix`, `times`, …).
    """

    path: str
    what: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DiffSummary:
    """In what two layers differ.

    Attributes:
        differences: by path.
        counts: how many there are of each kind, the ones cut off by the limit included.
        total: how many there are.
    """

    differences: tuple[Difference, ...]
    counts: dict[str, int]
    total: int


@dataclass(frozen=True, slots=True)
class ConflictsSummary:
    """What layers disagree about.

    Attributes:
        conflicts: each with the layers and who wins.
        notes: what a reader must know.
    """

    conflicts: tuple[Conflict, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifySummary:
    """What was checked and found right.

    Attributes:
        identity: identity of the layer.
        entries: entries in its tree.
        content_bytes: bytes hashed.
    """

    identity: str
    entries: int
    content_bytes: int


Summary = (
    ImportSummary
    | PackSummary
    | ComposeSummary
    | PlanSummary
    | CaptureSummary
    | SquashSummary
    | FilesSummary
    | DiffSummary
    | ConflictsSummary
    | VerifySummary
)
