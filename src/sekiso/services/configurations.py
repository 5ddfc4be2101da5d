"""Connector configurations: forms, saving by the rules of the test, testing, documents (CC-1 … CC-11)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sekiso import __version__
from sekiso.connectors.base import Connector, Surroundings, flatten
from sekiso.connectors.check_run import run_checks
from sekiso.connectors.checks import CheckResult
from sekiso.connectors.decoding import decode, shown_values, values_of
from sekiso.connectors.errors import ConfigurationInvalidError
from sekiso.connectors.form import FormSection, describe_form
from sekiso.connectors.hyperv.documents import export_document, import_documents
from sekiso.connectors.hyperv.rules import resulting_hardware
from sekiso.connectors.hyperv.settings import HYPERV, HyperVSettings
from sekiso.connectors.registry import connector as connector_type
from sekiso.connectors.registry import connectors
from sekiso.connectors.schema import json_schema
from sekiso.errors import InUseError, SekisoError
from sekiso.model.connector import AgentInventory, KnownAgent, find_agents
from sekiso.model.library import ConfigurationRecord, Role
from sekiso.model.machine import Violation
from sekiso.model.task import Subject, SubjectKind
from sekiso.services.agents import AgentService
from sekiso.services.connector_settings import ConnectorSettingsService
from sekiso.services.core import Actor, Core, new_id, require
from sekiso.services.probes import Probes
from sekiso.store.database.api import UnitOfWork


@dataclass(frozen=True, slots=True)
class ConnectorTypeView:
    """A connector type.

    Attributes:
        code: stable name.
        label: its name, English.
        help: what it is for, English.
        abilities: what can be done through it.
        schema: JSON schema of its settings.
    """

    code: str
    label: str
    help: str
    abilities: tuple[str, ...]
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FormView:
    """A form that is being filled in.

    Attributes:
        values: the values, brought into an allowed combination where there is one.
        sections: the form, texts in the reader's language.
        firmware: firmware of the machines that would result; empty if there can be none yet.
    """

    values: dict[str, Any]
    sections: tuple[FormSection, ...]
    firmware: str


@dataclass(frozen=True, slots=True)
class ConfigurationView:
    """A connector configuration as it is shown. Times are Unix seconds.

    Attributes:
        id: identifier.
        connector: code of its type.
        name: its name.
        settings: its settings without secrets.
        agent_name: name of its agent.
        agent_online: whether that is connected.
        firmware: firmware of machines made through it; empty if there can be none now.
        violations: rules that it breaks now, since what it names has changed.
        warnings: what to be warned of, each in a sentence.
        used_by: what uses it.
        created_s: when it was made.
        changed_s: when it was last changed.
    """

    id: str
    connector: str
    name: str
    settings: dict[str, Any]
    agent_name: str
    agent_online: bool
    firmware: str
    violations: tuple[Violation, ...]
    warnings: tuple[str, ...]
    used_by: tuple[Subject, ...]
    created_s: float
    changed_s: float


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply` did, or would do, with one document: `created`, `changed` or `unchanged`."""

    name: str
    action: str


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

        Raises:
            NotFoundError: there is no such connector type or configuration.
        """
        kind = connector_type(connector)
        filled = {**kind.declaration.defaults(), **values}
        with self._core.db.begin() as work:
            known = self._surroundings(work, filled, reference)
        found = _decoded(kind, filled)
        broken = found if isinstance(found, tuple) else flatten(kind.grouped_violations(found, known))
        sections = describe_form(
            kind.declaration,
            filled,
            offers=kind.offers(filled, known),
            violations=broken,
            language=language,
        )
        return FormView(filled, sections, _firmware(found, known.inventory))

    def list(self) -> tuple[ConfigurationView, ...]:
        """Return every configuration by name."""
        with self._core.db.begin() as work:
            return tuple(self._view(work, record) for record in work.configurations.all())

    def get(self, reference: str) -> ConfigurationView:
        """Return a configuration by identifier or name.

        Raises:
            NotFoundError: there is none.
        """
        with self._core.db.begin() as work:
            return self._view(work, work.configurations.by_reference(reference))

    def create(self, actor: Actor, connector: str, values: Mapping[str, Any]) -> ConfigurationView:
        """Save a new configuration.

        Raises:
            NotFoundError: there is no such connector type.
            ConfigurationInvalidError: it breaks rules, all of which are named; nothing was saved.
        """
        require(actor, Role.ADMINISTRATOR)
        self._refresh(values)
        now_s = self._core.clock()
        with self._core.db.begin() as work:
            record = self._checked(
                work, connector, values, ConfigurationRecord(new_id(), connector, "", {}, now_s, now_s)
            )
            work.configurations.add(record)
            self._audit(work, actor, "configuration.create", record)
            return self._view(work, record)

    def update(self, actor: Actor, reference: str, values: Mapping[str, Any]) -> ConfigurationView:
        """Save a changed configuration; settings that are left out keep their values.

        Raises:
            NotFoundError: there is no such configuration.
            ConfigurationInvalidError: it breaks rules, all of which are named; nothing was saved.
        """
        require(actor, Role.ADMINISTRATOR)
        with self._core.db.begin() as work:
            before = work.configurations.by_reference(reference)
        merged = {**before.settings, **values}
        self._refresh(merged)
        with self._core.db.begin() as work:
            before = work.configurations.get(before.id)
            record = self._checked(
                work, before.connector, merged, replace(before, changed_s=self._core.clock())
            )
            work.configurations.replace(record)
            changed = sorted(k for k, v in record.settings.items() if before.settings.get(k) != v)
            self._audit(work, actor, "configuration.change", record, {"changed": changed})
            return self._view(work, record)

    def clone(self, actor: Actor, reference: str, name: str) -> ConfigurationView:
        """Save a copy of a configuration under another name.

        Raises:
            NotFoundError: there is no such configuration.
            ConfigurationInvalidError: it breaks rules now, or the name is taken; nothing was saved.
        """
        with self._core.db.begin() as work:
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
            self._audit(work, actor, "configuration.delete", record)

    def test(
        self, actor: Actor, connector: str, values: Mapping[str, Any], *, reference: str | None = None
    ) -> Iterator[CheckResult]:
        """Carry out every check of a configuration, saved or not, yielding each row when it is known (CC-7).

        Raises:
            NotFoundError: there is no such connector type or configuration.
            ConfigurationInvalidError: the values have the wrong form or types, so that nothing can be tested.
        """
        require(actor, Role.ADMINISTRATOR)
        kind = connector_type(connector)
        found = _decoded(kind, values)
        if isinstance(found, tuple):
            raise ConfigurationInvalidError.of(found)
        with self._core.db.begin() as work:
            known = self._surroundings(work, values, reference)
        policy = self._settings.policy(connector)
        return run_checks(
            kind, found, known, appliance_version=__version__, live=self._probes.for_test(), policy=policy
        )

    def test_saved(self, actor: Actor, reference: str) -> Iterator[CheckResult]:
        """Test a saved configuration; see `test`."""
        with self._core.db.begin() as work:
            record = work.configurations.by_reference(reference)
        return self.test(actor, record.connector, record.settings, reference=record.id)

    def export(self, references: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return configurations as documents (CC-11); all if none is named.

        Raises:
            NotFoundError: there is no such configuration.
        """
        with self._core.db.begin() as work:
            records = [work.configurations.by_reference(r) for r in references] or list(
                work.configurations.all()
            )
            names = {agent.id: agent.name for agent in work.agents.all()}
        found: list[dict[str, Any]] = []
        for record in records:
            # By name: identifiers mean nothing to another appliance.
            agent = record.settings.get("agent")
            settings = {**record.settings, "agent": names.get(str(agent), agent)}
            decoded = decode(HYPERV, settings)
            if isinstance(decoded, HyperVSettings):
                found.append(export_document(decoded))
        return found

    def apply(
        self, actor: Actor, documents: Sequence[object], *, source: str, dry_run: bool = False
    ) -> tuple[Applied, ...]:
        """Save the configurations of documents, by name: new ones are made, others changed (CC-11).

        Either all are saved or none.

        Raises:
            DocumentError: the form of a document is wrong; names the place.
            ConfigurationInvalidError: one breaks rules.
        """
        require(actor, Role.ADMINISTRATOR)
        wanted = import_documents(documents, source=source)
        for settings in wanted:
            self._refresh(values_of(HYPERV, settings))
        now_s = self._core.clock()
        applied: list[Applied] = []
        with self._core.db.begin() as work:
            for settings in wanted:
                applied.append(self._apply_one(work, actor, settings, now_s, dry_run=dry_run))
        return tuple(applied)

    def _apply_one(
        self, work: UnitOfWork, actor: Actor, settings: HyperVSettings, now_s: float, *, dry_run: bool
    ) -> Applied:
        values = values_of(HYPERV, settings)
        before = next(
            (c for c in work.configurations.all() if c.name.casefold() == settings.name.casefold()), None
        )
        start = before or ConfigurationRecord(new_id(), HYPERV.code, "", {}, now_s, now_s)
        record = self._checked(work, HYPERV.code, values, replace(start, changed_s=now_s))
        if before is not None and before.settings == record.settings:
            return Applied(record.name, "unchanged")
        if not dry_run:
            (work.configurations.replace if before is not None else work.configurations.add)(record)
            self._audit(work, actor, "configuration.apply", record)
        return Applied(record.name, "changed" if before is not None else "created")

    def _checked(
        self, work: UnitOfWork, connector: str, values: Mapping[str, Any], record: ConfigurationRecord
    ) -> ConfigurationRecord:
        """Return the record with these values if no rule is broken."""
        kind = connector_type(connector)
        found = _decoded(kind, values)
        if isinstance(found, tuple):
            raise ConfigurationInvalidError.of(found)
        known = self._surroundings(work, values, record.id)
        broken = _violations(kind, found, known)
        if broken:
            raise ConfigurationInvalidError.of(broken)
        plain: dict[str, Any] = dict(values_of(kind.declaration, found))
        agents = find_agents(known.agents or (), str(plain["agent"]))
        return replace(record, name=found.name, settings={**plain, "agent": agents[0].id})

    def _surroundings(
        self, work: UnitOfWork, values: Mapping[str, Any], reference: str | None
    ) -> Surroundings:
        online = set(self._core.agents.online())
        records = [a for a in work.agents.all() if not a.revoked]
        agents = tuple(KnownAgent(a.id, a.name, a.id in online) for a in records)
        chosen = find_agents(agents, str(values.get("agent") or ""))
        inventory = next((a.inventory for a in records if chosen and a.id == chosen[0].id), None)
        others = tuple(c.name for c in work.configurations.all() if reference not in (c.id, c.name))
        return Surroundings(agents, inventory, others)

    def _refresh(self, values: Mapping[str, Any]) -> None:
        """Have what is judged be what is there now, if the agent is connected."""
        with self._core.db.begin() as work:
            records = work.agents.all()
        known = [KnownAgent(a.id, a.name, online=True) for a in records]
        for agent in find_agents(known, str(values.get("agent") or ""))[:1]:
            if agent.id in self._core.agents.online():
                try:
                    self._agents.ask_inventory(agent.id)
                except SekisoError:
                    # What it last reported counts; the test says that it does not answer.
                    return

    def _view(self, work: UnitOfWork, record: ConfigurationRecord) -> ConfigurationView:
        kind = connector_type(record.connector)
        found = _decoded(kind, record.settings)
        known = self._surroundings(work, record.settings, record.id)
        agents = find_agents(known.agents or (), str(record.settings.get("agent")))
        broken = found if isinstance(found, tuple) else _violations(kind, found, known)
        settings = record.settings if isinstance(found, tuple) else shown_values(kind.declaration, found)
        return ConfigurationView(
            id=record.id,
            connector=record.connector,
            name=record.name,
            settings=dict(settings),
            agent_name=agents[0].name if agents else "",
            agent_online=bool(agents) and agents[0].online,
            firmware=_firmware(found, known.inventory),
            violations=broken,
            warnings=self._settings.warnings(record.connector),
            used_by=tuple(work.configurations.users_of(record.id)),
            created_s=record.created_s,
            changed_s=record.changed_s,
        )

    def _audit(
        self,
        work: UnitOfWork,
        actor: Actor,
        action: str,
        record: ConfigurationRecord,
        details: dict[str, Any] | None = None,
    ) -> None:
        subject = Subject(SubjectKind.CONFIGURATION, record.id, record.name)
        work.audit.append(actor=actor.name, action=action, subject=subject, details=details or {})


def _decoded(kind: Connector[Any], values: Mapping[str, Any]) -> HyperVSettings | tuple[Violation, ...]:
    return decode(kind.declaration, values)


def _violations(kind: Connector[Any], settings: Any, known: Surroundings) -> tuple[Violation, ...]:
    order = [f.name for f in kind.declaration.fields]
    return tuple(
        sorted(flatten(kind.grouped_violations(settings, known)), key=lambda v: order.index(v.field))
    )


def _firmware(settings: Any, inventory: AgentInventory | None) -> str:
    if not isinstance(settings, HyperVSettings):
        return ""
    found = resulting_hardware(settings, inventory)
    return "" if isinstance(found, tuple) else found.firmware.value
