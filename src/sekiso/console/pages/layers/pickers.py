"""Layer versions to choose from: a list that is searched by the server; what is chosen stays in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Query, Request, Response

from sekiso.console.access import pages
from sekiso.console.rendering import show
from sekiso.errors import NotFoundError
from sekiso.model.layer import LayerKind
from sekiso.model.library import VersionState
from sekiso.model.listing import VersionChoice
from sekiso.services.layer_lists import CHOICES
from sekiso.web.auth import Use
from sekiso.web.services import Services

router = pages("/layers/picker")

Field = Literal["os_version_id", "prerequisite_version_ids", "with"]
Id = Annotated[str, Query(max_length=200)]
#: What each field takes; None = platform and app layers.
_KINDS: dict[str, LayerKind | None] = {
    "os_version_id": LayerKind.OS,
    "prerequisite_version_ids": LayerKind.APP,
    "with": None,
}


@dataclass(frozen=True, slots=True)
class Picked:
    """What versions are chosen from, and what is chosen.

    Attributes:
        field: name of the field.
        text: what they are searched for.
        os_layer_id: only of layers that were made on this OS layer; empty = of any.
        without: layer that is left out.
        chosen: what is chosen, by identifier.
    """

    field: Field
    text: str = ""
    os_layer_id: str = ""
    without: str = ""
    chosen: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class PickList:
    """What is shown.

    Attributes:
        field: name of the field.
        single: whether one is chosen, not several.
        chosen: what is chosen.
        found: what else can be.
        has_more: whether there is more than is shown.
        text: what was searched for.
    """

    field: Field
    single: bool
    chosen: tuple[VersionChoice, ...]
    found: tuple[VersionChoice, ...]
    has_more: bool
    text: str


@router.get("")
def pick_list(
    request: Request,
    use: Use,
    field: Field,
    os_version_id: Id = "",
    os_layer_id: Id = "",
    without: Id = "",
) -> Response:
    """Show what there is to choose, after a search or after another choice."""
    given = request.query_params
    if field == "prerequisite_version_ids" and os_version_id:
        os_layer_id = os_layer_of(use, os_version_id) or os_layer_id
    wanted = Picked(
        field,
        text=given.get(f"{field}_text", "")[:200],
        os_layer_id=os_layer_id,
        without=without,
        chosen=[value[:200] for value in given.getlist(field)[:500] if value],
    )
    return show(request, "layers/picker_list.html", {"list": pick(use, wanted)})


def pick(use: Services, wanted: Picked) -> PickList:
    """Return what there is to choose; what does not fit (any more) is no longer chosen."""
    kind, single = _KINDS[wanted.field], wanted.field == "os_version_id"
    chosen = tuple(c for c in stack_of(use, wanted.chosen) if _fits(c, kind, wanted))
    if wanted.field != "os_version_id" and not wanted.os_layer_id:
        return PickList(wanted.field, single, (), (), has_more=False, text=wanted.text)
    ids = {choice.version_id for choice in chosen}
    on = wanted.os_layer_id if wanted.field != "os_version_id" else ""
    # A version of the layer that is left out, and each one that is chosen, takes no place away.
    limit = CHOICES + len(chosen) + 1
    offered = use.layers.choices(kind, wanted.text, limit, os_layer_id=on or None)
    fitting = [c for c in offered if c.version_id not in ids and c.layer_id != wanted.without]
    has_more = len(offered) == limit
    return PickList(wanted.field, single, chosen, tuple(fitting[:CHOICES]), has_more, wanted.text)


def stack_of(use: Services, version_ids: Sequence[str]) -> tuple[VersionChoice, ...]:
    """Return versions by identifier as they can be chosen, those left out that are gone or not deployable."""
    found = [_choice(use, version_id) for version_id in version_ids]
    return tuple(choice for choice in found if choice is not None)


def os_layer_of(use: Services, version_id: str) -> str:
    """Return the OS layer of one of its versions; empty if there is none."""
    choice = _choice(use, version_id)
    return choice.layer_id if choice is not None and choice.kind is LayerKind.OS else ""


def _fits(choice: VersionChoice, kind: LayerKind | None, wanted: Picked) -> bool:
    if choice.layer_id == wanted.without:
        return False
    if wanted.field == "os_version_id":
        return choice.kind is LayerKind.OS
    return kind in (None, choice.kind) and choice.os_layer_id == wanted.os_layer_id


def _choice(use: Services, version_id: str) -> VersionChoice | None:
    try:
        version = use.layers.version(version_id).version
        layer = use.layers.get(version.layer_id).layer
    except NotFoundError:
        return None
    if version.state is not VersionState.DEPLOYABLE:
        return None
    return VersionChoice.of(layer, version)
