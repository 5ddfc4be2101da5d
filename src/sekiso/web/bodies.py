"""Bodies of requests. Unknown fields are refused: a typing error must not be ignored."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, StringConstraints

from sekiso.agent.contract import SourceDisk
from sekiso.model.layer import LayerKind
from sekiso.model.library import GeneralizationChoice, Role
from sekiso.model.machine import DiskAllocation, DiskFormat
from sekiso.services.certificate_making import DEFAULT_DAYS, KeyKind
from sekiso.services.layer_tasks import ImportOs
from sekiso.web.plain import plain

#: No control characters: what is shown in one line.
LINE = r"^[^\x00-\x1f\x7f]*$"
_NO_NUL = r"^[^\x00]*$"

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=LINE)]
Line = Annotated[str, StringConstraints(max_length=200, pattern=LINE)]
Icon = Annotated[str, StringConstraints(max_length=64, pattern=LINE)]
Path = Annotated[str, StringConstraints(max_length=1000, pattern=LINE)]
Text = Annotated[str, StringConstraints(max_length=4000, pattern=_NO_NUL)]
Password = Annotated[str, StringConstraints(max_length=2000)]
Reference = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=LINE)]
References = Annotated[tuple[Reference, ...], Field(max_length=500)]
Base64 = Annotated[str, StringConstraints(max_length=700_000)]
Pem = Annotated[str, StringConstraints(max_length=200_000)]
UploadId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
Flag = Annotated[bool, Strict()]
Seconds = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Priority = Annotated[int, Strict(), Field(ge=0, le=1_000_000)]
Values = Annotated[
    dict[Annotated[str, StringConstraints(max_length=100)], Any], Field(max_length=100), AfterValidator(plain)
]


class Body(BaseModel):
    """What every body has in common."""

    model_config = ConfigDict(extra="forbid")


class Login(Body):
    """Login name and password."""

    name: Annotated[str, StringConstraints(max_length=200)]
    password: Password


class Registration(Body):
    """What an agent sends to be registered."""

    token: Line
    request: Annotated[str, StringConstraints(max_length=20_000)]
    host_name: Annotated[str, StringConstraints(max_length=255, pattern=LINE)]
    name: Line = ""
    agent_version: Annotated[str, StringConstraints(max_length=100, pattern=LINE)] = ""


class NewUser(Body):
    """A user to make."""

    name: Name
    password: Password
    role: Role = Role.READ_ONLY


class UserChange(Body):
    """What to change of a user; what is left out stays."""

    role: Role | None = None
    disabled: Flag | None = None
    password: Password | None = None


class PasswordChange(Body):
    """One's own password."""

    old: Password
    new: Password


class TokenWish(Body):
    """An API token to make."""

    name: Name
    valid_s: Seconds | None = None


class AgentTokenWish(Body):
    """A registration token to make."""

    name: Name | None = None
    valid_s: Seconds = 3600.0


class Renaming(Body):
    """A new name."""

    name: Name


class Revocation(Body):
    """Whether an agent is revoked although connector configurations use it."""

    force: Flag = False


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


class CertificateWish(Body):
    """A certificate to generate; without names it has those of the present one."""

    names: References | None = None
    days: Annotated[int, Strict()] = DEFAULT_DAYS
    forget_former: Flag = False


class CertificateFiles(Body):
    """A certificate issued elsewhere: PEM, or PKCS#12 in Base64. Without key: that of the request."""

    certificate: Pem = ""
    key: Pem | None = None
    passphrase: Password | None = None
    pkcs12: Base64 | None = None
    forget_former: Flag = False


class CertificateRequestWish(Body):
    """A certificate request to make; without names it has those of the present certificate."""

    names: References | None = None
    key: KeyKind = KeyKind.EC_P256
    organization: Line = ""


class CacheClearing(Body):
    """Disks to remove from a cache; all if none is named."""

    keys: Annotated[tuple[Reference, ...], Field(max_length=10_000)] | None = None


class Source(Body):
    """An operating system: a disk file at the agent's host, or a machine there."""

    disk_path: Path | None = None
    machine: Name | None = None


class OsImport(Body):
    """An operating system to import."""

    configuration: Reference
    source: Source
    name: Name
    version: Name
    guest_tools: Flag = True
    notes: Text = ""
    icon: Icon = ""

    def wish(self) -> ImportOs:
        """Return it as the service is asked for it."""
        return ImportOs(
            configuration=self.configuration,
            source=SourceDisk(self.source.disk_path, self.source.machine),
            name=self.name,
            version=self.version,
            guest_tools=self.guest_tools,
            notes=self.notes,
            icon=self.icon,
        )


class LayerWish(Body):
    """A platform or app layer to make."""

    kind: LayerKind
    name: Name
    version: Name
    configuration: Reference
    os_version_id: Reference
    prerequisite_version_ids: References = ()
    notes: Text = ""
    icon: Icon = ""
    priority: Priority | None = None
    run_once_upload_id: UploadId | None = None
    auto_finalize: Flag | None = None


class VersionWish(Body):
    """A version to add to a layer."""

    name: Name
    configuration: Reference
    from_version_id: Reference | None = None
    os_version_id: Reference | None = None
    prerequisite_version_ids: References | None = None
    notes: Text = ""
    run_once_upload_id: UploadId | None = None
    auto_finalize: Flag | None = None


class LayerChange(Body):
    """What to change of a layer; what is left out stays."""

    name: Name | None = None
    notes: Text | None = None
    icon: Icon | None = None
    priority: Priority | None = None


class Finalization(Body):
    """Whether the guest's integrity gate is overridden."""

    override_gate: Flag = False


class Keys(Body):
    """Keys to press, one after the other: `a`, `enter`, `ctrl-alt-delete`."""

    keys: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=LINE)], ...],
        Field(max_length=1000),
    ]


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
    size_bytes: Annotated[int, Strict(), Field(ge=1, le=1 << 50)] | None = None
    generalization: GeneralizationChoice = GeneralizationChoice.OFFLINE
    boot_test: Flag = False
    keep_last: Annotated[int, Strict(), Field(ge=1, le=1000)] | None = None


class Publication(Body):
    """Templates to publish, each so many times."""

    templates: Annotated[References, Field(min_length=1)]
    count: Annotated[int, Strict(), Field(ge=1, le=50)] = 1
