"""Records to store, with something in every attribute."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sekiso.model.connector import AgentInventory, SwitchItem, TemplateVm, VolumeItem
from sekiso.model.layer import GuestFamily, LayerKind
from sekiso.model.library import (
    AgentRecord,
    ConfigurationRecord,
    CredentialKind,
    CredentialRecord,
    GeneralizationChoice,
    ImageRecord,
    ImageState,
    LayerRecord,
    PackagingFacts,
    Role,
    TemplateRecord,
    UserRecord,
    VersionRecord,
    VersionState,
)
from sekiso.model.machine import DiskAllocation, DiskFormat, Firmware, Generation
from sekiso.model.storage_path import Drive, DriveKind, HostPlatform
from sekiso.model.task import Subject, SubjectKind, TaskKind, TaskRecord, TaskState
from sekiso.store.database.api import RegistrationToken, UnitOfWork

DEEP: dict[str, Any] = {
    "bytes": 2**40,
    "ratio": 0.25,
    "list": [1, None, {"": "層"}],
    "nul": "a\0b",
    "yes": True,
}

INVENTORY = AgentInventory(
    agent_version="0.1.0",
    host_name="HOST-A",
    platform=HostPlatform.WINDOWS,
    cpus=8,
    memory_mb=65536,
    disk_formats=(DiskFormat.VHD,),
    switches=(SwitchItem("Default", "Internal", reaches_host=True),),
    template_vms=(TemplateVm("vm-1", "base", Firmware.UEFI, 2, 2048, ("Default", None), (r"C:\a.vhdx",)),),
    volumes=(VolumeItem("C:\\", 2**41, 2**40),),
    drives=(Drive("C", DriveKind.FIXED), Drive("Z", DriveKind.MAPPED, r"\\server\share")),
)

AGENT = AgentRecord(
    id="agent-1",
    name="Host A",
    certificate_sha256="a" * 64,
    next_certificate_sha256="b" * 64,
    revoked=True,
    inventory=INVENTORY,
    inventory_s=1.5,
    last_seen_s=2.25,
    registered_s=0.125,
    certificate_expires_s=99.5,
)
TOKEN = RegistrationToken("token-1", "c" * 64, "Host A", "admin", 10.0, 20.0)
CONFIGURATION = ConfigurationRecord("conf-1", "hyperv", "Site 1", {"agent": "Host A", **DEEP}, 1.0, 2.0)
TASK = TaskRecord(
    id="task-1",
    kind=TaskKind.CREATE_LAYER,
    state=TaskState.RUNNING,
    subjects=(
        Subject(SubjectKind.LAYER, "layer-app", "Editor"),
        Subject(SubjectKind.CONFIGURATION, "conf-1", "Site 1"),
    ),
    params=DEEP,
    requested_by="Ａlice",
    lane="conf-1",
    attempt=2,
    step="Copying",
    percent=12.5,
    done=2**41,
    total=2**42,
    unit="bytes",
    action="Do it.",
    result=DEEP,
    error={"code": "busy", "params": {}},
    created_s=1_700_000_000.123456,
    started_s=1_700_000_001.5,
    ended_s=None,
)
OS_LAYER = LayerRecord("layer-os", LayerKind.OS, "Debian", "notes", "debian", 0, GuestFamily.LINUX, None, 1.0)
APP_LAYER = LayerRecord("layer-app", LayerKind.APP, "Editor", "", "", 7, None, "layer-os", 2.0)
OS_VERSION = VersionRecord(
    "v-os", "layer-os", "12", "", VersionState.DEPLOYABLE, Generation.ONE, "d" * 64, 2**33, 2**34
)
APP_VERSION = VersionRecord(
    id="v-app",
    layer_id="layer-app",
    name="1.0",
    notes="first\nline",
    state=VersionState.EDITING,
    generation=Generation.TWO,
    identity=None,
    base_version_ids=("v-os",),
    previous_version_id="v-os",
    packaging=PackagingFacts("conf-1", "agent-1", r"C:\VM", "m-1", "pack", ("reboot: pending",), True, True),
    holder_task_id="task-1",
    created_s=3.0,
)
DONE_VERSION = VersionRecord(
    "v-done",
    "layer-app",
    "0.9",
    "",
    VersionState.DEPLOYABLE,
    Generation.ONE,
    "e" * 64,
    base_version_ids=("v-os",),
    created_s=4.0,
)
TEMPLATE = TemplateRecord(
    id="tpl-1",
    name="Desktop",
    notes="",
    revision=1,
    configuration_id="conf-1",
    os_version_id="v-os",
    app_version_ids=("v-done", "v-app"),
    platform_version_id=None,
    disk_name="disk",
    disk_format=DiskFormat.VHDX,
    allocation=DiskAllocation.DYNAMIC,
    size_bytes=2**36,
    generalization=GeneralizationChoice.OFFLINE,
    boot_test=True,
    keep_last=3,
    created_s=5.0,
    changed_s=6.0,
)
IMAGE = ImageRecord(
    id="image-1",
    name="Desktop 2026-01-01 10:00:00",
    template_id="tpl-1",
    template_name="Desktop",
    template_revision=1,
    configuration_id="conf-gone",
    agent_id="agent-gone",
    storage_path=r"C:\VM",
    version_ids=("v-os", "v-done"),
    generation=Generation.TWO,
    disk_format=DiskFormat.VHDX,
    state=ImageState.PUBLISHED,
    disk_path=r"C:\VM\disk.vhdx",
    machine_id="m-2",
    file_bytes=2**35,
    plan_id="plan",
    facts=DEEP,
    boot_test={"ok": True},
    holder_task_id="task-1",
    created_s=7.0,
)
USER = UserRecord("user-1", "Alice", Role.PUBLISHER, "$argon2id$x", True, 3, 99.5, 1.0)
CREDENTIAL = CredentialRecord(
    "cred-1", CredentialKind.API_TOKEN, "user-1", "ci", "f" * 64, 1.0, expires_s=50.0, last_used_s=2.0
)

#: Table, record, and the record changed in a few attributes; in an order in which they can be added.
STORED: list[tuple[str, Any, Any]] = [
    ("agents", AGENT, replace(AGENT, name="Host B", inventory=None, revoked=False)),
    ("tokens", TOKEN, replace(TOKEN, used_s=12.0)),
    ("configurations", CONFIGURATION, replace(CONFIGURATION, settings={}, changed_s=3.0)),
    (
        "tasks",
        TASK,
        replace(TASK, subjects=TASK.subjects[1:], result=None, error=None, total=None, ended_s=9.0),
    ),
    ("layers", OS_LAYER, replace(OS_LAYER, name="Debian 12", family=None)),
    ("layers", APP_LAYER, replace(APP_LAYER, family=GuestFamily.WINDOWS, priority=-1)),
    ("versions", OS_VERSION, replace(OS_VERSION, state=VersionState.BROKEN)),
    ("versions", APP_VERSION, replace(APP_VERSION, packaging=None, holder_task_id=None, base_version_ids=())),
    ("versions", DONE_VERSION, replace(DONE_VERSION, name="0.9.1", identity="0" * 64)),
    (
        "templates",
        TEMPLATE,
        replace(
            TEMPLATE,
            revision=2,
            app_version_ids=("v-app",),
            platform_version_id="v-done",
            size_bytes=None,
            keep_last=None,
        ),
    ),
    ("images", IMAGE, replace(IMAGE, version_ids=("v-done", "v-os"), template_id=None, facts=None)),
    ("users", USER, replace(USER, name="Bob", disabled=False, locked_until_s=None)),
    ("credentials", CREDENTIAL, replace(CREDENTIAL, expires_s=None, last_used_s=None)),
]


def fill(work: UnitOfWork) -> None:
    """Store every sample."""
    for table, record, _ in STORED:
        getattr(work, table).add(record)


def task(task_id: str, **changes: Any) -> TaskRecord:
    """A task that has just been asked for."""
    new = TaskRecord(
        task_id,
        TaskKind.PUBLISH_IMAGE,
        TaskState.QUEUED,
        (Subject(SubjectKind.TEMPLATE, "tpl-1", "Desktop"),),
        {},
        "admin",
    )
    return replace(new, **changes)
