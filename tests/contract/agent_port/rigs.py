"""Agents of both kinds, with the same handles to what happens to them."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from sekiso.agent.files import write_private
from sekiso.agent.link.hub import Hub
from sekiso.agent.memory import MemoryAgents
from sekiso.agent.pki import certificate_request, key_pem, load_authority, load_server_certificate, new_key
from sekiso.agent.port import AgentPort
from sekiso.agent.registration import Registrar, RegistrationRequest
from sekiso.agent.service import AgentService
from sekiso.agent.settings import CERTIFICATE, AgentSettings, save_settings
from sekiso.store.database.api import RegistrationToken
from sekiso.store.database.database import Database

from .proxy import CutProxy
from .worker import Worker, until

GRACE_S = 0.6


class Rig(Protocol):
    """One agent."""

    worker: Worker
    agent_id: str

    @property
    def agents(self) -> AgentPort: ...

    def go_away(self) -> None: ...

    def come_back(self) -> None: ...

    def cut(self) -> None: ...

    def revoke(self) -> None: ...

    def close(self) -> None: ...


class MemoryRig:
    """In this process."""

    def __init__(self) -> None:
        self.worker, self.agent_id = Worker(), "agent"
        self._agents = MemoryAgents({self.agent_id: self.worker}, grace_s=GRACE_S)

    @property
    def agents(self) -> AgentPort:
        return self._agents

    def go_away(self) -> None:
        self._agents.go_away(self.agent_id)

    def come_back(self) -> None:
        self._agents.come_back(self.agent_id)

    def cut(self) -> None:
        self.go_away()
        self.come_back()

    def revoke(self) -> None:
        self._agents.revoke(self.agent_id)

    def close(self) -> None:
        self.worker.released.set()
        self._agents.close()


class LinkRig:
    """Hub and service over TLS on loopback, with a network in between that fails."""

    def __init__(self, folder: Path, db: Database) -> None:
        self.folder, self.db, self.worker = folder, db, Worker()
        self.authority = load_authority(folder / "pki")
        self.certificate = load_server_certificate(folder / "pki", ["127.0.0.1"])
        self.pins: tuple[str, ...] = ()
        self.hub = self.new_hub()
        self.hub.start()
        self.proxy = CutProxy(lambda: self.hub.port)
        self.state = folder / "agent"
        self.settings = self.register(self.state)
        self.agent_id = self.settings.agent_id
        self.service, self._thread = self.start_service(self.settings, self.state)
        until(self.online, "the connection")

    @property
    def agents(self) -> AgentPort:
        return self.hub

    def online(self) -> bool:
        return self.agent_id in self.hub.online()

    def new_hub(self, port: int = 0) -> Hub:
        return Hub(
            self.db, self.authority, self.certificate, port=port, grace_s=GRACE_S, pins=lambda: self.pins
        )

    def registrar(self) -> Registrar:
        return Registrar(
            self.db, self.authority, link_port=lambda: self.proxy.port, disconnect=self.hub.disconnect
        )

    def register(self, state: Path, name: str = "host", *, pin: str = "") -> AgentSettings:
        """Register without HTTP."""
        key, secret = new_key(), f"secret-of-{name}-{time.monotonic_ns()}"
        with self.db.begin() as work:
            work.tokens.add(new_token(secret, name))
        answer = self.registrar().accept(
            RegistrationRequest(secret, certificate_request(key).decode(), host_name=name)
        )
        settings = AgentSettings(
            appliance_url="https://127.0.0.1",
            host="127.0.0.1",
            link_port=answer.link_port,
            pins=(pin or self.certificate.sha256,),
            agent_id=answer.agent_id,
            name=answer.name,
            storage=str(state / "machines"),
        )
        write_private(state / CERTIFICATE, key_pem(key) + answer.certificate.encode())
        save_settings(state, settings)
        return settings

    def start_service(
        self, settings: AgentSettings, state: Path, **options: Any
    ) -> tuple[AgentService, threading.Thread]:
        service = AgentService(settings, state, lambda _: self.worker, **options)
        thread = threading.Thread(target=service.run, daemon=True)
        thread.start()
        return service, thread

    def stop_service(self) -> None:
        self.service.stop()
        self._thread.join(15)
        assert not self._thread.is_alive()

    def restart_service(self, **options: Any) -> None:
        self.stop_service()
        self.service, self._thread = self.start_service(self.settings, self.state, **options)

    def restart_hub(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.hub.stop()
        meanwhile()
        self.hub = self.new_hub()
        self.hub.start()

    def go_away(self) -> None:
        self.proxy.open = False
        self.proxy.cut()
        until(lambda: not self.online(), "the loss of the connection")

    def come_back(self) -> None:
        self.proxy.open = True
        until(self.online, "the connection")

    def cut(self) -> None:
        self.proxy.cut()

    def revoke(self) -> None:
        with self.db.begin() as work:
            record = work.agents.get(self.agent_id)
            work.agents.replace(replace(record, revoked=True))
        self.hub.disconnect(self.agent_id)

    def close(self) -> None:
        self.worker.released.set()
        self.stop_service()
        self.hub.stop()
        self.proxy.close()


def new_token(secret: str, name: str = "", *, expires_s: float = 9e9) -> RegistrationToken:
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return RegistrationToken(digest[:16], digest, name, "admin", 1.0, expires_s)
