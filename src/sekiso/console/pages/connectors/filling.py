"""A configuration form that is being filled in: what was sent, and what the page shows of it (CC-2, CC-3)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import Request

from sekiso.connectors.base import ChoiceSource, Declaration
from sekiso.connectors.decoding import from_text
from sekiso.connectors.form import FormChoice, FormField, FormSection
from sekiso.connectors.registry import connector as connector_type
from sekiso.console.failures import Failure
from sekiso.console.forms import Form
from sekiso.console.reader import page_language
from sekiso.errors import SekisoError
from sekiso.services.agents import AgentView
from sekiso.web.services import Services

_UNPROCESSABLE = 422


@dataclass(frozen=True, slots=True)
class Filling:
    """A form as far as it is filled in.

    Attributes:
        connector: code of the connector type.
        reference: the configuration that is being changed; None = a new one.
        values: plain values, perhaps incomplete or wrong.
        touched: the fields that a person has been at: only they are judged on the page.
        changed: the field that has just been changed; empty = none.
    """

    connector: str
    reference: str | None
    values: Mapping[str, Any]
    touched: frozenset[str] = frozenset()
    changed: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows of a form.

    Attributes:
        filling: the form.
        sections: its fields with what can be chosen.
        firmware: firmware of the machines that would result; empty if there can be none yet.
        problems: what is wrong, by field, as the templates of fields take it.
        moved: why a choice was changed to go with the others, by field.
        agents: the agents by identifier.
        sources: where the choices of references come from, by field.
        rejected: whether saving has just failed.
        lost: what is wrong that stands at no field.
    """

    filling: Filling
    sections: tuple[FormSection, ...]
    firmware: str
    problems: Failure
    moved: Mapping[str, str]
    agents: Mapping[str, AgentView]
    sources: Mapping[str, str]
    rejected: bool = False
    lost: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


def sent(form: Form, *, reference: str | None = None, changed: str = "") -> Filling:
    """Return the form that a page has sent.

    Raises:
        NotFoundError: there is no such connector type.
    """
    connector = form.text("connector")
    declaration: Declaration[Any] = connector_type(connector).declaration
    names = [f.name for f in declaration.fields]
    texts = {name: form.text(name) for name in names if name in form}
    # A field that another one has made meaningless is not sent; a box that is not checked neither.
    values = {k: v for k, v in from_text(declaration, texts).items() if k in names}
    known = changed if changed in names else ""
    touched = frozenset((*form.many("touched"), known)) & set(names)
    return Filling(connector, reference or form.maybe("reference"), values, touched, known)


def all_touched(filling: Filling, *, but: Iterable[str] = ()) -> Filling:
    """Return the form with every field judged."""
    names = {f.name for f in connector_type(filling.connector).declaration.fields}
    return replace(filling, touched=frozenset(names - set(but)))


def shown(request: Request, use: Services, filling: Filling, failure: Failure | None = None) -> Shown:
    """Return what the page shows of a form.

    Args:
        request: the request.
        use: the services.
        filling: the form.
        failure: why saving it has failed.
    """
    language = page_language(request)
    agents = {agent.id: agent for agent in use.agents.list() if not agent.revoked}
    moved: dict[str, str] = {}
    view = use.configurations.form(
        filling.connector, filling.values, reference=filling.reference, language=language
    )
    if filling.changed and failure is None:
        moved = _moved(view.sections, view.values, view.settled)
        if moved:
            view = use.configurations.form(
                filling.connector, view.settled, reference=filling.reference, language=language
            )
    filling = replace(filling, values=view.values)
    sections = tuple(replace(s, fields=tuple(map(_with_own_choice, s.fields))) for s in view.sections)
    problems = dict(failure.fields) if failure else _problems(sections, filling.touched)
    every = [f.name for s in sections for f in s.fields]
    lost = tuple(text for name, texts in problems.items() if name not in every for text in texts)
    declaration = connector_type(filling.connector).declaration
    return Shown(
        filling=filling,
        sections=sections,
        firmware=view.firmware,
        problems=Failure("", "", "", "", _UNPROCESSABLE, problems),
        moved=moved,
        agents=agents,
        sources={f.name: f.source.value for f in declaration.fields if f.source is not None},
        rejected=failure is not None,
        lost=lost,
        labels={f.name: f.label for s in sections for f in s.fields},
    )


def ask_agent(use: Services, filling: Filling) -> None:
    """Have the chosen agent report what it has now; what it last reported counts if it cannot."""
    names = _fields_of(filling.connector, ChoiceSource.AGENTS)
    for reference in filter(None, (filling.values.get(name) for name in names)):
        with contextlib.suppress(SekisoError):
            use.agents.inventory(str(reference), refresh=True)


def is_agent_field(filling: Filling, name: str) -> bool:
    """Return whether a field names the agent."""
    return name in _fields_of(filling.connector, ChoiceSource.AGENTS)


def first_values(use: Services, connector: str) -> Mapping[str, Any]:
    """Return what a new form begins with: the only agent is chosen already."""
    agents = [agent for agent in use.agents.list() if not agent.revoked]
    names = _fields_of(connector, ChoiceSource.AGENTS)
    return dict.fromkeys(names, agents[0].id) if len(agents) == 1 else {}


def _fields_of(connector: str, source: ChoiceSource) -> tuple[str, ...]:
    declaration = connector_type(connector).declaration
    return tuple(f.name for f in declaration.fields if f.source is source)


def _moved(
    sections: Iterable[FormSection], before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, str]:
    """Return why values were changed to go with the others, by field."""
    found: dict[str, str] = {}
    for form_field in (f for s in sections for f in s.fields):
        if before[form_field.name] != after[form_field.name]:
            chosen = (c for c in form_field.choices if c.value == before[form_field.name])
            found[form_field.name] = next((c.reason for c in chosen), "")
    return found


def _problems(sections: Iterable[FormSection], touched: frozenset[str]) -> dict[str, tuple[str, ...]]:
    return {
        f.name: tuple(" ".join(filter(None, (p.reason, p.remedy))) for p in f.problems)
        for s in sections
        for f in s.fields
        if f.name in touched and f.problems
    }


def _with_own_choice(form_field: FormField) -> FormField:
    """Return a reference with its value among its choices: it may be a name, or of something that is gone."""
    value = form_field.value
    if form_field.kind != "reference" or value is None or any(c.value == value for c in form_field.choices):
        return form_field
    wanted = str(value).casefold()
    named = [c for c in form_field.choices if wanted in (c.label.casefold(), str(c.value).casefold())]
    if len(named) == 1:
        return replace(form_field, value=named[0].value)
    return replace(form_field, choices=(*form_field.choices, FormChoice(value, str(value))))
