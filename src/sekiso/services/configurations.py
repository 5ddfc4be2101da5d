"""Connector configurations: forms, saving by the rules of the test, testing, documents (CC-1 … CC-11)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sekiso import __version__
from sekiso.connectors.base import Surroundings
from sekiso.connectors.check_run import run_checks
from sekiso.connectors.checks import CheckResult
from sekiso.connectors.decoding import shown_values, values_of
from sekiso.connectors.errors import ConfigurationInvalidError, DocumentsInvalidError
from sekiso.connectors.form import describe_form
from sekiso.connectors.hyperv.documents import export_document, import_documents
from sekiso.connectors.hyperv.settings import HYPERV
from sekiso.connectors.registry import connector as connector_type
from sekiso.connectors.registry import connectors
from sekiso.connectors.schema import json_schema
from sekiso.errors import InUseError, SekisoError
from sekiso.model.connector import KnownAgent, find_agents
from sekiso.model.library import ConfigurationRecord, Role
from sekiso.model.machine import Violation
from sekiso.model.names import comparable_name
from sekiso.model.task import Subject, SubjectKind
from sekiso.services.agents import AgentService
from sekiso.services.configuration_rules import (
    agent_reference,
    checked,
    decoded,
    every_violation,
    firmware,
    others_of,
    stood_in,
    surroundings,
    violations,
)
from sekiso.services.configuration_views import Applied, ConfigurationView, ConnectorTypeView, FormView
from sekiso.services.connector_settings import ConnectorSettingsService
from sekiso.services.core import Actor, Core, new_id, require
from sekiso.services.probes import Probes
from sekiso.store.database.api import UnitOfWork


class ConfigurationService:
    """Connector configurations."""

    def __init__(
        self, core: Core, agents: AgentService, settings: ConnectorSettingsService, probes: Probes
    ) -> None:
        """Serve the connector configurations of an appliance.

        Args:
            core: what every service works with.
            agents: the agents.
            settings: config.json of the connectors.
            probes: what only a live agent can tell.
        """
        self._core, self._agents, self._settings, self._probes = core, agents, settings, probes

    def types(self, language: str = "en") -> tuple[ConnectorTypeView, ...]:
        """Return the connector types there are."""
        return tuple(
            ConnectorTypeView(
                d.code, d.label, d.help, tuple(sorted(a.value for a in d.abilities)), json_schema(d, language)
            )
            for d in (c.declaration for c in connectors())
        )

    def form(
        self,
        connector: str,
        values: Mapping[str, Any],
        *,
        reference: str | None = None,
        language: str = "en",
    ) -> FormView:
        """Return the form with these values: what is offered, what is wrong, what will result (CC-2, CC-3).

        Args:
            connector: code of the connector type.
            values: plain values, perhaps incomplete or wrong.
            reference: the configuration that is being changed; None = a new one.
            language: language of the texts.

        Raises:
            NotFoundError: there is no such connector type or configuration.
        """
        kind = connector_type(connector)
        filled: dict[str, Any] = {**kind.declaration.defaults(), **values}
        with self._core.db.read() as work:
            known = surroundings(others_of(work), self._online(), filled, _own_id(work, reference))
        sections = describe_form(
            kind.declaration,
            filled,
            offers=kind.offers(filled, known),
            violations=every_violation(kind, filled, known),
            language=language,
        )
        # The firmware does not depend on what has to be typed in.
        typed = {f.name for f in kind.declaration.fields if f.required and f.default is None}
        return FormView(
            values=filled,
            sections=sections,
            firmware=firmware(decoded(kind, stood_in(kind, filled, typed)), known.inventory),
            settled=kind.settled(filled, known.inventory),
        )

    def list(self) -> tuple[ConfigurationView, ...]:
        """Return every configuration by name."""
        with self._core.db.read() as work:
            records = work.configurations.all()
            return self._views(work, records)

    def count(self) -> int:
        """Return how many configurations there are."""
        with self._core.db.read() as work:
            return len(work.configurations.all())

    def get(self, reference: str) -> ConfigurationView:
        """Return a configuration by identifier or name.

        Raises:
            NotFoundError: there is none.
        """
        with self._core.db.read() as work:
            return self._view(work, work.configurations.by_reference(reference))

    def create(self, actor: Actor, connector: str, values: Mapping[str, Any]) -> ConfigurationView:
        """Save a new configuration.

        Raises:
            NotFoundError: there is no such connector type.
            ConfigurationInvalidError: it breaks rules, all of which are named; nothing was saved.
        """
        require(actor, Role.ADMINISTRATOR)
        connector_type(connector)
        self._refresh([values])
        now_s = self._core.clock()
        with self._core.db.begin() as work:
            empty = ConfigurationRecord(new_id(), connector, "", {}, now_s, now_s)
            record = _accepted(checked(work, self._online(), values, empty))
            work.configurations.add(record)
            _audit(work, actor, "configuration.create", record)
            return self._view(work, record)

    def update(self, actor: Actor, reference: str, values: Mapping[str, Any]) -> ConfigurationView:
        """Save a changed configuration; settings that are left out keep their values.

        Raises:
            NotFoundError: there is no such configuration.
            ConfigurationInvalidError: it breaks rules, all of which are named; nothing was saved.
        """
        require(actor, Role.ADMINISTRATOR)
        with self._core.db.read() as work:
            before = work.configurations.by_reference(reference)
        self._refresh([{**before.settings, **values}])
        with self._core.db.begin() as work:
            before = work.configurations.get(before.id)
            start = replace(before, changed_s=self._core.clock())
            record = _accepted(checked(work, self._online(), {**before.settings, **values}, start))
            work.configurations.replace(record)
            changed = sorted(k for k, v in record.settings.items() if before.settings.get(k) != v)
            _audit(work, actor, "configuration.change", record, {"changed": changed})
            return self._view(work, record)

    def clone(self, actor: Actor, reference: str, name: str) -> ConfigurationView:
        """Save a copy of a configuration under another name.

        Raises:
            NotFoundError: there is no such configuration.
            ConfigurationInvalidError: it breaks rules now, or the name is taken; nothing was saved.
        """
        require(actor, Role.ADMINISTRATOR)
        with self._core.db.read() as work:
            source = work.configurations.by_reference(reference)
        return self.create(actor, source.connector, {**source.settings, "name": name})

    def remove(self, actor: Actor, reference: str) -> None:
        """Delete a configuration.

        Raises:
            NotFoundError: there is no such configuration.
            InUseError: something uses it; names what.
        """
        require(actor, Role.ADMINISTRATOR)
        with self._core.db.begin() as work:
            record = work.configurations.by_reference(reference)
            users = work.configurations.users_of(record.id)
            if users:
                names = ", ".join(user.name or user.id for user in users)
                raise InUseError(what="The connector configuration", name=record.name, users=names)
            work.configurations.remove(record.id)
            _audit(work, actor, "configuration.delete", record)

    def test(
        self, actor: Actor, connector: str, values: Mapping[str, Any], *, reference: str | None = None
    ) -> Iterator[CheckResult]:
        """Carry out every check of a configuration, saved or not, yielding each row when it is known (CC-7).

        Args:
            actor: who asks.
            connector: code of the connector type.
            values: the settings as plain values.
            reference: the configuration that is being changed; None = a new one.

        Raises:
            NotFoundError: there is no such connector type or configuration.
            ConfigurationInvalidError: the values have the wrong form or types, so that nothing can be tested.
        """
        require(actor, Role.ADMINISTRATOR)
        kind = connector_type(connector)
        found = decoded(kind, values)
        if isinstance(found, tuple):
            raise ConfigurationInvalidError.of(found)
        with self._core.db.read() as work:
            known = surroundings(others_of(work), self._online(), values, _own_id(work, reference))
        policy = self._settings.policy(connector)
        return run_checks(
            kind, found, known, appliance_version=__version__, live=self._probes.for_test(), policy=policy
        )

    def test_saved(self, actor: Actor, reference: str) -> Iterator[CheckResult]:
        """Test a saved configuration; see `test`."""
        require(actor, Role.ADMINISTRATOR)
        with self._core.db.read() as work:
            record = work.configurations.by_reference(reference)
        return self.test(actor, record.connector, record.settings, reference=record.id)

    def export(self, references: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return configurations as documents (CC-11); all if none is named.

        Raises:
            NotFoundError: there is no such configuration.
            ConfigurationInvalidError: one was saved by another version and cannot be read.
        """
        with self._core.db.read() as work:
            records = [work.configurations.by_reference(r) for r in references]
            records = records or list(work.configurations.all())
            names = {agent.id: agent.name for agent in work.agents.all()}
        return [_document(record, names) for record in records]

    def apply(
        self, actor: Actor, documents: Sequence[object], *, source: str, dry_run: bool = False
    ) -> tuple[Applied, ...]:
        """Save the configurations of documents, by name: new ones are made, others changed (CC-11).

        Either all are saved or none.

        Args:
            actor: who asks.
            documents: what the YAML or JSON library read.
            source: what errors call the file.
            dry_run: say what would happen, and save nothing.

        Raises:
            DocumentError: the form of a document is wrong; names the place.
            DocumentsInvalidError: rules are broken, all of which are named with their places.
        """
        require(actor, Role.ADMINISTRATOR)
        wanted = [values_of(HYPERV, settings) for settings in import_documents(documents, source=source)]
        self._refresh(wanted)
        broken: list[Violation] = []
        applied: list[Applied] = []
        with self._core.db.begin() as work:
            for index, values in enumerate(wanted):
                done = self._apply_one(work, actor, values, dry_run=dry_run)
                if isinstance(done, Applied):
                    applied.append(done)
                else:
                    broken += (replace(v, field=f"[{index}].settings.{v.field}") for v in done)
            if broken:
                raise DocumentsInvalidError.found_in(source, broken)
        return tuple(applied)

    def _apply_one(
        self, work: UnitOfWork, actor: Actor, values: Mapping[str, Any], *, dry_run: bool
    ) -> Applied | tuple[Violation, ...]:
        now_s, name = self._core.clock(), comparable_name(str(values["name"]))
        before = next((c for c in work.configurations.all() if comparable_name(c.name) == name), None)
        start = before or ConfigurationRecord(new_id(), HYPERV.code, "", {}, now_s, now_s)
        record = checked(work, self._online(), values, replace(start, changed_s=now_s))
        if isinstance(record, tuple):
            return record
        if before is not None and before.settings == record.settings:
            return Applied(record.name, "unchanged")
        if not dry_run:
            (work.configurations.replace if before is not None else work.configurations.add)(record)
            _audit(work, actor, "configuration.apply", record)
        return Applied(record.name, "changed" if before is not None else "created")

    def _online(self) -> frozenset[str]:
        return frozenset(self._core.agents.online())

    def _refresh(self, wanted: Iterable[Mapping[str, Any]]) -> None:
        """Have what is judged be what is there now, as far as the agents are connected."""
        with self._core.db.read() as work:
            known = [KnownAgent(a.id, a.name, online=True) for a in work.agents.all()]
        chosen = {agent.id for values in wanted for agent in find_agents(known, agent_reference(values))[:1]}
        for agent_id in chosen & self._online():
            try:
                self._agents.ask_inventory(agent_id)
            except SekisoError:
                # What it last reported counts; the test says that it does not answer.
                continue

    def _view(self, work: UnitOfWork, record: ConfigurationRecord) -> ConfigurationView:
        return self._views(work, (record,))[0]

    def _views(
        self, work: UnitOfWork, records: Sequence[ConfigurationRecord]
    ) -> tuple[ConfigurationView, ...]:
        others, online = others_of(work), self._online()
        users = work.configurations.users_of_each([record.id for record in records])
        warnings = {c: self._settings.warnings(work, c) for c in {record.connector for record in records}}

        def view(record: ConfigurationRecord) -> ConfigurationView:
            known = surroundings(others, online, record.settings, record.id)
            return _view_of(record, known, users.get(record.id, ()), warnings[record.connector])

        return tuple(view(record) for record in records)


def _view_of(
    record: ConfigurationRecord,
    known: Surroundings,
    users: Sequence[Subject],
    warnings: tuple[str, ...],
) -> ConfigurationView:
    kind = connector_type(record.connector)
    found = decoded(kind, record.settings)
    agents = find_agents(known.agents or (), agent_reference(record.settings))
    broken = found if isinstance(found, tuple) else violations(kind, found, known)
    settings = record.settings if isinstance(found, tuple) else shown_values(kind.declaration, found)
    return ConfigurationView(
        id=record.id,
        connector=record.connector,
        name=record.name,
        settings=dict(settings),
        agent_name=agents[0].name if agents else "",
        agent_online=bool(agents) and agents[0].online,
        firmware=firmware(found, known.inventory),
        violations=broken,
        warnings=warnings,
        used_by=tuple(users),
        created_s=record.created_s,
        changed_s=record.changed_s,
    )


def _accepted(found: ConfigurationRecord | tuple[Violation, ...]) -> ConfigurationRecord:
    if isinstance(found, tuple):
        raise ConfigurationInvalidError.of(found)
    return found


def _own_id(work: UnitOfWork, reference: str | None) -> str:
    return "" if reference is None else work.configurations.by_reference(reference).id


def _document(record: ConfigurationRecord, agent_names: Mapping[str, str]) -> dict[str, Any]:
    # The agent by its name: identifiers mean nothing to another appliance.
    agent = agent_reference(record.settings)
    settings = decoded(
        connector_type(record.connector), {**record.settings, "agent": agent_names.get(agent, agent)}
    )
    if isinstance(settings, tuple):
        raise ConfigurationInvalidError.of(settings)
    return export_document(settings)


def _audit(
    work: UnitOfWork,
    actor: Actor,
    action: str,
    record: ConfigurationRecord,
    details: dict[str, Any] | None = None,
) -> None:
    subject = Subject(SubjectKind.CONFIGURATION, record.id, record.name)
    work.audit.append(actor=actor.name, action=action, subject=subject, details=details or {})
