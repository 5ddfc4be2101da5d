"""The support bundle: logs and the state of the appliance in one archive, without secrets (OP-4)."""

from __future__ import annotations

import io
import json
import os
import platform
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from sekiso import __version__
from sekiso.errors import SekisoError
from sekiso.model.library import Role
from sekiso.model.task import Subject, SubjectKind, TaskFilter, TaskRecord
from sekiso.services.agents import AgentService
from sekiso.services.appliance_settings import ApplianceSettingsService
from sekiso.services.certificates import CertificateService
from sekiso.services.connector_settings import ConnectorSettingsService
from sekiso.services.core import Actor, Core, require
from sekiso.services.health import HealthService
from sekiso.services.vitals import Vitals

_DAY_S = 86400.0
_MOST_TASKS = 5000
_MOST_LINES = 200
MAX_DAYS = 90


@dataclass(frozen=True)
class _Sources:
    """Where a bundle takes its content from."""

    vitals: Vitals
    health: HealthService
    settings: ApplianceSettingsService
    connector_settings: ConnectorSettingsService
    certificates: CertificateService
    agents: AgentService


class LogService:
    """Logs of the appliance."""

    def __init__(
        self,
        core: Core,
        folder: Path,
        *,
        vitals: Vitals,
        health: HealthService,
        settings: ApplianceSettingsService,
        connector_settings: ConnectorSettingsService,
        certificates: CertificateService,
        agents: AgentService,
    ) -> None:
        """Serve the logs of an appliance.

        Args:
            core: what every service works with.
            folder: where the log files lie.
            vitals: asks its running parts.
            health: how it is.
            settings: its settings.
            connector_settings: config.json of its connectors.
            certificates: its certificate.
            agents: its agents.
        """
        self._core, self._folder = core, folder
        self._from = _Sources(vitals, health, settings, connector_settings, certificates, agents)

    def bundle(self, actor: Actor, *, days: int = 7) -> Iterator[bytes]:
        """Return a support bundle (.tar.gz) piece by piece; what it is made of is looked at before the first.

        Args:
            actor: who asks.
            days: tasks of so many days are in it.

        Raises:
            NotAllowedError: the role does not allow it.
        """
        require(actor, Role.ADMINISTRATOR)
        documents = self._documents(days)
        with self._core.db.begin() as work:
            subject = Subject(SubjectKind.APPLIANCE, "log", "log")
            work.audit.append(
                actor=actor.name, action="log.download", subject=subject, details={"days": days}
            )
        return _archive(documents, self._log_files())

    def _documents(self, days: int) -> dict[str, bytes]:
        source = self._from
        content: dict[str, Any] = {
            "about.json": {
                "version": __version__,
                "python": platform.python_version(),
                "system": platform.platform(),
                "time_s": self._core.clock(),
                "started_s": source.vitals.started_s,
            },
            "health.json": source.health.look(),
            "database.json": _or_error(source.vitals.database),
            "settings.json": _or_error(source.settings.get),
            "connector-settings.json": _or_error(lambda: source.connector_settings.get("hyperv")),
            "certificate.json": _or_error(source.certificates.show),
            "agents.json": _or_error(source.agents.list),
            "tasks.json": _or_error(lambda: self._tasks(days)),
        }
        return {name: _json(value) for name, value in content.items()}

    def _tasks(self, days: int) -> list[dict[str, Any]]:
        since_s = self._core.clock() - days * _DAY_S
        with self._core.db.read() as work:
            found = [t for t in work.tasks.list(TaskFilter(limit=_MOST_TASKS)) if t.created_s >= since_s]
            return [
                {
                    **_shown(task),
                    "log": work.tasks.log_lines(task.id, limit=_MOST_LINES) if task.error else (),
                }
                for task in found
            ]

    def _log_files(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.log*") if path.is_file())


def _shown(task: TaskRecord) -> Mapping[str, Any]:
    # What was asked for names files of users; nobody needs it to understand what has failed.
    return msgspec.to_builtins(replace(task, params={}))


def _or_error(look: Any) -> Any:
    """Return what is found, or why it is not: a bundle is wanted most when something does not work."""
    try:
        return look()
    except (SekisoError, OSError) as error:
        return {"error": str(error)}


def _json(value: Any) -> bytes:
    plain = msgspec.to_builtins(value, enc_hook=str)
    return json.dumps(plain, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace") + b"\n"


class _Pieces(io.RawIOBase):
    """Collects what an archive writes until it is taken."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._held += data
        return len(data)

    def take(self) -> bytes:
        found, self._held = bytes(self._held), bytearray()
        return found


def _archive(documents: Mapping[str, bytes], logs: list[Path]) -> Iterator[bytes]:
    pieces = _Pieces()
    with tarfile.open(fileobj=pieces, mode="w|gz") as archive:
        for name, content in documents.items():
            archive.addfile(_member(name, len(content), time.time()), io.BytesIO(content))
            yield pieces.take()
        for path in logs:
            _add_log(archive, path)
            yield pieces.take()
    yield pieces.take()


def _add_log(archive: tarfile.TarFile, path: Path) -> None:
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return  # it was rotated away just now
    with stream:
        # It may grow meanwhile; the archive takes as much as there was.
        status = os.fstat(stream.fileno())
        archive.addfile(_member(f"log/{path.name}", status.st_size, status.st_mtime), stream)


def _member(name: str, size_bytes: int, time_s: float) -> tarfile.TarInfo:
    member = tarfile.TarInfo(f"sekiso-support/{name}")
    member.size, member.mtime, member.mode = size_bytes, int(time_s), 0o600
    return member
