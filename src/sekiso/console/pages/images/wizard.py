"""The wizard that makes and changes image templates, step by step (IM-1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Query, Request, Response

from sekiso.console.access import Who, pages
from sekiso.console.answers import go
from sekiso.console.failures import Failure
from sekiso.console.forms import Sent
from sekiso.console.pages.images.draft import Draft, draft_from, draft_of, failure_in, wish_of
from sekiso.console.pages.images.plans import plan_context
from sekiso.console.rendering import address, show
from sekiso.errors import SekisoError
from sekiso.model.layer import LayerKind
from sekiso.model.library import Role
from sekiso.model.listing import VersionChoice
from sekiso.services.template_rules import TemplatePart
from sekiso.web.auth import Use
from sekiso.web.params import Ref
from sekiso.web.services import Services

router = pages("/images/templates", role=Role.PUBLISHER)
_Template = Annotated[str | None, Query(max_length=200)]
#: OS and platform layers are few; app layers are searched.
_MOST_CHOICES, _MOST_APPS = 500, 50


@router.get("/new")
def new(request: Request, use: Use, configuration: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Begin a template."""
    return show(request, "images/wizard.html", _wizard(use, Draft(configuration=configuration), None, None))


@router.post("/new")
def create(request: Request, use: Use, who: Who, form: Sent) -> Response:
    """Make the template."""
    draft = draft_of(form)
    try:
        made = use.templates.create(who, wish_of(draft))
    except SekisoError as error:
        context = _wizard(use, draft, None, failure_in(error, request))
        return show(request, "images/wizard_form.html", context, status=422)
    where = address("/images/templates", made.template.id)
    return go(request, where, "The image template {name} was made.", name=made.template.name)


@router.get("/{reference}/edit")
def edit(request: Request, use: Use, reference: Ref) -> Response:
    """Begin to change a template."""
    template = use.templates.get(reference).template
    return show(request, "images/wizard.html", _wizard(use, draft_from(template), template.id, None))


@router.post("/{reference}/edit")
def change(request: Request, use: Use, who: Who, reference: Ref, form: Sent) -> Response:
    """Change the template; the revision before is kept."""
    draft = draft_of(form)
    try:
        made = use.templates.change(who, reference, wish_of(draft)).template
    except SekisoError as error:
        context = _wizard(use, draft, reference, failure_in(error, request))
        return show(request, "images/wizard_form.html", context, status=422)
    where = address("/images/templates", made.id)
    notice = "The image template {name} has revision {number} now."
    return go(request, where, notice, name=made.name, number=made.revision)


@router.post("/wizard/check")
def check(request: Request, use: Use, form: Sent, step: TemplatePart, template: _Template = None) -> Response:
    """Check one step: nothing to say, or the step again with what is wrong."""
    draft = draft_of(form)
    try:
        use.templates.check(wish_of(draft, step), step, template)
    except SekisoError as error:
        context = _wizard(use, draft, template, failure_in(error, request))
        return show(
            request, "images/wizard_step.html", {**context, "step": step.value, "is_step": True}, status=422
        )
    return Response(status_code=204)


@router.post("/wizard/platforms")
def platforms(request: Request, use: Use, form: Sent) -> Response:
    """Offer the platform layer versions that fit the chosen OS layer."""
    draft = draft_of(form)
    context = {"platforms": _platforms(use, draft), "draft": draft, "failure": None}
    return show(request, "images/wizard_platforms.html", context)


@router.post("/wizard/apps/found")
def found_apps(request: Request, use: Use, form: Sent) -> Response:
    """Offer app layer versions that fit the chosen OS layer, by a search."""
    draft = draft_of(form)
    own = _os_layer(use, draft)
    found = use.layers.choices(LayerKind.APP, form.text("app_text")[:200], _MOST_APPS, os_layer_id=own)
    context = {
        "found": found if own else (),
        "draft": draft,
        "is_full": len(found) == _MOST_APPS,
        "text": form.text("app_text"),
    }
    return show(request, "images/wizard_apps_found.html", context)


@router.post("/wizard/apps/chosen")
def chosen_apps(request: Request, use: Use, form: Sent) -> Response:
    """Add or remove an app layer version, and show what is chosen in merge order."""
    draft = _with_choice(use, draft_of(form), form.text("add"), form.text("remove"))
    context = {"stack": _stack(use, draft), "draft": draft, "failure": None}
    # After the swap: the list of those that can be chosen is asked for with what the form then holds.
    headers = {"HX-Trigger-After-Swap": "sekiso:apps"} if form.text("add") or form.text("remove") else {}
    return show(request, "images/wizard_apps_chosen.html", context, headers=headers)


@router.post("/wizard/review")
def review(request: Request, use: Use, form: Sent, template: _Template = None) -> Response:
    """Show what would be made: the plan, before anything is saved."""
    try:
        plan = use.templates.preview_of(wish_of(draft_of(form)), template)
        context = {**plan_context(plan), "failure": None}
    except SekisoError as error:
        context = {"failure": failure_in(error, request)}
    return show(request, "images/plan_panel.html", context)


def _wizard(use: Services, draft: Draft, template: str | None, failure: Failure | None) -> Mapping[str, Any]:
    systems = use.layers.choices(LayerKind.OS, "", _MOST_CHOICES)
    return {
        "draft": draft,
        "template_id": template,
        "failure": failure,
        "systems": _with_chosen(use, systems, draft.os_version_id),
        "platforms": _platforms(use, draft),
        "stack": _stack(use, draft),
        "configurations": use.configurations.list(),
        "step": "",
    }


def _platforms(use: Services, draft: Draft) -> tuple[VersionChoice, ...]:
    own = _os_layer(use, draft)
    if not own:
        return ()
    return use.layers.choices(LayerKind.PLATFORM, "", _MOST_CHOICES, os_layer_id=own)


def _with_chosen(
    use: Services, choices: tuple[VersionChoice, ...], version_id: str
) -> tuple[VersionChoice, ...]:
    """Return choices with the one that is chosen already, wherever it would be in the list."""
    if not version_id or any(choice.version_id == version_id for choice in choices):
        return choices
    return (*use.templates.stack([version_id]), *choices)


def _os_layer(use: Services, draft: Draft) -> str | None:
    found = use.templates.stack([draft.os_version_id]) if draft.os_version_id else ()
    return found[0].layer_id if found else None


def _stack(use: Services, draft: Draft) -> tuple[VersionChoice, ...]:
    chosen = (draft.os_version_id, *draft.app_version_ids, draft.platform_version_id)
    return use.templates.stack([version_id for version_id in chosen if version_id])


def _with_choice(use: Services, draft: Draft, added: str, removed: str) -> Draft:
    """Return a draft with one app layer version more or less; of one layer it has one version."""
    kept = tuple(version_id for version_id in draft.app_version_ids if version_id != removed)
    if not added:
        return replace(draft, app_version_ids=kept)
    layer_of = {item.version_id: item.layer_id for item in use.templates.stack([*kept, added])}
    others = tuple(i for i in kept if layer_of.get(i) != layer_of.get(added) or i == added)
    return replace(draft, app_version_ids=tuple(dict.fromkeys((*others, added))))
