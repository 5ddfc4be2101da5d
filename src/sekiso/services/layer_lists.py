"""Layers as they are shown, one or many: always by the same few queries (LY-7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sekiso.model.layer import LayerKind
from sekiso.model.library import LayerRecord, VersionRecord, VersionState
from sekiso.model.listing import LayerFilter, LayerSummary, VersionChoice
from sekiso.model.paging import EVERYTHING, Listing, Page
from sekiso.model.task import Subject
from sekiso.services.core import Core
from sekiso.store.database.api import UnitOfWork

CHOICES = 20


@dataclass(frozen=True, slots=True)
class VersionView:
    """A layer version as it is shown.

    Attributes:
        version: the version.
        layer_name: name of its layer.
        kind: kind of its layer.
        used_by: what uses it.
        made_on: the versions it was made on, as `layer version`.
    """

    version: VersionRecord
    layer_name: str
    kind: LayerKind
    used_by: tuple[Subject, ...]
    made_on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LayerView:
    """A layer as it is shown.

    Attributes:
        layer: the layer.
        versions: its versions, oldest first.
        file_bytes: size of all its layer files.
        os_layer_name: the OS layer it was made on; empty for OS layers.
    """

    layer: LayerRecord
    versions: tuple[VersionView, ...]
    file_bytes: int
    os_layer_name: str


class LayerLists:
    """What there is of layers and versions."""

    def __init__(self, core: Core) -> None:
        """List the layers of an appliance.

        Args:
            core: what every service works with.
        """
        self.core = core

    def list(self, kind: LayerKind | None = None) -> tuple[LayerView, ...]:
        """Return the layers, of one kind or all, by name."""
        return self.listed(LayerFilter(kind), EVERYTHING).rows

    def listed(self, which: LayerFilter, listing: Listing) -> Page[LayerView]:
        """Return a page of layers with all that is known of their versions; for lists, `page` is quicker.

        Raises:
            RuleError: they cannot be sorted by that.
        """
        with self.core.db.read() as work:
            page = work.layers.page(which, listing)
            return Page(layer_views(work, page.rows), page.total, page.offset, page.limit)

    def page(
        self,
        *,
        kind: LayerKind | None = None,
        state: VersionState | None = None,
        os_layer_id: str | None = None,
        listing: Listing | None = None,
    ) -> Page[LayerSummary]:
        """Return a page of layers as a list shows them; sorted by `LayerSort`.

        Args:
            kind: only of this kind.
            state: only those with a version in this state.
            os_layer_id: only those that were made on this OS layer.
            listing: search, order and place; None = the first page by name.

        Raises:
            RuleError: they cannot be sorted by that.
        """
        with self.core.db.read() as work:
            page = work.layers.page(LayerFilter(kind, state, os_layer_id), listing or Listing())
            rows = tuple(work.layers.summaries(page.rows))
        return Page(rows, page.total, page.offset, page.limit)

    def choices(
        self,
        kind: LayerKind | None = None,
        text: str = "",
        limit: int = CHOICES,
        *,
        os_layer_id: str | None = None,
    ) -> tuple[VersionChoice, ...]:
        """Return deployable versions to choose from, newest first.

        Args:
            kind: of layers of this kind.
            text: words that are in the name of the layer or of the version.
            limit: at most so many.
            os_layer_id: of layers that were made on this OS layer.
        """
        with self.core.db.read() as work:
            which = LayerFilter(kind, os_layer_id=os_layer_id)
            return tuple(work.versions.choices(which, Listing(text, limit=limit)))


def layer_views(work: UnitOfWork, layers: Sequence[LayerRecord]) -> tuple[LayerView, ...]:
    """Return layers as they are shown, in the order given."""
    by_layer = work.versions.of_layers([layer.id for layer in layers])
    by_id = {layer.id: layer for layer in layers}
    views = version_views(work, [version for found in by_layer.values() for version in found], by_id)
    os_names = work.layers.names([layer.os_layer_id for layer in layers if layer.os_layer_id])
    return tuple(
        LayerView(
            layer,
            tuple(views[version.id] for version in by_layer[layer.id]),
            sum(version.file_bytes for version in by_layer[layer.id]),
            os_names.get(layer.os_layer_id or "", ""),
        )
        for layer in layers
    )


def version_views(
    work: UnitOfWork, versions: Sequence[VersionRecord], layers: dict[str, LayerRecord]
) -> dict[str, VersionView]:
    """Return versions as they are shown, by identifier.

    Args:
        work: the transaction.
        versions: the versions.
        layers: their layers, by identifier.
    """
    users = work.versions.users_of_each([version.id for version in versions])
    called = work.versions.called([base for version in versions for base in version.base_version_ids])
    return {
        version.id: VersionView(
            version,
            layers[version.layer_id].name,
            layers[version.layer_id].kind,
            tuple(users[version.id]),
            tuple(called.get(base, base) for base in version.base_version_ids),
        )
        for version in versions
    }
