"""An appliance's services over SQLite, with agents that live in memory, behind the REST API."""

from __future__ import annotations

import base64
import tarfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher

from sekiso.agent.contract import (
    CachedDisk,
    CacheFacts,
    Done,
    PackagingState,
    PackagingStates,
    Picture,
    SamePlaceResult,
    StorageProbeResult,
)
from sekiso.agent.granting import TransferAccess
from sekiso.agent.link.errors import AgentOfflineError
from sekiso.agent.pki import load_authority
from sekiso.agent.registration import Registrar
from sekiso.model.connector import AgentInventory, SwitchItem, TemplateVm, VolumeItem
from sekiso.model.layer import GuestFamily, LayerKind
from sekiso.model.library import (
    AgentRecord,
    ImageRecord,
    ImageState,
    LayerRecord,
    PackagingFacts,
    Role,
    VersionRecord,
    VersionState,
)
from sekiso.model.machine import DiskFormat, Firmware, Generation
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.model.storage_path import HostPlatform
from sekiso.model.task import NewTask, Subject, SubjectKind, TaskKind, TaskState
from sekiso.services.agents import AgentService
from sekiso.services.audit import AuditService
from sekiso.services.cache import CacheService
from sekiso.services.configurations import ConfigurationService
from sekiso.services.connector_settings import ConnectorSettingsService
from sekiso.services.core import APPLIANCE, Core
from sekiso.services.images import ImageService
from sekiso.services.packaging import LayerService
from sekiso.services.probes import Probes
from sekiso.services.tasks import TaskService
from sekiso.services.templates import TemplateService, TemplateWish
from sekiso.services.users import UserService
from sekiso.store.database.database import Database, open_database, sqlite_url
from sekiso.store.layers import LayerStore
from sekiso.tasks.flows.publish_image import picture_path
from sekiso.tasks.memory import MemoryEngine
from sekiso.transfer.server import open_grants
from sekiso.web.app import create_app
from sekiso.web.auth import CSRF_HEADER
from sekiso.web.services import Services
from sekiso.web.settings import WebSettings
from sekiso.wim.merge import LayerTree
from sekiso.wim.tree import Node, new_root

from ...contract.agent_port.sources import Source
from ...support.system import system_services
from ..compositing.edit_scripts import write_layer

with warnings.catch_warnings():
    # It prefers a library that is not among the dependencies.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

ROOT = "/api/v1"
PASSWORD = "a long password"
NOW_S = 1_770_000_000.0
PNG = b"\x89PNG\r\n\x1a\n picture"
STORAGE = "C:\\Virtual Machines"
INVENTORY = AgentInventory(
    agent_version="0.1.0",
    host_name="hv01.example",
    platform=HostPlatform.WINDOWS,
    account="NT AUTHORITY\\SYSTEM",
    cpus=16,
    memory_mb=65536,
    switches=(SwitchItem("External", "External"),),
    template_vms=(TemplateVm("m-1", "template", Firmware.UEFI, 4, 8192, ("External",)),),
    volumes=(VolumeItem("C:\\", 1 << 40, 1 << 39),),
)
CACHE = CacheFacts(
    (CachedDisk("ab" * 32, ("cd" * 32,), DiskFormat.VHD, Generation.ONE, 1 << 30, 3, NOW_S, NOW_S),),
    1 << 30,
    *(3, 1, 0, 0),
)
#: One user of each role; the login name is the role.
ROLES = (Role.ADMINISTRATOR, Role.LAYER_MANAGER, Role.PUBLISHER, Role.READ_ONLY)


class MemoryAgents:
    """`AgentPort` whose agents do what they are told at once."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self.connected: list[str] = ["a-1"]
        self.calls: list[tuple[str, Any]] = []
        self.failures: dict[str, Exception] = {}
        self.sources: list[Source] = []

    def online(self) -> Sequence[str]:
        return tuple(self.connected)

    def call(
        self,
        agent_id: str,
        method: str,
        params: Any,
        *,
        command_id: str | None = None,
        progress: Progress = NO_PROGRESS,
        timeout_s: float | None = None,
    ) -> Any:
        if agent_id not in self.connected:
            raise AgentOfflineError(agent=agent_id)
        self.calls.append((method, params))
        if method in self.failures:
            raise self.failures[method]
        match method:
            case "host.inventory":
                return INVENTORY
            case "storage.probe":
                return StorageProbeResult("NT AUTHORITY\\SYSTEM", 1 << 39)
            case "storage.probe-same-place":
                return SamePlaceResult(same=True)
            case "transfer.probe-upload":
                folder = next((self._state / "scratch/probes").iterdir())
                (folder / params.name).write_text(params.content, encoding="ascii")
                return Done()
            case "cache.list" | "cache.clear":
                return CACHE
            case "packaging.states":
                return PackagingStates(tuple(PackagingState(v, "running") for v in params.version_ids))
            case "packaging.screenshot":
                return Picture(base64.b64encode(PNG).decode())
            case _:
                return Done()

    def open_stream(self, agent_id: str, method: str, params: Any) -> Source:
        if agent_id not in self.connected:
            raise AgentOfflineError(agent=agent_id)
        self.calls.append((method, params))
        if method in self.failures:
            raise self.failures[method]
        self.sources.append(Source())
        return self.sources[-1]


_apps: list[Any] = []


def _default_app(services: Services) -> Any:
    if not _apps:
        _apps.append(create_app(services))
    return _apps[0]


@dataclass
class World:
    """What a test works with."""

    state: Path
    db: Database
    agents: MemoryAgents
    engine: MemoryEngine
    services: Services

    def app(self, settings: WebSettings | None = None) -> Any:
        if settings is not None:
            return create_app(self.services, settings=settings)
        # Making one takes longer than most tests; the services are all that differs.
        app = _default_app(self.services)
        app.state.services = self.services
        return app

    def client(self, role: Role | None = None, settings: WebSettings | None = None) -> TestClient:
        """A client of the API; logged in by an API token if a role is given."""
        client = TestClient(
            self.app(settings), base_url="https://appliance.example", raise_server_exceptions=False
        )
        if role is not None:
            client.headers["Authorization"] = f"Bearer {self.token(role)}"
        return client

    def token(self, role: Role) -> str:
        actor = self.services.users.login(role.value, PASSWORD).actor
        return self.services.users.create_token(actor, "tests").token

    def session(self, role: Role = Role.ADMINISTRATOR) -> TestClient:
        """A client that is logged in by cookie, and sends what changes need."""
        client = self.client()
        answer = client.post(f"{ROOT}/session", json={"name": role.value, "password": PASSWORD})
        client.headers[CSRF_HEADER] = answer.json()["csrf"]
        return client

    def close(self) -> None:
        self.engine.close()
        self.db.close()

    def add_task(self, task_id: str, state: TaskState = TaskState.QUEUED, **changes: Any) -> None:
        self.engine.start(
            NewTask(
                task_id,
                TaskKind.PUBLISH_IMAGE,
                (Subject(SubjectKind.IMAGE, "i-9", "web"),),
                {"plain": 1},
                "admin",
            )
        )
        if state is not TaskState.QUEUED or changes:
            with self.db.begin() as work:
                work.tasks.replace(replace(work.tasks.get(task_id), state=state, **changes))


def settings(**values: Any) -> dict[str, Any]:
    """Values of a connector configuration that works."""
    return {
        "name": "fresh",
        "agent": "hv01",
        "storage_path": STORAGE,
        "network": "External",
        "cpus": 2,
        "memory_mb": 4096,
        "generation": 1,
        "disk_format": "vhd",
        "offload": False,
        **values,
    }


def tar_of(*members: tuple[str, bytes] | tarfile.TarInfo, mode: Any = "w") -> bytes:
    """A tar file with these members."""
    out = BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, BytesIO(member[1]))
    return out.getvalue()


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer, after a look at its form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    assert found["code"] == code, found
    assert found["type"] == f"urn:sekiso:error:{code}"
    assert found["status"] == status
    keys = {"type", "title", "status", "detail", "resolution", "code", "family", "retryable", "params"}
    assert set(found) == keys | {"errors"}
    assert found["title"]
    assert response.headers["content-language"] in ("en", "ja")
    assert "Accept-Language" in response.headers["vary"]
    return found


def make_world(state: Path) -> World:
    """Put services together over a state folder with a database."""
    db = open_database(sqlite_url(state / "sekiso.db"))
    agents = MemoryAgents(state)
    engine = MemoryEngine(db)
    core = Core(db, agents, engine, state)
    store = LayerStore(state / "layers")
    authority = load_authority(state / "pki")
    connector_settings = ConnectorSettingsService(core)
    agent_service = AgentService(core, fingerprint=lambda: "ab" * 32)
    access = TransferAccess(open_grants(state / "transfer", master=bytes(32)), 1, 2)
    services = Services(
        agents=agent_service,
        configurations=ConfigurationService(
            core, agent_service, connector_settings, Probes(core, agent_service, lambda: access)
        ),
        connector_settings=connector_settings,
        layers=LayerService(core, store),
        templates=TemplateService(core, store),
        images=ImageService(core),
        tasks=TaskService(core),
        cache=CacheService(core),
        users=UserService(core, hasher=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)),
        audit=AuditService(core),
        **system_services(core, db, agent_service, connector_settings),
        register=Registrar(db, authority, link_port=lambda: 8444).accept,
        uploads=state / "uploads",
    )
    return World(state, db, agents, engine, services)


def fill(world: World) -> None:
    """Put something of every kind into an empty world."""
    services, db = world.services, world.db
    store = LayerStore(world.state / "layers")
    for role in ROLES:
        services.users.add(APPLIANCE, role.value, PASSWORD, role)
    with db.begin() as work:
        work.agents.add(AgentRecord("a-1", "hv01", "1" * 64, inventory=INVENTORY, registered_s=NOW_S))
        work.agents.add(AgentRecord("a-2", "spare", "2" * 64, registered_s=NOW_S))
    configuration = services.configurations.create(APPLIANCE, "hyperv", settings(name="prod"))
    kinds = (LayerKind.OS, LayerKind.APP)
    identities = {k: store.adopt(_layer_file(world.state / f"{k}.wim", k)) for k in kinds}
    _fill_library(world, configuration.id, identities)
    wish = TemplateWish("web", "prod", "v-os", ("v-app",))
    template = services.templates.create(APPLIANCE, wish)
    with db.begin() as work:
        work.images.add(
            ImageRecord(
                id="i-1",
                name="web 2026-02-02 02-40-00",
                template_id=template.template.id,
                template_name="web",
                template_revision=1,
                configuration_id=configuration.id,
                agent_id="a-1",
                storage_path=STORAGE,
                version_ids=("v-os",),
                generation=Generation.ONE,
                disk_format=DiskFormat.VHD,
                state=ImageState.PUBLISHED,
                created_s=NOW_S,
            )
        )
    picture = picture_path(world.state, "i-1")
    picture.parent.mkdir(parents=True)
    picture.write_bytes(PNG)
    world.add_task("t-queued")
    world.add_task(
        "t-failed",
        TaskState.FAILED,
        step="Preparing",
        error={
            "code": "busy",
            "params": {"what": "The image", "name": "web", "task": "t", "holder": "boot-test"},
        },
    )


def _layer_file(out: Path, kind: LayerKind) -> Path:
    name = kind.value
    root, data = new_root(), {bytes(range(20)): b""}
    assert root.children is not None
    root.children[name] = Node(name)
    return write_layer(out, LayerTree(name, root), {**data, bytes(20): b""}, kind=kind)


def _fill_library(world: World, configuration_id: str, identities: dict[LayerKind, str]) -> None:
    ready, editing = VersionState.DEPLOYABLE, VersionState.EDITING
    facts = PackagingFacts(configuration_id, "a-1", STORAGE, "m-7", "nginx 1.1")
    layers = (
        LayerRecord("l-os", LayerKind.OS, "Debian", "", "", 0, GuestFamily.LINUX, None, NOW_S),
        LayerRecord("l-app", LayerKind.APP, "nginx", "", "", 1, GuestFamily.LINUX, "l-os", NOW_S),
    )
    one = Generation.ONE
    versions = (
        VersionRecord("v-os", "l-os", "12", "", ready, one, identities[LayerKind.OS], created_s=NOW_S),
        VersionRecord("v-os2", "l-os", "13", "", ready, one, identities[LayerKind.OS], created_s=NOW_S + 1),
        VersionRecord(
            *("v-app", "l-app", "1.0", "", ready, one, identities[LayerKind.APP]),
            base_version_ids=("v-os",),
            created_s=NOW_S + 2,
        ),
        VersionRecord(
            *("v-edit", "l-app", "1.1", "", editing, one, None),
            base_version_ids=("v-os",),
            previous_version_id="v-app",
            packaging=facts,
            created_s=NOW_S + 3,
        ),
    )
    with world.db.begin() as work:
        for layer in layers:
            work.layers.add(layer)
        for version in versions:
            work.versions.add(version)
