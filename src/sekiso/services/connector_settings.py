"""The connectors' config.json: what the file says, what is in force, taking it up by a restart (CC-8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sekiso.connectors.decoding import decode, values_of
from sekiso.connectors.errors import ConfigKeyError
from sekiso.connectors.hyperv.config_file import (
    CONFIG,
    HyperVConfig,
    load_config,
    load_or_create_config,
    save_config,
)
from sekiso.connectors.registry import connector as connector_type
from sekiso.errors import SekisoError
from sekiso.model.connector import TransferPolicy
from sekiso.model.library import Role
from sekiso.model.task import Subject, SubjectKind
from sekiso.services.core import Actor, Core, require
from sekiso.store.database.api import UnitOfWork

_IN_FORCE = "connector.hyperv"


@dataclass(frozen=True, slots=True)
class ConnectorSettingsView:
    """Settings of a connector.

    Attributes:
        connector: code of the connector type.
        path: its config.json.
        file: what the file says; None if it cannot be used.
        problem: why it cannot; empty if it can.
        in_force: what is in force.
        pending_restart: whether the file says something else.
        warnings: what to be warned of, each in a sentence.
    """

    connector: str
    path: str
    file: dict[str, Any] | None
    problem: str
    in_force: dict[str, Any]
    pending_restart: bool
    warnings: tuple[str, ...]


class ConnectorSettingsService:
    """Settings of the connectors."""

    def __init__(self, core: Core) -> None:
        """Serve the settings; config.json is read as at a restart of the connector, and made if absent.

        Raises:
            ConfigFileError, ConfigKeyError: it cannot be used.
        """
        self._core = core
        self._path("hyperv").parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        config = load_or_create_config(self._path("hyperv"))
        with core.db.begin() as work:
            _put(work, config)

    def get(self, connector: str) -> ConnectorSettingsView:
        """Return the settings of a connector.

        Raises:
            NotFoundError: there is no such connector type.
        """
        connector_type(connector)
        in_force = self._in_force()
        found, problem = None, ""
        try:
            found = load_config(self._path(connector))
        except SekisoError as error:
            problem = error.render()
        return ConnectorSettingsView(
            connector=connector,
            path=str(self._path(connector)),
            file=dict(values_of(CONFIG, found)) if found is not None else None,
            problem=problem,
            in_force=dict(values_of(CONFIG, in_force)),
            pending_restart=found != in_force,
            warnings=in_force.warnings,
        )

    def set(self, actor: Actor, connector: str, values: Mapping[str, Any]) -> ConnectorSettingsView:
        """Write config.json; what is left out keeps its value. It is taken up by `restart`.

        A file that cannot be used is replaced; what is left out then has the value that is in force.

        Raises:
            NotFoundError: there is no such connector type.
            ConfigKeyError: an unknown key or a value of the wrong type; the file is unchanged.
            ConfigFileError: the file cannot be written.
        """
        require(actor, Role.ADMINISTRATOR)
        connector_type(connector)
        path = self._path(connector)
        found = decode(CONFIG, {**values_of(CONFIG, self._usable(connector)), **values})
        if not isinstance(found, HyperVConfig):
            first = found[0]
            raise ConfigKeyError(path=path, key=first.field, reason=first.reason, remedy=first.remedy)
        with self._core.db.begin() as work:
            _audit(work, actor, "connector.set", connector, found)
            # Last, so that nothing is written down that did not happen.
            save_config(path, found)
        return self.get(connector)

    def restart(self, actor: Actor, connector: str) -> ConnectorSettingsView:
        """Take config.json up.

        Raises:
            NotFoundError: there is no such connector type.
            ConfigFileError, ConfigKeyError: the file cannot be used; what was in force stays.
        """
        require(actor, Role.ADMINISTRATOR)
        connector_type(connector)
        config = load_or_create_config(self._path(connector))
        with self._core.db.begin() as work:
            _put(work, config)
            _audit(work, actor, "connector.restart", connector, config)
        return self.get(connector)

    def policy(self, connector: str = "hyperv") -> TransferPolicy:
        """Return how files travel now."""
        connector_type(connector)
        return self._in_force().transfer_policy

    def warnings(self, work: UnitOfWork, connector: str = "hyperv") -> tuple[str, ...]:
        """Return what to be warned of while the settings in force are, within a transaction."""
        connector_type(connector)
        return _in_force(work).warnings

    def _path(self, connector: str) -> Path:
        return self._core.state / "connectors" / connector / "config.json"

    def _usable(self, connector: str) -> HyperVConfig:
        try:
            return load_or_create_config(self._path(connector))
        except SekisoError:
            return self._in_force()

    def _in_force(self) -> HyperVConfig:
        with self._core.db.read() as work:
            return _in_force(work)


# What is in force is kept in the database: every worker of the appliance goes by the same settings.


def _in_force(work: UnitOfWork) -> HyperVConfig:
    found = decode(CONFIG, work.settings.get(_IN_FORCE) or {})
    return found if isinstance(found, HyperVConfig) else HyperVConfig()


def _put(work: UnitOfWork, config: HyperVConfig) -> None:
    work.settings.put(_IN_FORCE, dict(values_of(CONFIG, config)))


def _audit(work: UnitOfWork, actor: Actor, action: str, connector: str, config: HyperVConfig) -> None:
    subject = Subject(SubjectKind.CONNECTOR, connector, connector)
    details: dict[str, Any] = dict(values_of(CONFIG, config))
    work.audit.append(actor=actor.name, action=action, subject=subject, details=details)
