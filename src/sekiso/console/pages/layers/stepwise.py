"""What the wizards of layers share: values of forms, checks of single steps, errors at the right fields."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel

from sekiso.console.failures import Failure, failure_of
from sekiso.console.forms import Form, checked
from sekiso.errors import SekisoError
from sekiso.services.configuration_views import ConfigurationView
from sekiso.web.errors import RequestInvalidError
from sekiso.web.services import Services

_Body = TypeVar("_Body", bound=BaseModel)


def filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values without those that are empty: what is missing is said to be missing."""
    return {key: value for key, value in values.items() if value not in ("", None)}


def checked_part(kind: type[BaseModel], values: Mapping[str, Any], fields: Collection[str]) -> None:
    """Check some fields of a body by the rules of the REST API; the others may still be missing.

    Raises:
        RequestInvalidError: they break rules; names the fields.
    """
    try:
        checked(kind, filled(values))
    except RequestInvalidError as error:
        kept = [found for found in error.violations if found.field.partition(".")[0] in fields]
        if kept:
            raise RequestInvalidError.of(kept) from error


def failure_at(
    error: SekisoError, request: Request, fields: Collection[str], names: Mapping[str, str], rest: str
) -> Failure:
    """Return an error with what it says of fields at the fields of the form.

    Args:
        error: the error.
        request: the request.
        fields: names of the form's fields.
        names: fields that the error calls otherwise.
        rest: the field that stands for everything else, since the form does not show it.
    """
    failure = failure_of(error, request)
    found: dict[str, tuple[str, ...]] = {}
    for field, sentences in failure.fields.items():
        root = field.partition(".")[0]
        place = names.get(field, names.get(root, root))
        place = place if place in fields else rest
        found[place] = (*found.get(place, ()), *sentences)
    return replace(failure, fields=found)


def typed(form: Form | None, defaults: Mapping[str, str], many: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a form holds, what it has not from the defaults; fields of several values as tuples."""
    values: dict[str, Any] = {**defaults, **(form.values() if form is not None else {})}
    for name in many:
        values[name] = form.many(name) if form is not None else ()
    return values


def only_one(views: Sequence[ConfigurationView]) -> str:
    """Return the name of the connector configuration if there is nothing to choose."""
    return views[0].name if len(views) == 1 else ""


def configurations(use: Services) -> Sequence[ConfigurationView]:
    """Return the connector configurations by name."""
    return sorted(use.configurations.list(), key=lambda view: view.name.casefold())


def chosen_configuration(use: Services, reference: str) -> ConfigurationView | None:
    """Return the connector configuration that a form names, if there is one."""
    return next((view for view in use.configurations.list() if reference in (view.id, view.name)), None)
