"""Where the objects that tasks and audit entries are about have their pages."""

from __future__ import annotations

from collections.abc import Mapping

from sekiso.console.rendering import address
from sekiso.model.task import Subject, SubjectKind

_PLACES: Mapping[SubjectKind, str] = {
    SubjectKind.LAYER: "/layers",
    SubjectKind.LAYER_VERSION: "/layers/versions",
    SubjectKind.IMAGE: "/images",
    SubjectKind.TEMPLATE: "/images/templates",
    SubjectKind.CONFIGURATION: "/connectors",
    SubjectKind.AGENT: "/system/agents",
    SubjectKind.TASK: "/tasks",
}


def place_of(subject: Subject) -> str:
    """Return the address of the page of an object; empty if it has none. The object may be gone."""
    place = _PLACES.get(subject.kind, "")
    return address(place, subject.id) if place else ""
