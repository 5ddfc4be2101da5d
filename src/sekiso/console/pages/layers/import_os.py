"""The wizard that imports an operating system as an OS layer (LY-1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import Request, Response

from sekiso.console.access import Who, pages
from sekiso.console.answers import go
from sekiso.console.forms import Form, Sent, checked
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
from sekiso.errors import RuleError, SekisoError
from sekiso.model.connector import TemplateVm
from sekiso.model.layer import LayerKind
from sekiso.model.library import Role
from sekiso.model.paging import Listing
from sekiso.services.layer_checks import LayerChecks
from sekiso.web.auth import Use
from sekiso.web.bodies import OsImport
from sekiso.web.services import Services

router = pages("/layers/import-os", role=Role.LAYER_MANAGER)

Step = Literal["configuration", "source", "layer"]
_DEFAULTS = {
    "configuration": "",
    "source": "machine",
    "machine": "",
    "disk_path": "",
    "name": "",
    "version": "",
    "icon": "",
    "notes": "",
    "guest_tools": "on",
}
_OF_STEP: Mapping[Step, frozenset[str]] = {
    "configuration": frozenset({"configuration"}),
    "source": frozenset({"source"}),
    "layer": frozenset({"name", "version", "icon", "notes", "guest_tools"}),
}
_FIELDS = frozenset(_DEFAULTS)
_KNOWN_LAYERS = 200


@router.get("")
def wizard(request: Request, use: Use) -> Response:
    """Show the wizard."""
    return show(request, "layers/import_os.html", _context(use, None))


@router.post("")
def finish(request: Request, form: Sent, use: Use, who: Who) -> Response:
    """Import the operating system."""
    try:
        _require_source(form)
        body = checked(OsImport, _values(form))
        use.layers.import_os(who, body.wish())
    except SekisoError as error:
        context = _context(use, form) | {"failure": _failure(error, request, form)}
        return show(request, "layers/import_os_form.html", context, status=422)
    return go(request, "/layers?kind=os", "The OS layer {name} is being imported.", name=body.name)


@router.post("/check")
def check(request: Request, step: Step, form: Sent, use: Use) -> Response:
    """Check one step of the wizard: 204 if the next one can be shown."""
    try:
        _check(use, step, form)
    except SekisoError as error:
        context = _context(use, form) | {"failure": _failure(error, request, form)}
        return show(
            request, "layers/step.html", {"wizard": "import_os", "step": step, "c": context}, status=422
        )
    return Response(status_code=204)


@router.post("/source")
def source(request: Request, form: Sent, use: Use, refresh: Literal["", "1"] = "") -> Response:
    """Show the machines at the host of the agent that the configuration names."""
    view = chosen_configuration(use, form.text("configuration"))
    if refresh and view is not None:
        use.agents.inventory(view.settings["agent"], refresh=True)
    return show(request, "layers/import_os_source.html", {"c": _context(use, form)})


@router.post("/review")
def review(request: Request, form: Sent, use: Use) -> Response:
    """Show what will be done."""
    known = use.layers.page(kind=LayerKind.OS, listing=Listing(text=form.text("name"), limit=_KNOWN_LAYERS))
    name = form.text("name").casefold()
    is_known = any(row.layer.name.casefold() == name for row in known.rows)
    return show(request, "layers/import_os_review.html", {"c": _context(use, form), "is_known": is_known})


def _context(use: Services, form: Form | None) -> dict[str, Any]:
    views = configurations(use)
    values = typed(form, {**_DEFAULTS, "configuration": only_one(views)})
    if form is not None:
        values["guest_tools"] = "on" if form.flag("guest_tools") else ""
    chosen = chosen_configuration(use, values["configuration"])
    machines: tuple[TemplateVm, ...] | None = None
    if chosen is not None and (inventory := use.agents.inventory(chosen.settings["agent"])) is not None:
        machines = inventory.template_vms
    return {
        "v": values,
        "failure": None,
        "configurations": views,
        "chosen": chosen,
        "machines": machines,
        "known": use.layers.page(kind=LayerKind.OS, listing=Listing(limit=_KNOWN_LAYERS)).rows,
    }


def _values(form: Form) -> dict[str, Any]:
    """Return what the form holds as the body of the REST API."""
    kind = "disk_path" if form.text("source") == "disk" else "machine"
    texts = {name: form.text(name) for name in ("configuration", "name", "version", "icon", "notes")}
    found = {**texts, "source": {kind: form.text(kind)}, "guest_tools": form.flag("guest_tools")}
    return filled(found)


def _require_source(form: Form) -> None:
    if form.text("source") == "disk" and not form.text("disk_path"):
        raise RuleError(
            field="disk_path", reason="There is no path.", remedy="Enter the path of a disk file."
        )
    if form.text("source") != "disk" and not form.text("machine"):
        raise RuleError(
            field="machine", reason="No machine is chosen.", remedy="Choose one, or give a disk file."
        )


def _check(use: Services, step: Step, form: Form) -> None:
    if step == "source":
        _require_source(form)
    checked_part(OsImport, _values(form), _OF_STEP[step])
    checks = LayerChecks(use.layers.core)
    if step == "configuration":
        checks.place(form.text("configuration"))
    elif step == "layer":
        checks.imported(
            form.text("name"), form.text("version"), notes=form.text("notes"), icon=form.text("icon")
        )


def _failure(error: SekisoError, request: Request, form: Form) -> Any:
    place = "disk_path" if form.text("source") == "disk" else "machine"
    names = {"source": place, "source.disk_path": "disk_path", "source.machine": "machine"}
    return failure_at(error, request, _FIELDS - {"source"}, names, "configuration")
