"""What the appliance keeps: layers and their versions, image templates, published images, agents, users."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from sekiso.model.connector import AgentInventory
from sekiso.model.layer import GuestFamily, LayerKind
from sekiso.model.machine import DiskAllocation, DiskFormat, Generation


class VersionState(enum.StrEnum):
    """State of a layer version (LY-4).

    EDITING: being imported, or its packaging machine is there; FINALIZABLE: the packaging machine has shut
    down and waits for finalization; FINALIZING: its changes are being captured; DEPLOYABLE: immutable and
    ready; BROKEN: its content is damaged or gone; DELETING: on its way out.
    """

    EDITING = "editing"
    FINALIZABLE = "finalizable"
    FINALIZING = "finalizing"
    DEPLOYABLE = "deployable"
    BROKEN = "broken"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """A layer. Times are Unix seconds.

    Attributes:
        id: identifier.
        kind: OS, platform or app.
        name: unique among layers of its kind.
        notes: free text.
        icon: name of an icon, or empty.
        priority: merge order among app layers: higher wins (LY-6).
        family: guest family; None until its first version is deployable.
        os_layer_id: the OS layer it was made on; None for OS layers.
        created_s: when it was made.
    """

    id: str
    kind: LayerKind
    name: str
    notes: str
    icon: str
    priority: int
    family: GuestFamily | None
    os_layer_id: str | None
    created_s: float


@dataclass(frozen=True, slots=True)
class PackagingFacts:
    """The packaging machine of a version that is being edited.

    Attributes:
        configuration_id: the connector configuration it was made through.
        agent_id: the agent that has it.
        storage_path: where.
        machine_id: identifier of the machine at the agent; empty until it is made.
        machine_name: its name.
        gate: what is unfinished in the guest, from its last report; each `code: detail`.
        gate_known: whether the guest has reported its integrity gate since it was last started.
        shut_down: whether it has shut itself down.
    """

    configuration_id: str
    agent_id: str
    storage_path: str
    machine_id: str = ""
    machine_name: str = ""
    gate: tuple[str, ...] = ()
    gate_known: bool = False
    shut_down: bool = False


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """One version of a layer. Times are Unix seconds.

    Attributes:
        id: identifier.
        layer_id: the layer.
        name: unique within the layer.
        notes: free text.
        state: its state.
        generation: generation of the machine it was made on.
        identity: content-addressed identity (`LayerManifest.identity`); None until deployable.
        file_bytes: size of its layer file.
        content_bytes: size of its content, unpacked.
        base_version_ids: versions it was captured on, lowest first (OS first); empty for an import.
        previous_version_id: the version of the same layer that it continues; None = begun anew.
        packaging: its packaging machine; None when there is none.
        holder_task_id: the task that works on it; None = none. A version that is held refuses others.
        created_s: when it was begun.
    """

    id: str
    layer_id: str
    name: str
    notes: str
    state: VersionState
    generation: Generation
    identity: str | None = None
    file_bytes: int = 0
    content_bytes: int = 0
    base_version_ids: tuple[str, ...] = ()
    previous_version_id: str | None = None
    packaging: PackagingFacts | None = None
    holder_task_id: str | None = None
    created_s: float = 0.0


class GeneralizationChoice(enum.StrEnum):
    """What happens to the machine's identity in a published image."""

    NONE = "none"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class TemplateRecord:
    """An image template: the recipe of an image (IM-1). Times are Unix seconds.

    Attributes:
        id: identifier.
        name: unique.
        notes: free text.
        revision: 1, and one more with each change; earlier ones are kept as history.
        configuration_id: the connector configuration that it is published through.
        os_version_id: version of the OS layer.
        app_version_ids: versions of app layers, in no special order (the layers' priority decides).
        platform_version_id: version of the platform layer; None = none.
        disk_name: name of the disk file without suffix.
        disk_format: VHD or VHDX.
        allocation: fixed or dynamic.
        size_bytes: size of the disk; None = what the layers need, with room to work.
        generalization: what happens to the machine's identity.
        boot_test: whether each image is started once before it counts as published (IM-6).
        keep_last: how many published images are kept; older ones are deleted; None = all.
        created_s: when it was made.
        changed_s: when this revision was made.
    """

    id: str
    name: str
    notes: str
    revision: int
    configuration_id: str
    os_version_id: str
    app_version_ids: tuple[str, ...]
    platform_version_id: str | None
    disk_name: str
    disk_format: DiskFormat
    allocation: DiskAllocation
    size_bytes: int | None
    generalization: GeneralizationChoice
    boot_test: bool = False
    keep_last: int | None = None
    created_s: float = 0.0
    changed_s: float = 0.0

    @property
    def version_ids(self) -> tuple[str, ...]:
        """Every layer version of the template."""
        platform = (self.platform_version_id,) if self.platform_version_id is not None else ()
        return (self.os_version_id, *self.app_version_ids, *platform)


class ImageState(enum.StrEnum):
    """State of a published image."""

    PUBLISHING = "publishing"
    PUBLISHED = "published"
    FAILED = "failed"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """A published (layered) image (IM-2). Times are Unix seconds.

    Attributes:
        id: identifier.
        name: template's name with date and time; also the name of the machine.
        template_id: the template; None once that is deleted.
        template_name: its name at the time.
        template_revision: its revision at the time.
        configuration_id: the connector configuration.
        agent_id: the agent that has it.
        storage_path: where.
        version_ids: what it was made of, in merge order.
        generation: generation of its machine.
        disk_format: VHD or VHDX.
        state: its state.
        disk_path: its disk at the agent; empty until made.
        machine_id: its machine; empty until made.
        file_bytes: bytes that the disk takes up.
        plan_id: identity of the plan it was made by.
        facts: figures of how it was made (bytes over the wire, cache hit, conflicts, …); plain data.
        boot_test: what the boot test showed, plain data without the picture; None = not tested.
        holder_task_id: the task that works on it; None = none.
        created_s: when it was asked for.
    """

    id: str
    name: str
    template_id: str | None
    template_name: str
    template_revision: int
    configuration_id: str
    agent_id: str
    storage_path: str
    version_ids: tuple[str, ...]
    generation: Generation
    disk_format: DiskFormat
    state: ImageState
    disk_path: str = ""
    machine_id: str = ""
    file_bytes: int = 0
    plan_id: str = ""
    facts: dict[str, Any] | None = None
    boot_test: dict[str, Any] | None = None
    holder_task_id: str | None = None
    created_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ConfigurationRecord:
    """A saved connector configuration. Times are Unix seconds.

    Attributes:
        id: identifier.
        connector: code of the connector type, `hyperv`.
        name: unique.
        settings: plain values, as `connectors.decoding.values_of` writes them.
        created_s: when it was made.
        changed_s: when it was last changed.
    """

    id: str
    connector: str
    name: str
    settings: dict[str, Any]
    created_s: float
    changed_s: float


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """A registered agent (AG-1). Times are Unix seconds.

    Attributes:
        id: identifier; also the common name of its client certificate.
        name: unique; the host name unless chosen otherwise.
        certificate_sha256: of the client certificate that is valid now (lower-case hexadecimal).
        next_certificate_sha256: of a renewed one that has not been used yet; None = none.
        certificate_expires_s: when the client certificate that is valid now ends; None = not known.
        revoked: whether it was revoked; such an agent is refused.
        inventory: what it last reported; None until it has.
        inventory_s: when it reported that.
        last_seen_s: when it was last connected.
        registered_s: when it was registered.
    """

    id: str
    name: str
    certificate_sha256: str
    next_certificate_sha256: str | None = None
    revoked: bool = False
    inventory: AgentInventory | None = None
    inventory_s: float | None = None
    last_seen_s: float | None = None
    registered_s: float = 0.0
    certificate_expires_s: float | None = None


class Role(enum.StrEnum):
    """What a user may do (OP-4); each role includes those after it.

    Administrator: everything. Layer manager: layers, templates and images. Publisher: templates and images.
    Read-only: looks.
    """

    ADMINISTRATOR = "administrator"
    LAYER_MANAGER = "layer-manager"
    PUBLISHER = "publisher"
    READ_ONLY = "read-only"


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user of the appliance. Times are Unix seconds.

    Attributes:
        id: identifier.
        name: login name, unique, case does not count.
        role: what it may do.
        password_hash: argon2id hash, in its own notation.
        disabled: whether it may not log in.
        failed_logins: failures in a row.
        locked_until_s: no login before; None = not locked.
        created_s: when it was made.
    """

    id: str
    name: str
    role: Role
    password_hash: str
    disabled: bool = False
    failed_logins: int = 0
    locked_until_s: float | None = None
    created_s: float = 0.0


class CredentialKind(enum.StrEnum):
    """How a request proves its user: a session after a login, or an API token."""

    SESSION = "session"
    API_TOKEN = "api-token"  # noqa: S105 (a kind of credential, no secret)


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """A session or API token; only a hash of its secret is kept. Times are Unix seconds.

    Attributes:
        id: identifier.
        kind: session or API token.
        user_id: whose it is.
        name: what the user calls it; empty for sessions.
        secret_sha256: SHA-256 of the secret (256 random bits), lower-case hexadecimal.
        created_s: when it was made.
        expires_s: it ends then; None = never.
        last_used_s: when it was last used.
    """

    id: str
    kind: CredentialKind
    user_id: str
    name: str
    secret_sha256: str
    created_s: float
    expires_s: float | None
    last_used_s: float | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit history; append-only, each entry's hash covers the one before (OP-4).

    Attributes:
        number: 1, 2, …
        time_s: Unix seconds.
        actor: name of the user, or `agent:<name>`, or `appliance`.
        action: stable dotted name, `configuration.create`.
        subject_kind: what it was done to.
        subject_id: its identifier.
        subject_name: what it was called.
        details: what changed; plain data without secrets.
        hash: SHA-256 over the previous hash and the canonical JSON of all other fields, hexadecimal.
    """

    number: int
    time_s: float
    actor: str
    action: str
    subject_kind: str
    subject_id: str
    subject_name: str
    details: dict[str, Any]
    hash: str
