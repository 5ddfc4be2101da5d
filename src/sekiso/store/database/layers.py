"""Layers and their versions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select

from sekiso.errors import AmbiguousNameError
from sekiso.model.layer import LayerKind
from sekiso.model.library import LayerRecord, VersionRecord
from sekiso.model.listing import LayerFilter, LayerSummary, VersionChoice
from sekiso.model.paging import Listing, Page
from sekiso.model.task import Subject
from sekiso.store.database import constraints, layer_lists, tables, version_users
from sekiso.store.database.columns import name_key
from sekiso.store.database.holding import HeldRows
from sekiso.store.database.paging import PagedRows, portions
from sekiso.store.database.records import version_list, with_key
from sekiso.store.database.version_users import version_names


class LayerTable(PagedRows[LayerRecord]):
    """See `api.LayerRows`."""

    table = tables.layers
    record_type = LayerRecord
    orders = layer_lists.LAYER_ORDERS
    searched = (tables.layers.c.name_key,)

    def by_reference(self, reference: str, kind: LayerKind | None = None) -> LayerRecord:
        """Return the layer with this identifier, or else with this name, of a kind if one is given.

        Raises:
            NotFoundError: there is neither.
            AmbiguousNameError: layers of several kinds have the name.
        """
        of_kind = () if kind is None else (tables.layers.c.kind == kind.value,)
        by_name = tables.layers.c.name_key == name_key(reference)
        found = list(self._select(tables.layers.c.id == reference, *of_kind))
        found = found or list(self._select(by_name, *of_kind))
        if not found:
            raise self._not_found(reference)
        if len(found) > 1:
            ids = ", ".join(f"{layer.id} ({layer.kind})" for layer in found)
            raise AmbiguousNameError(what=constraints.what(self.table), name=reference, ids=ids)
        return found[0]

    def page(self, which: LayerFilter, listing: Listing) -> Page[LayerRecord]:
        """Return a page of the layers that match.

        Raises:
            RuleError: they cannot be sorted by that.
        """
        return self._page(layer_lists.layer_conditions(which), listing)

    def summaries(self, layers: Sequence[LayerRecord]) -> Sequence[LayerSummary]:
        """Return layers as a list shows them, in the order given."""
        return layer_lists.summaries(self._connection, layers)

    def next_priority(self) -> int:
        """Return a priority above that of every app layer."""
        columns = tables.layers.c
        highest = select(func.max(columns.priority)).where(columns.kind == LayerKind.APP.value)
        return (self._connection.execute(highest).scalar() or 0) + 1

    def _values(self, record: LayerRecord) -> dict[str, Any]:
        return with_key(super()._values(record))

    def _user_names(self, record_id: str) -> Iterable[str]:
        versions = version_names().where(tables.versions.c.layer_id == record_id)
        yield from (
            row[1]
            for row in self._connection.execute(
                versions.order_by(tables.versions.c.created_s, tables.versions.c.name)
            )
        )
        yield from super()._user_names(record_id)

    def _order(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda row: (row["name_key"], row["kind"], row["id"]))


class VersionTable(HeldRows[VersionRecord]):
    """See `api.VersionRows`."""

    table = tables.versions
    record_type = VersionRecord
    list_fields = (version_list("base_version_ids", tables.version_bases),)

    def of_layer(self, layer_id: str) -> Sequence[VersionRecord]:
        """Return the versions of a layer, oldest first."""
        return self._select(tables.versions.c.layer_id == layer_id)

    def of_layers(self, layer_ids: Sequence[str]) -> Mapping[str, Sequence[VersionRecord]]:
        """Return the versions of each of many layers, oldest first."""
        found: defaultdict[str, list[VersionRecord]] = defaultdict(list)
        for some in portions(layer_ids):
            for version in self._select(tables.versions.c.layer_id.in_(some)):
                found[version.layer_id].append(version)
        return {layer_id: found[layer_id] for layer_id in layer_ids}

    def by_identity(self, identity: str) -> Sequence[VersionRecord]:
        """Return the versions with this content."""
        return self._select(tables.versions.c.identity == identity)

    def editing(self) -> Sequence[VersionRecord]:
        """Return the versions that have a packaging machine."""
        return self._select(tables.versions.c.packaging_configuration_id.is_not(None))

    def hold(self, version_id: str, task_id: str) -> VersionRecord:
        """Let a task work on a version; see `HeldRows`.

        Raises:
            BusyError: another task holds it; names that task.
            NotFoundError: there is no such version or task.
        """
        return self._hold(version_id, task_id)

    def let_go(self, version_id: str, task_id: str) -> None:
        """End the hold of a task; harmless if it has none."""
        self._let_go(version_id, task_id)

    def users_of(self, version_id: str) -> Sequence[Subject]:
        """Return what uses a version; see `version_users`."""
        return self.users_of_each([version_id])[version_id]

    def users_of_each(self, version_ids: Sequence[str]) -> Mapping[str, Sequence[Subject]]:
        """Return what uses each of many versions."""
        return version_users.users_of(self._connection, version_ids)

    def choices(self, which: LayerFilter, listing: Listing) -> Sequence[VersionChoice]:
        """Return deployable versions of layers that match, newest first."""
        return layer_lists.choices(self._connection, which, listing)

    def called(self, version_ids: Sequence[str]) -> Mapping[str, str]:
        """Return what people call those versions that there are, `layer version`, by identifier."""
        found: dict[str, str] = {}
        for some in portions(list(dict.fromkeys(version_ids))):
            query = version_names().where(tables.versions.c.id.in_(some))
            found.update((row[0], row[1]) for row in self._connection.execute(query))
        return found

    def _values(self, record: VersionRecord) -> dict[str, Any]:
        values = with_key(super()._values(record))
        packaging = record.packaging
        configuration_id = None if packaging is None else packaging.configuration_id
        return {**values, "packaging_configuration_id": configuration_id}

    def _label(self, record_id: str) -> str:
        versions = tables.versions.c
        query = version_names().where(versions.id == record_id)
        row = self._connection.execute(query).first()
        return record_id if row is None else row[1]

    def _user_names(self, record_id: str) -> Iterable[str]:
        return (subject.name for subject in self.users_of(record_id))
