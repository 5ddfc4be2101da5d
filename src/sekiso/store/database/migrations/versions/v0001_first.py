"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SECONDS: sa.Double[float] = sa.Double()
_APPEND_ONLY = "the audit history is append-only"


def upgrade() -> None:
    """Apply."""
    _agent_tokens()
    _agents()
    _audit()
    _audit_head()
    _configurations()
    _layers()
    _settings()
    _tasks()
    _users()
    _commands()
    _credentials()
    _layer_versions()
    _task_log()
    _task_subjects()
    _layer_version_bases()
    _templates()
    _images()
    _template_revisions()
    _template_versions()
    _image_versions()
    head = sa.text("INSERT INTO audit_head (id, number, hash) VALUES (1, 0, :hash)")
    op.execute(head.bindparams(hash="0" * 64))
    if op.get_context().dialect.name == "postgresql":
        _guard_audit_on_postgresql()
    else:
        _guard_audit_on_sqlite()


def _guard_audit_on_sqlite() -> None:
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_no_{change.lower()} BEFORE {change} ON audit "
            f"BEGIN SELECT RAISE(ABORT, '{_APPEND_ONLY}'); END"
        )


def _guard_audit_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_APPEND_ONLY}'; END $$"
    )
    for each, changes in (("ROW", "UPDATE OR DELETE"), ("STATEMENT", "TRUNCATE")):
        op.execute(
            f"CREATE TRIGGER audit_append_only_{each.lower()} BEFORE {changes} ON audit "
            f"FOR EACH {each} EXECUTE FUNCTION audit_append_only()"
        )


def _agent_tokens() -> None:
    op.create_table(
        "agent_tokens",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("agent_name", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_s", _SECONDS, nullable=False),
        sa.Column("expires_s", _SECONDS, nullable=False),
        sa.Column("used_s", _SECONDS, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_agent_tokens"),
        sa.UniqueConstraint("secret_sha256", name="uq_agent_tokens_secret_sha256"),
    )


def _agents() -> None:
    op.create_table(
        "agents",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("certificate_sha256", sa.Text(), nullable=False),
        sa.Column("next_certificate_sha256", sa.Text(), nullable=True),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("inventory", sa.JSON(), nullable=True),
        sa.Column("inventory_s", _SECONDS, nullable=True),
        sa.Column("last_seen_s", _SECONDS, nullable=True),
        sa.Column("registered_s", _SECONDS, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_agents"),
        sa.UniqueConstraint("name_key", name="uq_agents_name_key"),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("subject_name", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )
    op.create_index("ix_audit_action", "audit", ["action"], unique=False)
    op.create_index("ix_audit_actor", "audit", ["actor"], unique=False)
    op.create_index("ix_audit_subject_id", "audit", ["subject_id"], unique=False)


def _audit_head() -> None:
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_head"),
    )


def _configurations() -> None:
    op.create_table(
        "configurations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("connector", sa.Text(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("created_s", _SECONDS, nullable=False),
        sa.Column("changed_s", _SECONDS, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_configurations"),
        sa.UniqueConstraint("name_key", name="uq_configurations_name_key"),
    )


def _layers() -> None:
    op.create_table(
        "layers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("icon", sa.Text(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("family", sa.Text(), nullable=True),
        sa.Column("os_layer_id", sa.Text(), nullable=True),
        sa.Column("created_s", _SECONDS, nullable=False),
        sa.ForeignKeyConstraint(["os_layer_id"], ["layers.id"], name="fk_layers_os_layer_id"),
        sa.PrimaryKeyConstraint("id", name="pk_layers"),
        sa.UniqueConstraint("kind", "name_key", name="uq_layers_kind_name_key"),
    )
    op.create_index("ix_layers_os_layer_id", "layers", ["os_layer_id"], unique=False)


def _settings() -> None:
    op.create_table(
        "settings",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_settings"),
    )


def _tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_by_key", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("percent", _SECONDS, nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("created_s", _SECONDS, nullable=False),
        sa.Column("started_s", _SECONDS, nullable=True),
        sa.Column("ended_s", _SECONDS, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
    )
    op.create_index("ix_tasks_created_s_id", "tasks", ["created_s", "id"], unique=False)
    op.create_index("ix_tasks_ended_s", "tasks", ["ended_s"], unique=False)
    op.create_index("ix_tasks_lane", "tasks", ["lane"], unique=False)
    op.create_index("ix_tasks_state_created_s", "tasks", ["state", "created_s"], unique=False)


def _users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("failed_logins", sa.Integer(), nullable=False),
        sa.Column("locked_until_s", _SECONDS, nullable=True),
        sa.Column("created_s", _SECONDS, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("name_key", name="uq_users_name_key"),
    )


def _commands() -> None:
    op.create_table(
        "commands",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("created_s", _SECONDS, nullable=False),
        sa.Column("ended_s", _SECONDS, nullable=True),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="fk_commands_agent_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_commands"),
    )
    op.create_index("ix_commands_agent_id", "commands", ["agent_id"], unique=False)
    op.create_index("ix_commands_ended_s", "commands", ["ended_s"], unique=False)


def _credentials() -> None:
    op.create_table(
        "credentials",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("created_s", _SECONDS, nullable=False),
        sa.Column("expires_s", _SECONDS, nullable=True),
        sa.Column("last_used_s", _SECONDS, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_credentials_user_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_credentials"),
        sa.UniqueConstraint("secret_sha256", name="uq_credentials_secret_sha256"),
    )
    op.create_index("ix_credentials_expires_s", "credentials", ["expires_s"], unique=False)
    op.create_index("ix_credentials_user_id_created_s", "credentials", ["user_id", "created_s"], unique=False)


def _layer_versions() -> None:
    op.create_table(
        "layer_versions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("layer_id", sa.Text(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=True),
        sa.Column("file_bytes", sa.BigInteger(), nullable=False),
        sa.Column("content_bytes", sa.BigInteger(), nullable=False),
        sa.Column("previous_version_id", sa.Text(), nullable=True),
        sa.Column("packaging", sa.JSON(), nullable=True),
        sa.Column("packaging_configuration_id", sa.Text(), nullable=True),
        sa.Column("holder_task_id", sa.Text(), nullable=True),
        sa.Column("created_s", _SECONDS, nullable=False),
        sa.ForeignKeyConstraint(
            ["holder_task_id"], ["tasks.id"], name="fk_layer_versions_holder_task_id", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["layer_id"], ["layers.id"], name="fk_layer_versions_layer_id"),
        sa.ForeignKeyConstraint(
            ["packaging_configuration_id"],
            ["configurations.id"],
            name="fk_layer_versions_packaging_configuration_id",
        ),
        sa.ForeignKeyConstraint(
            ["previous_version_id"],
            ["layer_versions.id"],
            name="fk_layer_versions_previous_version_id",
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_layer_versions"),
        sa.UniqueConstraint("layer_id", "name_key", name="uq_layer_versions_layer_id_name_key"),
    )
    op.create_index("ix_layer_versions_holder_task_id", "layer_versions", ["holder_task_id"], unique=False)
    op.create_index("ix_layer_versions_identity", "layer_versions", ["identity"], unique=False)
    op.create_index(
        "ix_layer_versions_packaging_configuration_id",
        "layer_versions",
        ["packaging_configuration_id"],
        unique=False,
    )
    op.create_index(
        "ix_layer_versions_previous_version_id", "layer_versions", ["previous_version_id"], unique=False
    )


def _task_log() -> None:
    op.create_table(
        "task_log",
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time_s", _SECONDS, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_task_log_task_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task_id", "number", name="pk_task_log"),
    )


def _task_subjects() -> None:
    op.create_table(
        "task_subjects",
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name="fk_task_subjects_task_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("task_id", "position", name="pk_task_subjects"),
    )
    op.create_index("ix_task_subjects_subject_id", "task_subjects", ["subject_id"], unique=False)


def _layer_version_bases() -> None:
    op.create_table(
        "layer_version_bases",
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["layer_versions.id"], name="fk_layer_version_bases_owner_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["layer_versions.id"], name="fk_layer_version_bases_version_id"
        ),
        sa.PrimaryKeyConstraint("owner_id", "position", name="pk_layer_version_bases"),
    )
    op.create_index("ix_layer_version_bases_version_id", "layer_version_bases", ["version_id"], unique=False)


def _templates() -> None:
    op.create_table(
        "templates",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("configuration_id", sa.Text(), nullable=False),
        sa.Column("os_version_id", sa.Text(), nullable=False),
        sa.Column("platform_version_id", sa.Text(), nullable=True),
        sa.Column("disk_name", sa.Text(), nullable=False),
        sa.Column("disk_format", sa.Text(), nullable=False),
        sa.Column("allocation", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("generalization", sa.Text(), nullable=False),
        sa.Column("boot_test", sa.Boolean(), nullable=False),
        sa.Column("keep_last", sa.BigInteger(), nullable=True),
        sa.Column("created_s", _SECONDS, nullable=False),
        sa.Column("changed_s", _SECONDS, nullable=False),
        sa.ForeignKeyConstraint(
            ["configuration_id"], ["configurations.id"], name="fk_templates_configuration_id"
        ),
        sa.ForeignKeyConstraint(["os_version_id"], ["layer_versions.id"], name="fk_templates_os_version_id"),
        sa.ForeignKeyConstraint(
            ["platform_version_id"], ["layer_versions.id"], name="fk_templates_platform_version_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_templates"),
        sa.UniqueConstraint("name_key", name="uq_templates_name_key"),
    )
    op.create_index("ix_templates_configuration_id", "templates", ["configuration_id"], unique=False)
    op.create_index("ix_templates_os_version_id", "templates", ["os_version_id"], unique=False)
    op.create_index("ix_templates_platform_version_id", "templates", ["platform_version_id"], unique=False)


def _images() -> None:
    op.create_table(
        "images",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("template_id", sa.Text(), nullable=True),
        sa.Column("template_name", sa.Text(), nullable=False),
        sa.Column("template_revision", sa.Integer(), nullable=False),
        sa.Column("configuration_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("storage_path", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("disk_format", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("disk_path", sa.Text(), nullable=False),
        sa.Column("machine_id", sa.Text(), nullable=False),
        sa.Column("file_bytes", sa.BigInteger(), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=True),
        sa.Column("boot_test", sa.JSON(), nullable=True),
        sa.Column("holder_task_id", sa.Text(), nullable=True),
        sa.Column("created_s", _SECONDS, nullable=False),
        sa.ForeignKeyConstraint(
            ["holder_task_id"], ["tasks.id"], name="fk_images_holder_task_id", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["template_id"], ["templates.id"], name="fk_images_template_id", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
        sa.UniqueConstraint("name_key", name="uq_images_name_key"),
    )
    op.create_index("ix_images_agent_id", "images", ["agent_id"], unique=False)
    op.create_index("ix_images_configuration_id", "images", ["configuration_id"], unique=False)
    op.create_index("ix_images_holder_task_id", "images", ["holder_task_id"], unique=False)
    op.create_index("ix_images_template_id_created_s", "images", ["template_id", "created_s"], unique=False)


def _template_revisions() -> None:
    op.create_table(
        "template_revisions",
        sa.Column("template_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["template_id"], ["templates.id"], name="fk_template_revisions_template_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("template_id", "revision", name="pk_template_revisions"),
    )


def _template_versions() -> None:
    op.create_table(
        "template_versions",
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["templates.id"], name="fk_template_versions_owner_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["layer_versions.id"], name="fk_template_versions_version_id"
        ),
        sa.PrimaryKeyConstraint("owner_id", "position", name="pk_template_versions"),
    )
    op.create_index("ix_template_versions_version_id", "template_versions", ["version_id"], unique=False)


def _image_versions() -> None:
    op.create_table(
        "image_versions",
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["images.id"], name="fk_image_versions_owner_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["version_id"], ["layer_versions.id"], name="fk_image_versions_version_id"),
        sa.PrimaryKeyConstraint("owner_id", "position", name="pk_image_versions"),
    )
    op.create_index("ix_image_versions_version_id", "image_versions", ["version_id"], unique=False)
