"""The services behind the System pages, over servers that only remember what they were told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sekiso.agent.certificate_folder import CertificateFolder
from sekiso.agent.link.ledger import DatabaseLedger
from sekiso.agent.pki import ServerCertificate, load_authority
from sekiso.services.agents import AgentService
from sekiso.services.appliance_settings import ApplianceFacts, ApplianceSettingsService
from sekiso.services.certificates import CertificateService, Endpoint
from sekiso.services.connector_settings import ConnectorSettingsService
from sekiso.services.core import Core
from sekiso.services.health import HealthService
from sekiso.services.logs import LogService
from sekiso.services.metrics import MetricsService
from sekiso.services.vitals import Vitals
from sekiso.store.database.database import Database

NAMES = ("appliance.example", "127.0.0.1")


class MemoryServers:
    """`certificates.Servers` without a network.

    Attributes:
        shown: the fingerprint that all but the link show; `link` that of the link.
        failure: raised by the next `use`.
        events: what happened, in order.
        listening: agents that write down at once what they are told.
    """

    def __init__(self, core: Core) -> None:
        self._ledger = DatabaseLedger(core.db, load_authority(core.state / "pki"), core.clock)
        self.shown = self.link = ""
        self.failure: Exception | None = None
        self.events: list[str] = []
        self.listening: list[str] = []

    def endpoints(self) -> Sequence[Endpoint]:
        return [Endpoint("api", 8443), Endpoint("transfer-https", 8022), Endpoint("agent-link", 8444)]

    def announce(self, pins: tuple[str, ...], *, timeout_s: float) -> None:
        self.events.append("announce")
        for agent_id in self.listening:
            self._ledger.take_pins(agent_id, (*pins, self.link))

    def retract(self, pins: tuple[str, ...]) -> None:
        self.events.append("retract")
        for agent_id in self.listening:
            self._ledger.take_pins(agent_id, pins)

    def use(self, certificate: ServerCertificate) -> None:
        self.events.append("use")
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        self.shown = certificate.sha256

    def use_on_link(self, certificate: ServerCertificate) -> None:
        self.events.append("use-on-link")
        self.link = certificate.sha256

    def take_pins(self, agent_id: str, *pins: str) -> None:
        """An agent says which certificates it accepts."""
        self._ledger.take_pins(agent_id, pins)


def memory_vitals(db: Database, **more: Any) -> Vitals:
    """An appliance that is well."""
    values: dict[str, Any] = {
        "database": db.facts,
        "engine_works": lambda: True,
        "transfer_servers": lambda: {8021: True, 8022: True},
        "skews_s": dict[str, float],
        "started_s": 1_700_000_000.0,
    }
    return Vitals(**{**values, **more})


def facts_of(core: Core) -> ApplianceFacts:
    folder = str(core.state)
    return ApplianceFacts(
        *("0.1.0", "127.0.0.1", 8443, 8444, 8021, 8022),
        state_folder=folder,
        layer_folder=f"{folder}/layers",
        log_file=f"{folder}/log/appliance.log",
        database="sqlite",
    )


def system_services(
    core: Core, db: Database, agents: AgentService, connector_settings: ConnectorSettingsService
) -> Mapping[str, Any]:
    """Return what `Services` wants of them, by name."""
    folder = CertificateFolder(core.state / "pki")
    folder.open(NAMES)
    certificates = CertificateService(core, folder, MemoryServers(core), announce_s=1.0)
    vitals = memory_vitals(db)
    health = HealthService(core, vitals, certificates, connector_settings)
    settings = ApplianceSettingsService(core, facts=lambda: facts_of(core), names=lambda: NAMES)
    logs = LogService(
        core,
        core.state / "log",
        vitals=vitals,
        health=health,
        settings=settings,
        connector_settings=connector_settings,
        certificates=certificates,
        agents=agents,
    )
    return {
        "certificates": certificates,
        "appliance_settings": settings,
        "health": health,
        "metrics": MetricsService(core, vitals),
        "logs": logs,
    }
