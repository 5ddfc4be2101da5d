"""Puts an appliance together: database, authority, link, transfers, tasks, services, web."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from contextlib import ExitStack
from pathlib import Path

from sekiso import __version__
from sekiso.agent.certificate_folder import CertificateFolder
from sekiso.agent.files import load_or_create
from sekiso.agent.granting import TransferAccess
from sekiso.agent.link.hub import Hub
from sekiso.agent.pki import ServerCertificate, load_authority
from sekiso.agent.registration import Registrar
from sekiso.appliance import log_file
from sekiso.appliance.running import RunningServers
from sekiso.appliance.settings import ApplianceSettings, default_names
from sekiso.appliance.transfer_servers import TransferServer, TransferServerSettings
from sekiso.console.app import Site, create_console
from sekiso.errors import Family, SekisoError
from sekiso.services.agents import AgentService
from sekiso.services.appliance_settings import ApplianceFacts, ApplianceSettingsService
from sekiso.services.audit import AuditService
from sekiso.services.cache import CacheService
from sekiso.services.certificates import CertificateService
from sekiso.services.configurations import ConfigurationService
from sekiso.services.connector_settings import ConnectorSettingsService
from sekiso.services.core import Core
from sekiso.services.health import HealthService
from sekiso.services.housekeeping import Housekeeping
from sekiso.services.images import ImageService
from sekiso.services.logs import LogService
from sekiso.services.metrics import MetricsService
from sekiso.services.packaging import LayerService
from sekiso.services.packaging_watch import PackagingWatch
from sekiso.services.probes import Probes
from sekiso.services.tasks import TaskService
from sekiso.services.templates import TemplateService
from sekiso.services.users import UserService
from sekiso.services.vitals import Vitals
from sekiso.store.database.database import open_database
from sekiso.store.layers import LayerStore
from sekiso.tasks.dbos_engine import DbosEngine
from sekiso.tasks.flows.deps import Deps
from sekiso.tasks.flows.registry import all_flows
from sekiso.transfer.server import open_grants
from sekiso.web.app import create_app
from sekiso.web.server import WebServer
from sekiso.web.services import Services
from sekiso.web.settings import WebSettings

log = logging.getLogger(__name__)


class StateInUseError(SekisoError):
    """Another appliance works with the state folder. Params: path."""

    code = "appliance.state-in-use"
    family = Family.CONFLICT
    brief = "Another appliance runs with the state folder {path}."
    why = "Two would overwrite each other's work."
    resolution = "End it first, or use another state folder."


def certificate_path(state: Path) -> Path:
    """Return where the certificate of the appliance of a state folder is."""
    return state / "pki" / "server.pem"


class Appliance:
    """One appliance. `start` returns when everything listens; `stop` ends it."""

    def __init__(self, settings: ApplianceSettings, *, first_password: str | None = None) -> None:
        """Put the parts together; nothing listens yet.

        Args:
            settings: how it runs.
            first_password: password of the first administrator; one is made up when left out.

        Raises:
            StateInUseError: another appliance works with the state folder.
            SekisoError: the database or config.json cannot be used.
        """
        self._settings = settings
        settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(settings.state)
        # Asked for once: it may have to be looked up in the network.
        self._own_names = (*settings.names, *default_names(settings.host))
        self._open = ExitStack()
        self._open.enter_context(log_file.log_file(settings.log_folder))
        self._db = open_database(settings.database)
        authority = load_authority(settings.state / "pki")
        self._certificate_folder = CertificateFolder(settings.state / "pki")
        self._certificate = self._certificate_folder.open(settings.names)
        self._servers = RunningServers(lambda: self._hub, lambda: self._web, lambda: self._transfers)
        self._hub = Hub(
            self._db,
            authority,
            self._certificate_folder.link,
            host=settings.host,
            port=settings.link_port,
            pins=self._pins,
            settled=self._settled,
            pins_kept=lambda _: self._certificates.settle(),
        )
        self._engine = DbosEngine(
            self._db,
            system_database_url=settings.task_database,
            worker=settings.worker,
            lane_tasks=settings.lane_tasks,
            retention_s=lambda: self._services.appliance_settings.values().task_retention_days * 86400.0,
        )
        self._core = Core(self._db, self._hub, self._engine, settings.state)
        self._store = LayerStore(settings.state / "layers")
        self._access = TransferAccess(
            open_grants(settings.state / "transfer", master=_key(settings.state)),
            settings.transfer_http_port,
            settings.transfer_https_port,
        )
        self._connector_settings = ConnectorSettingsService(self._core)
        self._registrar = Registrar(
            self._db,
            authority,
            link_port=lambda: self._hub.port,
            disconnect=self._hub.disconnect,
            pins=self._pins,
        )
        self._services = self._make_services()
        self._watch = PackagingWatch(self._services.layers)
        self._housekeeping = Housekeeping(self._core, self._access.grants, also=[self._certificates.settle])
        self._transfers = _transfer_servers(settings, self._certificate)
        web_settings = WebSettings(is_own_host=self._services.appliance_settings.is_own_host)
        self._web = WebServer(
            Site(
                create_app(self._services, settings=web_settings),
                create_console(self._services, settings=web_settings),
            ),
            host=settings.host,
            port=settings.api_port,
            certificate=self._certificate.certificate,
            key=self._certificate.key,
        )
        self.new_password = self._services.users.first_start(first_password)

    @property
    def url(self) -> str:
        """Address of console and REST API."""
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"https://{host}:{self._web.port}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the appliance's certificate."""
        return self._certificate.sha256

    def start(self) -> None:
        """Start everything.

        Raises:
            SekisoError: a port cannot be listened at.
        """
        for server in self._transfers:
            server.start()
        self._hub.start()
        self._engine.launch(all_flows(self._deps()))
        self._watch.start()
        self._housekeeping.start()
        # Last: whoever reaches the API finds everything there.
        self._web.start()
        log.info("the appliance listens at %s", self.url)

    def stop(self) -> None:
        """End everything; what is under way goes on after the next start."""
        self._web.stop()
        self._watch.stop()
        self._housekeeping.stop()
        self._engine.close()
        self._hub.stop()
        for server in self._transfers:
            server.stop()
        self._db.close()
        self._open.close()
        os.close(self._lock)

    def _deps(self) -> Deps:
        return Deps(
            db=self._db,
            agents=self._hub,
            layers=self._store,
            access=self._access,
            policy=self._connector_settings.policy,
            settle=self._engine.settle,
            state=self._settings.state,
        )

    def _make_services(self) -> Services:
        core = self._core
        agents = AgentService(core, fingerprint=lambda: self._certificate.sha256, disconnect=self._let_go)
        certificates = CertificateService(core, self._certificate_folder, self._servers)
        appliance_settings = ApplianceSettingsService(core, facts=self._facts, names=self._names)
        vitals = Vitals(
            database=self._db.facts,
            engine_works=lambda: self._engine.works,
            transfer_servers=self._servers.transfer_servers,
            skews_s=self._hub.skews_s,
            started_s=time.time(),
        )
        health = HealthService(core, vitals, certificates, self._connector_settings)
        probes = Probes(core, agents, lambda: self._access)
        return Services(
            agents=agents,
            configurations=ConfigurationService(core, agents, self._connector_settings, probes),
            connector_settings=self._connector_settings,
            layers=LayerService(core, self._store),
            templates=TemplateService(core, self._store),
            images=ImageService(core),
            tasks=TaskService(core),
            cache=CacheService(core),
            users=UserService(core),
            audit=AuditService(core),
            certificates=certificates,
            appliance_settings=appliance_settings,
            health=health,
            metrics=MetricsService(core, vitals),
            logs=LogService(
                core,
                self._settings.log_folder,
                vitals=vitals,
                health=health,
                settings=appliance_settings,
                connector_settings=self._connector_settings,
                certificates=certificates,
                agents=agents,
            ),
            register=self._registrar.accept,
            uploads=self._settings.state / "uploads",
        )

    @property
    def _certificates(self) -> CertificateService:
        return self._services.certificates

    def _pins(self) -> tuple[str, ...]:
        return self._certificates.pins()

    def _settled(self) -> bool:
        return self._certificates.settled()

    def _let_go(self, agent_id: str) -> None:
        """End the connection of an agent that was revoked or removed: it is not waited for any more."""
        self._hub.disconnect(agent_id)
        self._certificates.settle()

    def _names(self) -> tuple[str, ...]:
        """Return the names that the appliance is known to have."""
        return (*self._certificate.names, *self._own_names)

    def _facts(self) -> ApplianceFacts:
        settings = self._settings
        return ApplianceFacts(
            version=__version__,
            listens_at=settings.host,
            api_port=self._web.port,
            link_port=self._hub.port,
            transfer_http_port=settings.transfer_http_port,
            transfer_https_port=settings.transfer_https_port,
            state_folder=str(settings.state),
            layer_folder=str(self._store.folder),
            log_file=str(settings.log_folder / log_file.NAME),
            database=settings.database.partition(":")[0].partition("+")[0],
        )


def _transfer_servers(
    settings: ApplianceSettings, certificate: ServerCertificate
) -> tuple[TransferServer, TransferServer]:
    state = settings.state / "transfer"
    plain = TransferServerSettings(state, state / "sessions-http", settings.host, settings.transfer_http_port)
    secure = TransferServerSettings(
        state,
        state / "sessions-https",
        settings.host,
        settings.transfer_https_port,
        certificate.certificate,
        certificate.key,
    )
    return TransferServer(plain), TransferServer(secure)


def _key(state: Path) -> bytes:
    return load_or_create(state / "keys" / "grants.key")


def _lock(state: Path) -> int:
    fd = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise StateInUseError(path=state) from None
    return fd
