"""How the appliance is: one row for each thing that can go wrong, with what to do about it (OP-4)."""

from __future__ import annotations

import enum
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sekiso import __version__
from sekiso.errors import SekisoError
from sekiso.i18n import mark
from sekiso.model.library import AgentRecord
from sekiso.model.task import TaskFilter, TaskState
from sekiso.services.certificates import CertificateService
from sekiso.services.connector_settings import ConnectorSettingsService
from sekiso.services.core import Core
from sekiso.services.vitals import Vitals

_GIB = 1 << 30
#: Less free space than that is a problem; a warning.
_LITTLE_BYTES, _SCARCE_BYTES = _GIB, 10 * _GIB
_DAY_S = 86400.0
_SOON_DAYS = 30
#: Certificates of agents are renewed when a third of their 90 days is left.
_AGENT_SOON_DAYS = 14
_SKEW_S = 120.0
_MOST_NAMES = 10


class HealthState(enum.StrEnum):
    """How something is; the later, the worse."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


_RANK = {state: rank for rank, state in enumerate(HealthState)}


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One thing that was looked at.

    Attributes:
        code: stable name.
        title: what it is called.
        state: how it is.
        text: what was found, in sentences.
        what_to_do: what a person can do; empty if nothing.
    """

    code: str
    title: str
    state: HealthState
    text: str
    what_to_do: str = ""


@dataclass(frozen=True, slots=True)
class HealthView:
    """How the appliance is.

    Attributes:
        state: how the worst of the checks is.
        version: version of Sekiso.
        time_s: when it was looked at, Unix seconds.
        started_s: when the appliance was started, Unix seconds.
        checks: everything that was looked at.
    """

    state: HealthState
    version: str
    time_s: float
    started_s: float
    checks: tuple[HealthCheck, ...]


#: What a check has found: state, text, what to do.
Found = tuple[HealthState, str, str]
_OK, _WARNING, _PROBLEM = HealthState.OK, HealthState.WARNING, HealthState.PROBLEM


class HealthService:
    """Looks at everything."""

    def __init__(
        self,
        core: Core,
        vitals: Vitals,
        certificates: CertificateService,
        connector_settings: ConnectorSettingsService,
    ) -> None:
        """Look after an appliance.

        Args:
            core: what every service works with.
            vitals: asks its running parts.
            certificates: its certificate.
            connector_settings: config.json of its connectors.
        """
        self._core, self._vitals = core, vitals
        self._certificates, self._connector_settings = certificates, connector_settings
        self._checks: Sequence[tuple[str, str, Callable[[], Found]]] = (
            ("database", mark("Database"), self._database),
            ("state-space", mark("Free space of the state folder"), self._state_space),
            ("layer-space", mark("Free space of the layer store"), self._layer_space),
            ("task-engine", mark("Task engine"), self._engine),
            ("transfer-servers", mark("Transfer servers"), self._transfers),
            ("certificate", mark("Certificate of the appliance"), self._certificate),
            ("certificate-agents", mark("Agents know the certificate"), self._certificate_agents),
            ("agents", mark("Connected agents"), self._agents),
            ("agent-certificates", mark("Certificates of the agents"), self._agent_certificates),
            ("agent-clocks", mark("Clocks of the agents"), self._clocks),
            ("tasks", mark("Tasks of the last day"), self._tasks),
            ("connector-settings", mark("Connector settings (config.json)"), self._config),
        )

    def look(self) -> HealthView:
        """Look at everything now; what cannot be looked at is a problem of its own."""
        checks = tuple(self._run(*check) for check in self._checks)
        worst = max((check.state for check in checks), key=_RANK.__getitem__)
        return HealthView(worst, __version__, self._core.clock(), self._vitals.started_s, checks)

    def _run(self, code: str, title: str, check: Callable[[], Found]) -> HealthCheck:
        try:
            return HealthCheck(code, title, *check())
        except (SekisoError, OSError) as error:
            said = error.render().replace("\n", " ") if isinstance(error, SekisoError) else f"{error}"
            text = said if said.endswith(".") else f"{said}."
            return HealthCheck(code, title, _PROBLEM, text, "Look at the log of the appliance.")

    # --- the appliance itself ---------------------------------------------------------------------------

    def _database(self) -> Found:
        facts = self._vitals.database()
        size_mib = facts.size_bytes >> 20
        name = "PostgreSQL" if facts.kind == "postgresql" else "SQLite"
        return _OK, f"{name} answers; the database has {size_mib} MiB.", ""

    def _state_space(self) -> Found:
        return _space(self._core.state)

    def _layer_space(self) -> Found:
        folder = self._core.state / "layers"
        return _space(folder if folder.is_dir() else self._core.state)

    def _engine(self) -> Found:
        if self._vitals.engine_works():
            return _OK, "It carries out tasks.", ""
        return _PROBLEM, "It does not carry out tasks.", "Restart the appliance, and look at its log."

    def _transfers(self) -> Found:
        dead = [str(port) for port, lives in self._vitals.transfer_servers().items() if not lives]
        if not dead:
            return _OK, "All transfer servers can be reached.", ""
        ports = ", ".join(dead)
        return (
            _PROBLEM,
            f"Nothing can be transferred by port {ports}: its transfer server does not run.",
            "It is started again by itself. If that comes to nothing, look at the log of the appliance.",
        )

    def _certificate(self) -> Found:
        view = self._certificates.show()
        end_s = min(link.valid_until_s for link in view.chain)
        days = int((end_s - self._core.clock()) // _DAY_S)
        remedy = mark("Generate a new certificate, or upload one: sekiso certificate generate")
        if days < 0:
            return _PROBLEM, "It has expired.", remedy
        if days < _SOON_DAYS:
            return _WARNING, f"It expires in {days} days.", remedy
        return _OK, f"It is valid for {days} days.", ""

    def _certificate_agents(self) -> Found:
        waiting = [agent.name for agent in self._certificates.show().waiting_agents]
        if not waiting:
            return _OK, "Every agent knows the certificate that is in force.", ""
        names = _listed(waiting)
        return (
            _WARNING,
            f"These agents know only the former certificate, which the link still shows: {names}.",
            "Start their services; revoke agents that do not come back.",
        )

    # --- agents -----------------------------------------------------------------------------------------

    def _registered(self) -> Sequence[AgentRecord]:
        with self._core.db.read() as work:
            return [agent for agent in work.agents.all() if not agent.revoked]

    def _agents(self) -> Found:
        registered, online = self._registered(), set(self._core.agents.online())
        if not registered:
            return _WARNING, "No agent is registered yet.", mark("Register one: sekiso agent token")
        away = [agent.name for agent in registered if agent.id not in online]
        if away:
            names = _listed(away)
            return (
                _WARNING,
                f"These agents are not connected: {names}.",
                "Start their services and check the network in between.",
            )
        return _OK, "All agents are connected.", ""

    def _agent_certificates(self) -> Found:
        now_s = self._core.clock()
        ends = [(a.name, a.certificate_expires_s) for a in self._registered() if a.certificate_expires_s]
        expired = [name for name, end_s in ends if end_s <= now_s]
        soon = [name for name, end_s in ends if now_s < end_s < now_s + _AGENT_SOON_DAYS * _DAY_S]
        if expired:
            names = _listed(expired)
            return (
                _PROBLEM,
                f"The certificates of these agents have expired: {names}.",
                mark("Register them again: sekiso agent token"),
            )
        if soon:
            names = _listed(soon)
            return (
                _WARNING,
                f"The certificates of these agents expire soon: {names}.",
                "They are renewed when the agents connect. Start their services.",
            )
        return _OK, "They are valid, and are renewed in time while the agents connect.", ""

    def _clocks(self) -> Found:
        skews_s = self._vitals.skews_s()
        names = {agent.id: agent.name for agent in self._registered()}
        wrong = [names[a] for a, s in sorted(skews_s.items()) if abs(s) > _SKEW_S and a in names]
        if not wrong:
            return _OK, "The clocks of connected agents agree with that of the appliance.", ""
        listed = _listed(wrong)
        return (
            _WARNING,
            f"The clocks of these agents are more than two minutes off that of the appliance: {listed}.",
            "Have all hosts take their time from the same source (NTP).",
        )

    # --- what goes on -----------------------------------------------------------------------------------

    def _tasks(self) -> Found:
        failed = list(self._failed())
        if not failed:
            return _OK, "No task has failed.", ""
        count = len(failed)
        text = "One task has failed." if count == 1 else f"{count} tasks have failed."
        return _WARNING, text, mark("Look at the errors: sekiso task list --state failed")

    def _failed(self) -> Iterator[str]:
        since_s = self._core.clock() - _DAY_S
        with self._core.db.read() as work:
            found = work.tasks.list(TaskFilter(states=frozenset({TaskState.FAILED}), limit=1000))
        for task in found:
            if task.ended_s is not None and task.ended_s >= since_s:
                yield task.id

    def _config(self) -> Found:
        view = self._connector_settings.get("hyperv")
        if view.problem:
            text = view.problem.splitlines()[0]
            return _WARNING, text, mark("Write the file anew: sekiso connector set hyperv")
        if view.pending_restart:
            return (
                _WARNING,
                "The file says something else than what is in force.",
                mark("Restart the connector: sekiso connector restart hyperv"),
            )
        return _OK, "The file is in force.", ""


def _space(folder: Path) -> Found:
    usage = shutil.disk_usage(folder)
    free_gib = f"{usage.free / _GIB:.1f}"
    text = f"{free_gib} GiB are free at {folder}."
    if usage.free >= _SCARCE_BYTES:
        return _OK, text, ""
    state = _PROBLEM if usage.free < _LITTLE_BYTES else _WARNING
    return state, text, "Free some space: delete layer versions that are not needed, or enlarge the volume."


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(sorted(names)[:_MOST_NAMES])
    return f"{shown}, …" if len(names) > _MOST_NAMES else shown
