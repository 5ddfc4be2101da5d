"""What long lists are narrowed to and sorted by, and their light rows."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sekiso.model.layer import GuestFamily, LayerKind
from sekiso.model.library import ImageState, LayerRecord, VersionRecord, VersionState
from sekiso.model.task import SubjectKind


class LayerSort(enum.StrEnum):
    """What layers are sorted by. CHANGED: when the newest version was begun; SIZE: of all layer files."""

    NAME = "name"
    PRIORITY = "priority"
    CREATED = "created"
    CHANGED = "changed"
    SIZE = "size"
    VERSIONS = "versions"


class TemplateSort(enum.StrEnum):
    """What image templates are sorted by."""

    NAME = "name"
    CREATED = "created"
    CHANGED = "changed"


class ImageSort(enum.StrEnum):
    """What published images are sorted by. TEMPLATE: by the template's name at the time."""

    NAME = "name"
    TEMPLATE = "template"
    STATE = "state"
    SIZE = "size"
    CREATED = "created"


class TaskSort(enum.StrEnum):
    """What tasks are sorted by."""

    CREATED = "created"
    KIND = "kind"
    STATE = "state"
    USER = "user"


class AgentSort(enum.StrEnum):
    """What agents are sorted by. SEEN: when they were last connected."""

    NAME = "name"
    SEEN = "seen"
    REGISTERED = "registered"


class AuditSort(enum.StrEnum):
    """What the audit history is sorted by: it has one order."""

    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class LayerFilter:
    """Which layers are listed; None = any.

    Attributes:
        kind: their kind.
        state: one of their versions is in it.
        os_layer_id: the OS layer they were made on.
    """

    kind: LayerKind | None = None
    state: VersionState | None = None
    os_layer_id: str | None = None


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """Which published images are listed; None = any."""

    template_id: str | None = None
    state: ImageState | None = None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which audit entries are listed; None = any. Times are Unix seconds.

    Attributes:
        actor: who did it.
        action: what was done begins so.
        subject_kind: what it was done to.
        subject_id: to which object.
        from_s: not earlier.
        to_s: earlier than this.
        before: with a lower number.
    """

    actor: str | None = None
    action: str | None = None
    subject_kind: SubjectKind | None = None
    subject_id: str | None = None
    from_s: float | None = None
    to_s: float | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class VersionBrief:
    """A layer version in a list. Times are Unix seconds.

    Attributes:
        id: identifier.
        name: unique within the layer.
        state: its state.
        file_bytes: size of its layer file.
        holder_task_id: the task that works on it; None = none.
        created_s: when it was begun.
    """

    id: str
    name: str
    state: VersionState
    file_bytes: int
    holder_task_id: str | None
    created_s: float


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """A layer in a list.

    Attributes:
        layer: the layer.
        versions: how many versions it has.
        newest: the version that was begun last; None if it has none.
        deployable: the newest deployable version; None if it has none.
        file_bytes: size of all its layer files.
        users: how many things use its versions: versions of other layers, templates, images, tasks.
        os_layer_name: the OS layer it was made on; empty for OS layers.
    """

    layer: LayerRecord
    versions: int
    newest: VersionBrief | None
    deployable: VersionBrief | None
    file_bytes: int
    users: int
    os_layer_name: str


@dataclass(frozen=True, slots=True)
class VersionChoice:
    """A deployable version that can be chosen. Times are Unix seconds.

    Attributes:
        version_id: the version.
        version_name: its name.
        layer_id: its layer.
        layer_name: name of that.
        kind: kind of the layer.
        family: guest family of the layer.
        icon: name of the layer's icon, or empty.
        priority: the layer's place in the merge order.
        os_layer_id: the OS layer that the layer was made on; None for OS layers.
        file_bytes: size of the layer file.
        content_bytes: size of its content, unpacked.
        created_s: when the version was begun.
    """

    version_id: str
    version_name: str
    layer_id: str
    layer_name: str
    kind: LayerKind
    family: GuestFamily | None
    icon: str
    priority: int
    os_layer_id: str | None
    file_bytes: int
    content_bytes: int
    created_s: float

    @classmethod
    def of(cls, layer: LayerRecord, version: VersionRecord) -> VersionChoice:
        """Return a version of a layer as it can be chosen."""
        return cls(
            version_id=version.id,
            version_name=version.name,
            layer_id=layer.id,
            layer_name=layer.name,
            kind=layer.kind,
            family=layer.family,
            icon=layer.icon,
            priority=layer.priority,
            os_layer_id=layer.os_layer_id,
            file_bytes=version.file_bytes,
            content_bytes=version.content_bytes,
            created_s=version.created_s,
        )


@dataclass(frozen=True, slots=True)
class ImageTally:
    """What became of an image template.

    Attributes:
        published: how many of its images are published.
        last_s: when the last one was asked for, Unix seconds; None = never.
    """

    published: int = 0
    last_s: float | None = None
