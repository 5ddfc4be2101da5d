"""An appliance in one process: the services over SQLite, tasks in memory, agents that do what a test says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from argon2 import PasswordHasher

from sekiso import __version__
from sekiso.agent.contract import (
    CacheFacts,
    Done,
    ProbeTransferParams,
    SamePlaceResult,
    StorageProbeResult,
)
from sekiso.agent.granting import TransferAccess
from sekiso.agent.link.dispatch import Dispatcher
from sekiso.agent.link.errors import AgentOfflineError, AgentUnknownError
from sekiso.agent.memory import MemoryAgents
from sekiso.agent.port import ByteStream
from sekiso.model.connector import AgentInventory, SwitchItem, TemplateVm, VolumeItem
from sekiso.model.library import AgentRecord, AuditEntry, Role
from sekiso.model.machine import Firmware
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.model.storage_path import Drive, DriveKind, HostPlatform
from sekiso.services.agents import AgentService
from sekiso.services.audit import AuditService
from sekiso.services.cache import CacheService
from sekiso.services.configurations import ConfigurationService
from sekiso.services.connector_settings import ConnectorSettingsService
from sekiso.services.core import Actor, Core, new_id
from sekiso.services.probes import Probes
from sekiso.services.tasks import TaskService
from sekiso.services.users import UserService
from sekiso.store.database.database import Database, open_database, sqlite_url
from sekiso.tasks.memory import MemoryEngine
from sekiso.transfer.grants import Direction, Grants, GrantStore, MemoryGrantStore
from sekiso.transfer.manifest import Manifest

GIB = 1 << 30
#: argon2id as weak as it can be: tests hash hundreds of passwords.
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
ADMIN = Actor("admin", Role.ADMINISTRATOR)
MANAGER = Actor("maya", Role.LAYER_MANAGER)
PUBLISHER = Actor("pia", Role.PUBLISHER)
READER = Actor("rei", Role.READ_ONLY)
FINGERPRINT = "ab" * 32

TEMPLATES = (
    TemplateVm("t-bios", "Template BIOS", Firmware.BIOS, 2, 4096, ("LAN",)),
    TemplateVm("t-uefi", "Template UEFI", Firmware.UEFI, 6, 6144, ("LAN", None)),
    TemplateVm("t-secure", "Template Secure", Firmware.UEFI_SECURE_BOOT, 8, 8192, ("LAN",)),
    TemplateVm("t-disk", "Gold", Firmware.BIOS, 2, 4096, ("LAN",), ("a.vhd",)),
    TemplateVm("t-bare", "Bare", Firmware.BIOS, 2, 4096, ()),
    TemplateVm("t-loose", "Loose", Firmware.BIOS, 2, 4096, (None,)),
    TemplateVm("t-1", "Twin", Firmware.BIOS, 2, 4096, ("LAN",)),
    TemplateVm("t-2", "Twin", Firmware.BIOS, 2, 4096, ("LAN",)),
)
#: A Hyper-V server with everything that the rules speak of.
HOST = AgentInventory(
    agent_version=__version__,
    host_name="hv01",
    platform=HostPlatform.WINDOWS,
    hypervisor_version="10.0.20348",
    account="NT AUTHORITY\\SYSTEM",
    cpus=32,
    memory_mb=256 << 10,
    switches=(SwitchItem("LAN"), SwitchItem("DMZ")),
    template_vms=TEMPLATES,
    volumes=(VolumeItem("C:\\", 500 * GIB, 200 * GIB),),
    drives=(Drive("C", DriveKind.FIXED), Drive("M", DriveKind.MAPPED, r"\\nas\vms")),
)
GOOD: Mapping[str, Any] = {
    "name": "Production",
    "agent": "hv01",
    "storage_path": r"C:\Virtual Machines",
    "network": "LAN",
}

#: Answers a method, given its parameters; raises what the agent is to raise.
Answer = Callable[[Any], Any]


class Script:
    """An agent's answers, by method; those that a test does not give are those of a healthy host."""

    def __init__(self, grants: Grants, inventory: AgentInventory = HOST) -> None:
        self._grants = grants
        self.inventory = inventory
        self.free_bytes = 200 * GIB
        self.streams: dict[str, Answer] = {}
        self.answers: dict[str, Answer] = {
            "host.inventory": lambda _: self.inventory,
            "storage.probe": lambda _: StorageProbeResult(self.inventory.account, self.free_bytes),
            "storage.probe-same-place": lambda _: SamePlaceResult(True),
            "transfer.probe-download": self.fetch_probe,
            "transfer.probe-upload": self.send_probe,
            "cache.list": lambda _: CacheFacts((), 0, 0, 0, 0, 0),
            "cache.clear": lambda _: CacheFacts((), 0, 0, 0, 0, 0),
        }

    def run(self, method: str, params: Any, *, command_id: str, progress: Progress = NO_PROGRESS) -> Any:
        return self.answers[method](params)

    def open_stream(self, method: str, params: Any) -> ByteStream:
        return self.streams[method](params)

    def fetch_probe(self, params: ProbeTransferParams) -> Done:
        """Compare what a ticket leads to, without a transfer server in between."""
        assert self._path(params, Direction.DOWNLOAD).read_text() == params.content
        return Done()

    def send_probe(self, params: ProbeTransferParams) -> Done:
        """Put the file where a ticket leads to."""
        self._path(params, Direction.UPLOAD).write_text(params.content)
        return Done()

    def _path(self, params: ProbeTransferParams, direction: Direction) -> Path:
        grant_id = params.ticket.path.split("/")[2]
        grant = self._grants.check(grant_id, params.ticket.secret, direction)
        assert grant is not None
        assert grant.manifest == Manifest.from_dict(params.manifest, path=params.name)
        return grant.path


class ScriptedAgents:
    """`AgentPort` over `MemoryAgents`: agents may be added, and what they were asked is kept.

    Attributes:
        dispatchers: what carries out the commands of each agent.
        offline: agents that are not connected.
        calls: agent, method and parameters of every command, in order.
    """

    def __init__(self) -> None:
        self.dispatchers: dict[str, Dispatcher] = {}
        self.offline: set[str] = set()
        self.calls: list[tuple[str, str, Any]] = []
        self._agents: dict[str, MemoryAgents] = {}

    def add(self, agent_id: str, dispatcher: Dispatcher) -> None:
        """Connect one more agent."""
        self.dispatchers[agent_id] = dispatcher
        self._agents[agent_id] = MemoryAgents({agent_id: dispatcher})

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
        """See `AgentPort`; nobody waits for an agent that is away."""
        self.calls.append((agent_id, method, params))
        if agent_id not in self._agents:
            raise AgentUnknownError(agent=agent_id)
        if agent_id in self.offline:
            raise AgentOfflineError(agent=agent_id)
        return self._agents[agent_id].call(
            agent_id, method, params, command_id=command_id, progress=progress, timeout_s=timeout_s
        )

    def open_stream(self, agent_id: str, method: str, params: Any) -> ByteStream:
        """See `AgentPort`; as for `call`."""
        self.calls.append((agent_id, method, params))
        if agent_id not in self._agents:
            raise AgentUnknownError(agent=agent_id)
        if agent_id in self.offline:
            raise AgentOfflineError(agent=agent_id)
        return self._agents[agent_id].open_stream(agent_id, method, params)

    def online(self) -> Sequence[str]:
        """See `AgentPort`."""
        return sorted(self.dispatchers.keys() - self.offline)

    def asked(self, method: str) -> list[Any]:
        """Return the parameters that a method was called with."""
        return [params for _, called, params in self.calls if called == method]

    def close(self) -> None:
        """Let every agent stop."""
        for agents in self._agents.values():
            agents.close()


@dataclass
class Clock:
    """A clock that a test moves."""

    now_s: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Appliance:
    """The services and what lies below them."""

    core: Core
    db: Database
    agents_port: ScriptedAgents
    engine: MemoryEngine
    clock: Clock
    state: Path
    grants: Grants
    grant_store: GrantStore
    agents: AgentService
    configurations: ConfigurationService
    settings: ConnectorSettingsService
    users: UserService
    audit: AuditService
    tasks: TaskService
    cache: CacheService
    disconnected: list[str] = field(default_factory=list[str])

    def add_agent(
        self,
        name: str = "hv01",
        *,
        inventory: AgentInventory | None = HOST,
        online: bool = True,
        dispatcher: Dispatcher | None = None,
    ) -> AgentRecord:
        """Register an agent that reports a host; None = it has never reported."""
        record = AgentRecord(
            id=new_id(),
            name=name,
            certificate_sha256=new_id().replace("-", "") * 2,
            inventory=inventory,
            inventory_s=None if inventory is None else self.clock(),
            registered_s=self.clock(),
        )
        with self.db.begin() as work:
            work.agents.add(record)
        self.agents_port.add(record.id, dispatcher or Script(self.grants, inventory or HOST))
        if not online:
            self.agents_port.offline.add(record.id)
        return record

    def script(self, agent: AgentRecord) -> Script:
        """Return the script of an agent."""
        found = self.agents_port.dispatchers[agent.id]
        assert isinstance(found, Script)
        return found

    def entries(self) -> Sequence[AuditEntry]:
        """Return the audit history, oldest first."""
        with self.db.read() as work:
            return tuple(reversed(work.audit.list(limit=1000)))

    def actions(self) -> list[str]:
        """Return what the audit history says was done, oldest first."""
        return [entry.action for entry in self.entries()]


@cache
def _original() -> TemporaryDirectory[str]:
    """A migrated database without content; migrating once is enough."""
    folder = TemporaryDirectory(prefix="sekiso-test-", ignore_cleanup_errors=True)
    open_database(sqlite_url(Path(folder.name) / "sekiso.db")).close()
    return folder


@contextmanager
def state_folder() -> Iterator[Path]:
    """Give a folder where writing through costs nothing, if there is such a place."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    with TemporaryDirectory(prefix="sekiso-test-", dir=place) as folder:
        yield Path(folder) / "state"


@contextmanager
def open_appliance(
    state: Path, *, store: GrantStore | None = None, http_port: int = 1, https_port: int = 2
) -> Iterator[Appliance]:
    """Put an appliance together.

    Args:
        state: its state folder.
        store: the grants, where a test runs transfer servers that read them.
        http_port: port of the transfer server without TLS.
        https_port: port of the one with TLS.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (state / "sekiso.db").exists():
        shutil.copy(Path(_original().name) / "sekiso.db", state / "sekiso.db")
    clock = Clock()
    db = Database(sqlite_url(state / "sekiso.db"), clock=clock)
    port, store = ScriptedAgents(), store or MemoryGrantStore()
    engine = MemoryEngine(db, clock=clock)
    core = Core(db, port, engine, state, clock)
    grants = Grants(store, master=b"m" * 32)
    access = TransferAccess(grants, http_port, https_port)
    try:
        yield _assemble(core, db, port, engine, clock, access, store)
    finally:
        port.close()
        engine.close()
        db.close()


def _assemble(
    core: Core,
    db: Database,
    port: ScriptedAgents,
    engine: MemoryEngine,
    clock: Clock,
    access: TransferAccess,
    store: GrantStore,
) -> Appliance:
    gone: list[str] = []

    def disconnect(agent_id: str) -> None:
        gone.append(agent_id)
        port.offline.add(agent_id)

    agents = AgentService(core, fingerprint=lambda: FINGERPRINT, disconnect=disconnect)
    settings = ConnectorSettingsService(core)
    return Appliance(
        core=core,
        db=db,
        agents_port=port,
        engine=engine,
        clock=clock,
        state=core.state,
        grants=access.grants,
        grant_store=store,
        agents=agents,
        configurations=ConfigurationService(core, agents, settings, Probes(core, agents, lambda: access)),
        settings=settings,
        users=UserService(core, hasher=CHEAP),
        audit=AuditService(core),
        tasks=TaskService(core),
        cache=CacheService(core),
        disconnected=gone,
    )
