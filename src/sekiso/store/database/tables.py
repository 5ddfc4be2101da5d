"""The tables. `migrations` makes them; a test holds both against each other.

Names are stored as they were given and, as `name_key`, as they are compared. What is only remembered (where
an image was put, what an earlier revision of a template used) is no foreign key: it outlives what it names.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    Index,
    MetaData,
    Named,
    Table,
    TypedColumns,
    UniqueConstraint,
)

from sekiso.store.database.columns import DATA, TEXT

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


class IdColumns(TypedColumns):
    """A record with an identifier."""

    id: Named[str] = Column(TEXT, primary_key=True)


class NamedColumns(IdColumns):
    """A record with a name."""

    name: Named[str] = Column(TEXT)
    name_key: Named[str] = Column(TEXT)


# --- agents -----------------------------------------------------------------------------------------------


class AgentColumns(NamedColumns):
    """See `AgentRecord`."""

    certificate_sha256: Named[str] = Column(TEXT)
    next_certificate_sha256: Named[str | None] = Column(TEXT)
    revoked: Named[bool]
    inventory: Named[dict[str, Any] | None] = Column(DATA)
    inventory_s: Named[float | None]
    last_seen_s: Named[float | None]
    registered_s: Named[float]
    certificate_expires_s: Named[float | None]


agents = Table("agents", METADATA, AgentColumns, UniqueConstraint("name_key"))


class TokenColumns(IdColumns):
    """See `RegistrationToken`."""

    secret_sha256: Named[str] = Column(TEXT)
    agent_name: Named[str] = Column(TEXT)
    created_by: Named[str] = Column(TEXT)
    created_s: Named[float]
    expires_s: Named[float]
    used_s: Named[float | None]


agent_tokens = Table("agent_tokens", METADATA, TokenColumns, UniqueConstraint("secret_sha256"))


class CommandColumns(IdColumns):
    """See `CommandRow`."""

    agent_id: Named[str] = Column(TEXT, ForeignKey("agents.id", ondelete="CASCADE"), index=True)
    method: Named[str] = Column(TEXT)
    result: Named[dict[str, Any] | None] = Column(DATA)
    error: Named[dict[str, Any] | None] = Column(DATA)
    created_s: Named[float]
    ended_s: Named[float | None] = Column(index=True)


commands = Table("commands", METADATA, CommandColumns)


# --- connector configurations -----------------------------------------------------------------------------


class ConfigurationColumns(NamedColumns):
    """See `ConfigurationRecord`."""

    connector: Named[str] = Column(TEXT)
    settings: Named[dict[str, Any]] = Column(DATA)
    created_s: Named[float]
    changed_s: Named[float]


configurations = Table("configurations", METADATA, ConfigurationColumns, UniqueConstraint("name_key"))


# --- tasks ------------------------------------------------------------------------------------------------


class TaskColumns(IdColumns):
    """See `TaskRecord`."""

    kind: Named[str] = Column(TEXT)
    state: Named[str] = Column(TEXT)
    params: Named[dict[str, Any]] = Column(DATA)
    requested_by: Named[str] = Column(TEXT)
    requested_by_key: Named[str] = Column(TEXT)
    lane: Named[str] = Column(TEXT, index=True)
    attempt: Named[int]
    step: Named[str] = Column(TEXT)
    percent: Named[float]
    done: Named[int] = Column(BigInteger)
    total: Named[int | None] = Column(BigInteger)
    unit: Named[str] = Column(TEXT)
    action: Named[str] = Column(TEXT)
    result: Named[dict[str, Any] | None] = Column(DATA)
    error: Named[dict[str, Any] | None] = Column(DATA)
    created_s: Named[float]
    started_s: Named[float | None]
    ended_s: Named[float | None] = Column(index=True)


tasks = Table(
    "tasks",
    METADATA,
    TaskColumns,
    Index(None, "created_s", "id"),
    Index(None, "state", "created_s"),
)


class TaskSubjectColumns(TypedColumns):
    """Subjects of a task; no foreign keys: a task outlives what it was about."""

    task_id: Named[str] = Column(TEXT, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    position: Named[int] = Column(primary_key=True, autoincrement=False)
    kind: Named[str] = Column(TEXT)
    subject_id: Named[str] = Column(TEXT, index=True)
    name: Named[str] = Column(TEXT)
    name_key: Named[str] = Column(TEXT)


task_subjects = Table("task_subjects", METADATA, TaskSubjectColumns)


class TaskLogColumns(TypedColumns):
    """See `LogLine`."""

    task_id: Named[str] = Column(TEXT, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    number: Named[int] = Column(BigInteger, primary_key=True, autoincrement=False)
    time_s: Named[float]
    text: Named[str] = Column(TEXT)


task_log = Table("task_log", METADATA, TaskLogColumns)


# --- layers -----------------------------------------------------------------------------------------------


class LayerColumns(NamedColumns):
    """See `LayerRecord`."""

    kind: Named[str] = Column(TEXT)
    notes: Named[str] = Column(TEXT)
    icon: Named[str] = Column(TEXT)
    priority: Named[int] = Column(BigInteger)
    family: Named[str | None] = Column(TEXT)
    os_layer_id: Named[str | None] = Column(TEXT, ForeignKey("layers.id"), index=True)
    created_s: Named[float]


layers = Table("layers", METADATA, LayerColumns, UniqueConstraint("kind", "name_key"))


class VersionColumns(NamedColumns):
    """See `VersionRecord`. `packaging_configuration_id` is part of `packaging`, as a foreign key."""

    layer_id: Named[str] = Column(TEXT, ForeignKey("layers.id"))
    notes: Named[str] = Column(TEXT)
    state: Named[str] = Column(TEXT)
    generation: Named[int]
    identity: Named[str | None] = Column(TEXT, index=True)
    file_bytes: Named[int] = Column(BigInteger)
    content_bytes: Named[int] = Column(BigInteger)
    previous_version_id: Named[str | None] = Column(
        TEXT, ForeignKey("layer_versions.id", ondelete="SET NULL"), index=True
    )
    packaging: Named[dict[str, Any] | None] = Column(DATA)
    packaging_configuration_id: Named[str | None] = Column(TEXT, ForeignKey("configurations.id"), index=True)
    holder_task_id: Named[str | None] = Column(TEXT, ForeignKey("tasks.id", ondelete="SET NULL"), index=True)
    created_s: Named[float]


versions = Table(
    "layer_versions",
    METADATA,
    VersionColumns,
    UniqueConstraint("layer_id", "name_key"),
    # All that a list of layers is narrowed to or sorted by, and all that choices are found by.
    Index(None, "layer_id", "state", "created_s", "file_bytes"),
    Index(None, "state", "created_s", "id", "layer_id", "name_key"),
)


class VersionBaseColumns(TypedColumns):
    """Versions that a version was captured on."""

    owner_id: Named[str] = Column(TEXT, ForeignKey("layer_versions.id", ondelete="CASCADE"), primary_key=True)
    position: Named[int] = Column(primary_key=True, autoincrement=False)
    version_id: Named[str] = Column(TEXT, ForeignKey("layer_versions.id"), index=True)


version_bases = Table("layer_version_bases", METADATA, VersionBaseColumns)


# --- templates and images ---------------------------------------------------------------------------------


class TemplateColumns(NamedColumns):
    """See `TemplateRecord`."""

    notes: Named[str] = Column(TEXT)
    revision: Named[int]
    configuration_id: Named[str] = Column(TEXT, ForeignKey("configurations.id"), index=True)
    os_version_id: Named[str] = Column(TEXT, ForeignKey("layer_versions.id"), index=True)
    platform_version_id: Named[str | None] = Column(TEXT, ForeignKey("layer_versions.id"), index=True)
    disk_name: Named[str] = Column(TEXT)
    disk_format: Named[str] = Column(TEXT)
    allocation: Named[str] = Column(TEXT)
    size_bytes: Named[int | None] = Column(BigInteger)
    generalization: Named[str] = Column(TEXT)
    boot_test: Named[bool]
    keep_last: Named[int | None] = Column(BigInteger)
    created_s: Named[float]
    changed_s: Named[float]


templates = Table("templates", METADATA, TemplateColumns, UniqueConstraint("name_key"))


class TemplateVersionColumns(TypedColumns):
    """Versions of app layers in a template."""

    owner_id: Named[str] = Column(TEXT, ForeignKey("templates.id", ondelete="CASCADE"), primary_key=True)
    position: Named[int] = Column(primary_key=True, autoincrement=False)
    version_id: Named[str] = Column(TEXT, ForeignKey("layer_versions.id"), index=True)


template_versions = Table("template_versions", METADATA, TemplateVersionColumns)


class TemplateRevisionColumns(TypedColumns):
    """Every revision of a template as plain data, the present one too."""

    template_id: Named[str] = Column(TEXT, ForeignKey("templates.id", ondelete="CASCADE"), primary_key=True)
    revision: Named[int] = Column(primary_key=True, autoincrement=False)
    record: Named[dict[str, Any]] = Column(DATA)


template_revisions = Table("template_revisions", METADATA, TemplateRevisionColumns)


class ImageColumns(NamedColumns):
    """See `ImageRecord`."""

    template_id: Named[str | None] = Column(TEXT, ForeignKey("templates.id", ondelete="SET NULL"))
    template_name: Named[str] = Column(TEXT)
    template_revision: Named[int]
    configuration_id: Named[str] = Column(TEXT, index=True)
    agent_id: Named[str] = Column(TEXT, index=True)
    storage_path: Named[str] = Column(TEXT)
    generation: Named[int]
    disk_format: Named[str] = Column(TEXT)
    state: Named[str] = Column(TEXT)
    disk_path: Named[str] = Column(TEXT)
    machine_id: Named[str] = Column(TEXT)
    file_bytes: Named[int] = Column(BigInteger)
    plan_id: Named[str] = Column(TEXT)
    facts: Named[dict[str, Any] | None] = Column(DATA)
    boot_test: Named[dict[str, Any] | None] = Column(DATA)
    holder_task_id: Named[str | None] = Column(TEXT, ForeignKey("tasks.id", ondelete="SET NULL"), index=True)
    created_s: Named[float]


images = Table(
    "images", METADATA, ImageColumns, UniqueConstraint("name_key"), Index(None, "template_id", "created_s")
)


class ImageVersionColumns(TypedColumns):
    """What an image was made of."""

    owner_id: Named[str] = Column(TEXT, ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    position: Named[int] = Column(primary_key=True, autoincrement=False)
    version_id: Named[str] = Column(TEXT, ForeignKey("layer_versions.id"), index=True)


image_versions = Table("image_versions", METADATA, ImageVersionColumns)


# --- users ------------------------------------------------------------------------------------------------


class UserColumns(NamedColumns):
    """See `UserRecord`."""

    role: Named[str] = Column(TEXT)
    password_hash: Named[str] = Column(TEXT)
    disabled: Named[bool]
    failed_logins: Named[int]
    locked_until_s: Named[float | None]
    created_s: Named[float]


users = Table("users", METADATA, UserColumns, UniqueConstraint("name_key"))


class CredentialColumns(IdColumns):
    """See `CredentialRecord`."""

    kind: Named[str] = Column(TEXT)
    user_id: Named[str] = Column(TEXT, ForeignKey("users.id", ondelete="CASCADE"))
    name: Named[str] = Column(TEXT)
    secret_sha256: Named[str] = Column(TEXT)
    created_s: Named[float]
    expires_s: Named[float | None] = Column(index=True)
    last_used_s: Named[float | None]


credentials = Table(
    "credentials",
    METADATA,
    CredentialColumns,
    UniqueConstraint("secret_sha256"),
    Index(None, "user_id", "created_s"),
)


# --- audit and settings -----------------------------------------------------------------------------------


class AuditColumns(TypedColumns):
    """See `AuditEntry`. Triggers refuse to change or delete rows."""

    number: Named[int] = Column(BigInteger, primary_key=True, autoincrement=False)
    time_us: Named[int] = Column(BigInteger)
    actor: Named[str] = Column(TEXT, index=True)
    action: Named[str] = Column(TEXT, index=True)
    subject_kind: Named[str] = Column(TEXT)
    subject_id: Named[str] = Column(TEXT, index=True)
    subject_name: Named[str] = Column(TEXT)
    details: Named[dict[str, Any]] = Column(DATA)
    hash: Named[str] = Column(TEXT)


audit = Table("audit", METADATA, AuditColumns)


class AuditTextColumns(TypedColumns):
    """What audit entries are found by: narrow rows, so that looking through all of them is quick.

    No foreign key: what became of an entry is found by the verification, which looks at its text too.
    """

    number: Named[int] = Column(BigInteger, primary_key=True, autoincrement=False)
    text: Named[str] = Column(TEXT)


audit_texts = Table("audit_texts", METADATA, AuditTextColumns, sqlite_with_rowid=False)


class AuditHeadColumns(TypedColumns):
    """One row: the last entry, so that a history that was cut short is noticed."""

    id: Named[int] = Column(primary_key=True, autoincrement=False)
    number: Named[int] = Column(BigInteger)
    hash: Named[str] = Column(TEXT)


audit_head = Table("audit_head", METADATA, AuditHeadColumns)


class SettingColumns(TypedColumns):
    """Small values by name; JSON's null is a value."""

    name: Named[str] = Column(TEXT, primary_key=True)
    value: Named[Any] = Column(JSON(), nullable=False)


settings = Table("settings", METADATA, SettingColumns)
