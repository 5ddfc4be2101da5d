"""Bodies of requests. Unknown fields are refused: a typing error must not be ignored."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from sekiso.model.layer import LayerKind
from sekiso.model.library import GeneralizationChoice, Role
from sekiso.model.machine import DiskAllocation, DiskFormat

Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=4000)]
Reference = Annotated[str, Field(min_length=1, max_length=200)]
References = Annotated[tuple[Reference, ...], Field(max_length=500)]
Values = Annotated[dict[Annotated[str, Field(max_length=100)], Any], Field(max_length=100)]


class Body(BaseModel):
    """What every body has in common."""

    model_config = ConfigDict(extra="forbid", strict=False)


class Login(Body):
    """Login name and password."""

    name: Annotated[str, Field(max_length=200)]
    password: Annotated[str, Field(max_length=2000)]


class Registration(Body):
    """What an agent sends to be registered."""

    token: Annotated[str, Field(max_length=200)]
    request: Annotated[str, Field(max_length=20_000)]
    host_name: Annotated[str, Field(max_length=255)]
    name: Annotated[str, Field(max_length=200)] = ""
    agent_version: Annotated[str, Field(max_length=100)] = ""


class NewUser(Body):
    """A user to make."""

    name: Name
    password: Annotated[str, Field(max_length=2000)]
    role: Role = Role.READ_ONLY


class UserChange(Body):
    """What to change of a user; what is left out stays."""

    role: Role | None = None
    disabled: bool | None = None
    password: Annotated[str, Field(max_length=2000)] | None = None


class PasswordChange(Body):
    """One's own password."""

    old: Annotated[str, Field(max_length=2000)]
    new: Annotated[str, Field(max_length=2000)]


class TokenWish(Body):
    """An API token to make."""

    name: Name
    valid_s: float | None = None


class AgentTokenWish(Body):
    """A registration token to make."""

    name: Name | None = None
    valid_s: float = 3600.0


class Renaming(Body):
    """A new name."""

    name: Name


class Revocation(Body):
    """Whether an agent is revoked although connector configurations use it."""

    force: bool = False


class ConfigurationBody(Body):
    """A connector configuration: its type and its settings by name."""

    connector: Name = "hyperv"
    values: Values


class ConfigurationTest(ConfigurationBody):
    """A configuration to test; `reference` names the saved one that it is the change of."""

    reference: Reference | None = None


class ConfigurationChange(Body):
    """Settings by name; what is left out stays."""

    values: Values


class FormBody(Body):
    """The values of a form that is being filled in."""

    values: Values = {}
    reference: Reference | None = None


class SettingsBody(Body):
    """Keys of config.json; what is left out stays."""

    values: Values


class CacheClearing(Body):
    """Disks to remove from a cache; all if none is named."""

    keys: Annotated[tuple[str, ...], Field(max_length=10_000)] | None = None


class Source(Body):
    """An operating system: a disk file at the agent's host, or a machine there."""

    disk_path: Annotated[str, Field(max_length=1000)] | None = None
    machine: Name | None = None


class OsImport(Body):
    """An operating system to import."""

    configuration: Reference
    source: Source
    name: Name
    version: Name
    guest_tools: bool = True
    notes: Text = ""
    icon: Annotated[str, Field(max_length=64)] = ""


class LayerWish(Body):
    """A platform or app layer to make."""

    kind: LayerKind
    name: Name
    version: Name
    configuration: Reference
    os_version_id: Reference
    prerequisite_version_ids: References = ()
    notes: Text = ""
    icon: Annotated[str, Field(max_length=64)] = ""
    priority: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    run_once_upload_id: Reference | None = None
    auto_finalize: bool | None = None


class VersionWish(Body):
    """A version to add to a layer."""

    name: Name
    configuration: Reference
    from_version_id: Reference | None = None
    os_version_id: Reference | None = None
    prerequisite_version_ids: References | None = None
    notes: Text = ""
    run_once_upload_id: Reference | None = None
    auto_finalize: bool | None = None


class LayerChange(Body):
    """What to change of a layer; what is left out stays."""

    name: Name | None = None
    notes: Text | None = None
    icon: Annotated[str, Field(max_length=64)] | None = None
    priority: Annotated[int, Field(ge=0, le=1_000_000)] | None = None


class Finalization(Body):
    """Whether the guest's integrity gate is overridden."""

    override_gate: bool = False


class Keys(Body):
    """Keys to press, one after the other: `a`, `enter`, `ctrl-alt-delete`."""

    keys: Annotated[tuple[Annotated[str, Field(max_length=40)], ...], Field(max_length=1000)]


class VersionIds(Body):
    """Layer versions."""

    version_ids: References


class TemplateBody(Body):
    """An image template."""

    name: Name
    configuration: Reference
    os_version_id: Reference
    app_version_ids: References = ()
    platform_version_id: Reference | None = None
    notes: Text = ""
    disk_name: Name = "disk"
    disk_format: DiskFormat | None = None
    allocation: DiskAllocation = DiskAllocation.DYNAMIC
    size_bytes: Annotated[int, Field(ge=1, le=1 << 50)] | None = None
    generalization: GeneralizationChoice = GeneralizationChoice.OFFLINE
    boot_test: bool = False
    keep_last: Annotated[int, Field(ge=1, le=1000)] | None = None


class Publication(Body):
    """Templates to publish, each so many times."""

    templates: References
    count: Annotated[int, Field(ge=1, le=50)] = 1
