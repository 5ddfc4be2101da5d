"""The plan of an image: order and why, conflicts and who wins, size, every action (IM-1, IM-4, LY-6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from sekiso.compositing.jobs import PlanSummary
from sekiso.console.access import pages
from sekiso.console.failures import failure_of
from sekiso.console.rendering import show
from sekiso.errors import SekisoError
from sekiso.web.auth import Use
from sekiso.web.params import Ref

router = pages("/images/templates")
#: Pages that list more would be slow; the numbers are always those of all.
_MOST_ROWS = 2000


@router.get("/{reference}/plan")
def plan(request: Request, use: Use, reference: Ref) -> Response:
    """Show the plan of a template's image; the plan itself is loaded by the page: it takes its time."""
    view = use.templates.get(reference)
    return show(request, "images/plan.html", {"view": view, "template": view.template})


@router.get("/{reference}/plan/panel")
def plan_panel(request: Request, use: Use, reference: Ref) -> Response:
    """Make the plan, and show it."""
    try:
        context = {**plan_context(use.templates.preview(reference)), "failure": None}
    except SekisoError as error:
        context = {"failure": failure_of(error, request)}
    return show(request, "images/plan_panel.html", context)


@router.get("/{reference}/plan/cache")
def plan_cache(request: Request, use: Use, reference: Ref) -> Response:
    """Say whether the layer disk cache has the disk already."""
    try:
        context = {"is_cached": use.templates.is_cached(reference), "failure": None}
    except SekisoError as error:
        context = {"is_cached": None, "failure": failure_of(error, request)}
    return show(request, "images/plan_cache.html", context)


def plan_context(summary: PlanSummary) -> Mapping[str, Any]:
    """Return what the panel of a plan shows."""
    actions: list[Mapping[str, Any]] = summary.plan.get("actions") or []
    layers: list[Mapping[str, Any]] = summary.plan.get("layers") or []
    sides = Counter((conflict.layers, conflict.winner) for conflict in summary.conflicts)
    return {
        "summary": summary,
        "plan": summary.plan,
        "layers": layers,
        "reasons": _reasons(actions),
        "actions": actions[:_MOST_ROWS],
        "actions_total": len(actions),
        "conflicts": summary.conflicts[:_MOST_ROWS],
        "conflicts_total": len(summary.conflicts),
        "sides": [(layers, winner, count) for (layers, winner), count in sides.most_common(20)],
    }


def _reasons(actions: list[Mapping[str, Any]]) -> Mapping[str, str]:
    """Return why each layer has its place, by what merging it is called in the plan."""
    return {str(a["target"]): str(a["reason"]) for a in actions if a["what"] == "merge"}
