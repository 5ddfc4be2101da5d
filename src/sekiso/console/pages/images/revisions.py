"""The history of an image template, and in what revisions differ (IM-1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

from fastapi import Query, Request, Response

from sekiso.console.access import pages
from sekiso.console.rendering import show
from sekiso.model.library import TemplateRecord
from sekiso.web.auth import Use
from sekiso.web.params import Ref
from sekiso.web.services import Services

router = pages("/images/templates")
_Revision = Annotated[int | None, Query(ge=1, le=1 << 31)]
#: What is compared, in the order of the wizard.
_FIELDS = (
    *("name", "notes", "os_version_id", "platform_version_id", "app_version_ids", "configuration_id"),
    *("disk_name", "disk_format", "allocation", "size_bytes", "generalization", "boot_test", "keep_last"),
)


@dataclass(frozen=True, slots=True)
class Change:
    """One field that two revisions differ in.

    Attributes:
        field: its name in `TemplateRecord`.
        before: its value in the earlier one.
        after: its value in the later one.
        added: of a field that holds several: those that only the later one has.
        removed: those that only the earlier one has.
    """

    field: str
    before: Any
    after: Any
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@router.get("/{reference}/revisions")
def revisions(
    request: Request, use: Use, reference: Ref, older: _Revision = None, newer: _Revision = None
) -> Response:
    """List the revisions of a template, and compare two of them."""
    view = use.templates.get(reference)
    history = use.templates.history(view.template.id)
    by_number = {record.revision: record for record in history}
    left = by_number.get(older or view.template.revision - 1)
    right = by_number.get(newer or view.template.revision)
    if left is not None and right is not None and left.revision > right.revision:
        left, right = right, left
    context = {
        "view": view,
        "template": view.template,
        "history": history,
        "changed": _changed_fields(history),
        "left": left,
        "right": right,
        "changes": changes(left, right) if left is not None and right is not None else (),
        "called": _called(use, [record for record in (left, right) if record is not None]),
    }
    return show(request, "images/revisions.html", context)


def changes(before: TemplateRecord, after: TemplateRecord) -> tuple[Change, ...]:
    """Return in what two revisions differ."""
    return tuple(
        _change(name, getattr(before, name), getattr(after, name))
        for name in _FIELDS
        if getattr(before, name) != getattr(after, name)
    )


def _change(name: str, before: Any, after: Any) -> Change:
    if name != "app_version_ids":
        return Change(name, before, after)
    old: tuple[str, ...] = before
    new: tuple[str, ...] = after
    added, removed = (tuple(i for i in one if i not in other) for one, other in ((new, old), (old, new)))
    return Change(name, old, new, added, removed)


def _changed_fields(history: Sequence[TemplateRecord]) -> Mapping[int, tuple[str, ...]]:
    """Return which fields each revision changed, by its number; the list is newest first."""
    return {
        after.revision: tuple(change.field for change in changes(before, after))
        for after, before in pairwise(history)
    }


def _called(use: Services, records: Sequence[TemplateRecord]) -> Mapping[str, str]:
    """Return what versions and configurations are called, by identifier; what is gone has no entry."""
    versions = use.templates.stack([v for record in records for v in record.version_ids])
    called = {item.version_id: f"{item.layer_name} {item.version_name}" for item in versions}
    return called | {found.id: found.name for found in use.configurations.list()}
