"""Layers and versions as lists show them: by a few queries, however many rows there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, exists, func, select

from sekiso.model.layer import LayerKind
from sekiso.model.library import LayerRecord, VersionState
from sekiso.model.listing import LayerFilter, LayerSort, LayerSummary, VersionBrief, VersionChoice
from sekiso.model.paging import Listing
from sekiso.store.database import tables
from sekiso.store.database.columns import clamped
from sekiso.store.database.paging import Order, has_words, portions
from sekiso.store.database.records import plain_rows
from sekiso.store.database.version_users import count_users

_layers, _versions = tables.layers.c, tables.versions.c


def _of_versions(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return what is worked out from the versions of each layer; 0 where there are none."""
    found = select(value).where(_versions.layer_id == _layers.id).scalar_subquery()
    return func.coalesce(found, 0)


_BY_NAME = (_layers.name_key, _layers.kind)
LAYER_ORDERS: Mapping[str, Order] = {
    LayerSort.NAME: Order(_BY_NAME),
    LayerSort.PRIORITY: Order((_layers.priority,), _BY_NAME, descending=True),
    LayerSort.CREATED: Order((_layers.created_s,), descending=True),
    LayerSort.CHANGED: Order((_of_versions(func.max(_versions.created_s)),), _BY_NAME, descending=True),
    LayerSort.SIZE: Order((_of_versions(func.sum(_versions.file_bytes)),), _BY_NAME, descending=True),
    LayerSort.VERSIONS: Order((_of_versions(func.count()),), _BY_NAME, descending=True),
}


def layer_conditions(which: LayerFilter) -> list[ColumnElement[bool]]:
    """Return the conditions of a filter."""
    found: list[ColumnElement[bool]] = []
    if which.kind is not None:
        found.append(_layers.kind == which.kind.value)
    if which.os_layer_id is not None:
        found.append(_layers.os_layer_id == which.os_layer_id)
    if which.state is not None:
        in_state = exists().where(_versions.layer_id == _layers.id, _versions.state == which.state.value)
        found.append(in_state)
    return found


def summaries(connection: Connection, layers: Sequence[LayerRecord]) -> tuple[LayerSummary, ...]:
    """Return layers as a list shows them, in the order given."""
    ids = [layer.id for layer in layers]
    versions, users = _briefs(connection, ids), count_users(connection, ids)
    os_names = _layer_names(connection, [layer.os_layer_id for layer in layers if layer.os_layer_id])
    return tuple(
        _summary(layer, versions[layer.id], users[layer.id], os_names.get(layer.os_layer_id or "", ""))
        for layer in layers
    )


def choices(connection: Connection, which: LayerFilter, listing: Listing) -> tuple[VersionChoice, ...]:
    """Return deployable versions, newest first; each word is in the name of the layer or of the version."""
    query = (
        select(
            _versions.id.label("version_id"),
            _versions.name.label("version_name"),
            _versions.layer_id,
            _layers.name.label("layer_name"),
            *(_layers.kind, _layers.family, _layers.icon, _layers.priority, _layers.os_layer_id),
            *(_versions.file_bytes, _versions.content_bytes, _versions.created_s),
        )
        .join_from(tables.versions, tables.layers, _versions.layer_id == _layers.id)
        .where(
            _versions.state == (which.state or VersionState.DEPLOYABLE).value,
            *layer_conditions(LayerFilter(which.kind, os_layer_id=which.os_layer_id)),
            *has_words(listing.words, (_layers.name_key, _versions.name_key)),
        )
        .order_by(_versions.created_s.desc(), _versions.id.desc())
        .limit(clamped(listing.limit))
        .offset(clamped(listing.offset))
    )
    return tuple(msgspec.convert(row, VersionChoice) for row in plain_rows(connection, query))


def _briefs(connection: Connection, layer_ids: Sequence[str]) -> Mapping[str, list[VersionBrief]]:
    """Return the versions of each layer, oldest first."""
    found: defaultdict[str, list[VersionBrief]] = defaultdict(list)
    columns = [_versions[name] for name in VersionBrief.__dataclass_fields__]
    for some in portions(layer_ids):
        query = select(_versions.layer_id, *columns).where(_versions.layer_id.in_(some))
        for row in plain_rows(connection, query):
            found[row.pop("layer_id")].append(msgspec.convert(row, VersionBrief))
    for versions in found.values():
        versions.sort(key=lambda version: (version.created_s, version.id))
    return found


def _layer_names(connection: Connection, layer_ids: Sequence[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for some in portions(list(dict.fromkeys(layer_ids))):
        query = select(_layers.id, _layers.name).where(_layers.id.in_(some))
        found.update((row[0], row[1]) for row in connection.execute(query))
    return found


def _summary(
    layer: LayerRecord, versions: Sequence[VersionBrief], users: int, os_layer_name: str
) -> LayerSummary:
    deployable = [version for version in versions if version.state is VersionState.DEPLOYABLE]
    return LayerSummary(
        layer=layer,
        versions=len(versions),
        newest=versions[-1] if versions else None,
        deployable=deployable[-1] if deployable else None,
        file_bytes=sum(version.file_bytes for version in versions),
        users=users,
        os_layer_name="" if layer.kind is LayerKind.OS else os_layer_name,
    )
