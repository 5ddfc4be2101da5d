"""The wizard that makes a platform or app layer (LY-2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import Request, Response

from sekiso.console.access import Who, pages
from sekiso.console.answers import go
from sekiso.console.failures import Failure
from sekiso.console.forms import Form, Sent, checked
from sekiso.console.pages.layers.pickers import Picked, os_layer_of, pick, stack_of
from sekiso.console.pages.layers.stepwise import (
    checked_part,
    chosen_configuration,
    configurations,
    failure_at,
    filled,
    only_one,
    typed,
)
from sekiso.console.rendering import show
from sekiso.errors import SekisoError
from sekiso.model.layer import LayerKind
from sekiso.model.library import Role
from sekiso.services.layer_checks import LayerChecks
from sekiso.services.layer_tasks import CreateLayer
from sekiso.web.auth import Use
from sekiso.web.bodies import LayerWish
from sekiso.web.services import Services

router = pages("/layers/new", role=Role.LAYER_MANAGER)

Step = Literal["layer", "base", "machine"]
#: How the choice of automatic finalization is sent; empty = as the configuration has it.
AUTO_FINALIZE: Mapping[str, bool | None] = {"": None, "yes": True, "no": False}
_DEFAULTS = {
    "kind": "app",
    "name": "",
    "version": "",
    "icon": "",
    "notes": "",
    "priority": "",
    "os_version_id": "",
    "prerequisite_version_ids": "",
    "configuration": "",
    "run_once_upload_id": "",
    "run_once_name": "",
    "auto_finalize": "",
}
_MANY = ("prerequisite_version_ids",)
_OF_STEP: Mapping[Step, frozenset[str]] = {
    "layer": frozenset({"kind", "name", "version", "icon", "notes", "priority"}),
    "base": frozenset({"os_version_id", "prerequisite_version_ids"}),
    "machine": frozenset({"configuration", "run_once_upload_id", "auto_finalize"}),
}


#: The field of each step that stands for what the form does not show.
_REST: Mapping[Step, str] = {"layer": "name", "base": "os_version_id", "machine": "configuration"}


@router.get("")
def wizard(request: Request, use: Use, kind: LayerKind = LayerKind.APP) -> Response:
    """Show the wizard."""
    shown = LayerKind.PLATFORM if kind is LayerKind.PLATFORM else LayerKind.APP
    return show(request, "layers/create.html", _context(use, None, shown))


@router.post("")
def finish(request: Request, form: Sent, use: Use, who: Who) -> Response:
    """Make the layer."""
    try:
        wish = CreateLayer(**checked(LayerWish, _values(form)).model_dump())
        use.layers.create(who, wish)
    except SekisoError as error:
        context = _context(use, form) | {"failure": _failure(error, request)}
        return show(request, "layers/create_form.html", context, status=422)
    return go(request, f"/layers?kind={wish.kind.value}", "The layer {name} is being made.", name=wish.name)


@router.post("/check")
def check(request: Request, step: Step, form: Sent, use: Use) -> Response:
    """Check one step of the wizard: 204 if the next one can be shown."""
    try:
        _check(use, step, form)
    except SekisoError as error:
        context = _context(use, form) | {"failure": _failure(error, request, step)}
        return show(request, "layers/step.html", {"wizard": "create", "step": step, "c": context}, status=422)
    return Response(status_code=204)


@router.post("/review")
def review(request: Request, form: Sent, use: Use) -> Response:
    """Show what will be done."""
    return show(request, "layers/create_review.html", {"c": _context(use, form)})


def _context(use: Services, form: Form | None, kind: LayerKind = LayerKind.APP) -> dict[str, Any]:
    views = configurations(use)
    values = typed(form, {**_DEFAULTS, "kind": kind.value, "configuration": only_one(views)}, _MANY)
    os_versions = pick(use, Picked("os_version_id", chosen=filter_empty(values["os_version_id"])))
    if not os_versions.chosen and len(os_versions.found) == 1 and not os_versions.has_more:
        # There is nothing to choose.
        values["os_version_id"] = os_versions.found[0].version_id
        os_versions = pick(use, Picked("os_version_id", chosen=(values["os_version_id"],)))
    on = os_layer_of(use, values["os_version_id"]) if values["os_version_id"] else ""
    chosen = values["prerequisite_version_ids"]
    return {
        "v": values,
        "failure": None,
        "configurations": views,
        "chosen": chosen_configuration(use, values["configuration"]),
        "os_versions": os_versions,
        "prerequisites": pick(use, Picked("prerequisite_version_ids", os_layer_id=on, chosen=chosen)),
        "base": stack_of(use, (*filter_empty(values["os_version_id"]), *chosen)),
    }


def filter_empty(value: str) -> tuple[str, ...]:
    """Return a value as a tuple of one, or of none if it is empty."""
    return (value,) if value else ()


def _values(form: Form) -> dict[str, Any]:
    """Return what the form holds as the body of the REST API."""
    texts = (
        "kind",
        "name",
        "version",
        "configuration",
        "os_version_id",
        "notes",
        "icon",
        "run_once_upload_id",
    )
    found: dict[str, Any] = {name: form.text(name) for name in texts}
    found["prerequisite_version_ids"] = form.many("prerequisite_version_ids")
    if form.text("kind") == LayerKind.APP:
        found["priority"] = form.number("priority")
    found["auto_finalize"] = AUTO_FINALIZE.get(form.text("auto_finalize"))
    return filled(found)


def _check(use: Services, step: Step, form: Form) -> None:
    values = _values(form)
    checked_part(LayerWish, values, _OF_STEP[step])
    checks = LayerChecks(use.layers.core)
    if step == "layer":
        checks.created(
            LayerKind(values["kind"]),
            values["name"],
            values["version"],
            notes=form.text("notes"),
            icon=form.text("icon"),
            priority=values.get("priority"),
        )
    elif step == "base":
        checks.base(values["os_version_id"], values["prerequisite_version_ids"])
    else:
        checks.place(values["configuration"])


def _failure(error: SekisoError, request: Request, step: Step | None = None) -> Failure:
    fields = _OF_STEP[step] if step is not None else frozenset(_DEFAULTS)
    return failure_at(error, request, fields, {}, _REST[step or "machine"])
