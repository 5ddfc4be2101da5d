"""The wizard that begins a new version of a layer (LY-3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import Request, Response

from sekiso.console.access import Who, pages
from sekiso.console.answers import go
from sekiso.console.failures import Failure
from sekiso.console.forms import Form, Sent, checked
from sekiso.console.pages.layers.create import AUTO_FINALIZE, filter_empty
from sekiso.console.pages.layers.pickers import Picked, pick, stack_of
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
from sekiso.model.library import Role, VersionState
from sekiso.services.layer_checks import LayerChecks
from sekiso.services.layer_lists import LayerView, VersionView
from sekiso.services.layer_tasks import AddVersion
from sekiso.web.auth import Use
from sekiso.web.bodies import VersionWish
from sekiso.web.services import Services

router = pages("/layers/{layer_id}/versions/new", role=Role.LAYER_MANAGER)

Step = Literal["version", "base", "machine"]
_DEFAULTS = {
    "version": "",
    "from_version_id": "",
    "notes": "",
    "os_version_id": "",
    "configuration": "",
    "run_once_upload_id": "",
    "run_once_name": "",
    "auto_finalize": "",
    "prerequisite_version_ids": "",
}
_MANY = ("prerequisite_version_ids",)
_OF_STEP: Mapping[Step, frozenset[str]] = {
    "version": frozenset({"name", "from_version_id", "notes"}),
    "base": frozenset({"os_version_id", "prerequisite_version_ids"}),
    "machine": frozenset({"configuration", "run_once_upload_id", "auto_finalize"}),
}


#: The field of each step that stands for what the form does not show.
_REST: Mapping[Step, str] = {"version": "version", "base": "os_version_id", "machine": "configuration"}


@router.get("")
def wizard(request: Request, layer_id: str, use: Use) -> Response:
    """Show the wizard."""
    return show(request, "layers/add_version.html", _context(use, layer_id, None))


@router.post("")
def finish(request: Request, layer_id: str, form: Sent, use: Use, who: Who) -> Response:
    """Begin the version."""
    view = use.layers.get(layer_id)
    try:
        body = checked(VersionWish, _values(form, view.layer.kind))
        use.layers.add_version(who, layer_id, AddVersion(**body.model_dump()))
    except SekisoError as error:
        context = _context(use, layer_id, form) | {"failure": _failure(error, request)}
        return show(request, "layers/add_version_form.html", context, status=422)
    name = f"{view.layer.name} {body.name}"
    return go(request, f"/layers/{view.layer.id}", "The layer version {name} is being made.", name=name)


@router.post("/check")
def check(request: Request, layer_id: str, step: Step, form: Sent, use: Use) -> Response:
    """Check one step of the wizard: 204 if the next one can be shown."""
    try:
        _check(use, layer_id, step, form)
    except SekisoError as error:
        context = _context(use, layer_id, form) | {"failure": _failure(error, request, step)}
        what = {"wizard": "add_version", "step": step, "c": context}
        return show(request, "layers/step.html", what, status=422)
    return Response(status_code=204)


@router.post("/review")
def review(request: Request, layer_id: str, form: Sent, use: Use) -> Response:
    """Show what will be done."""
    return show(request, "layers/add_version_review.html", {"c": _context(use, layer_id, form)})


def _context(use: Services, layer_id: str, form: Form | None) -> dict[str, Any]:
    view = use.layers.get(layer_id)
    layer, ready = view.layer, _ready(view)
    views = configurations(use)
    values = typed(form, {**_DEFAULTS, "configuration": only_one(views)}, _MANY)
    if form is None and ready:
        # As the version that it continues, until something else is chosen.
        base = ready[0].version.base_version_ids
        values["from_version_id"] = ready[0].version.id
        values["os_version_id"] = base[0] if base else ""
        values["prerequisite_version_ids"] = base[1:]
    bases = _ready(use.layers.get(layer.os_layer_id)) if layer.os_layer_id else []
    chosen = values["prerequisite_version_ids"]
    wanted = Picked(
        "prerequisite_version_ids", os_layer_id=layer.os_layer_id or "", without=layer.id, chosen=chosen
    )
    return {
        "v": values,
        "layer": layer,
        "failure": None,
        "ready": ready,
        "bases": bases,
        "configurations": views,
        "chosen": chosen_configuration(use, values["configuration"]),
        "prerequisites": pick(use, wanted),
        "base": stack_of(use, (*filter_empty(values["os_version_id"]), *chosen)),
    }


def _ready(view: LayerView) -> list[VersionView]:
    """Return the deployable versions of a layer, newest first."""
    return [v for v in reversed(view.versions) if v.version.state is VersionState.DEPLOYABLE]


def _values(form: Form, kind: LayerKind) -> dict[str, Any]:
    """Return what the form holds as the body of the REST API."""
    texts = ("configuration", "from_version_id", "notes", "run_once_upload_id")
    found: dict[str, Any] = {name: form.text(name) for name in texts}
    found["name"] = form.text("version")
    if kind is not LayerKind.OS:
        found["os_version_id"] = form.text("os_version_id")
        found["prerequisite_version_ids"] = form.many("prerequisite_version_ids")
    found["auto_finalize"] = AUTO_FINALIZE.get(form.text("auto_finalize"))
    return filled(found)


def _check(use: Services, layer_id: str, step: Step, form: Form) -> None:
    values = _values(form, use.layers.get(layer_id).layer.kind)
    checked_part(VersionWish, values, _OF_STEP[step])
    checks = LayerChecks(use.layers.core)
    if step == "version":
        checks.version_name(layer_id, values["name"], notes=form.text("notes"))
        checks.continued(layer_id, values.get("from_version_id"))
    elif step == "base":
        keys = ("from_version_id", "os_version_id", "prerequisite_version_ids")
        known = {key: values[key] for key in keys if key in values}
        checks.version_base(layer_id, AddVersion(values.get("name", ""), "", **known))
    else:
        checks.place(values["configuration"])


def _failure(error: SekisoError, request: Request, step: Step | None = None) -> Failure:
    names = {"name": "version"}
    fields = {names.get(name, name) for name in _OF_STEP[step]} if step is not None else set(_DEFAULTS)
    return failure_at(error, request, fields, names, _REST[step or "machine"])
