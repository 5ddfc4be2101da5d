"""Layers and their versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select, func, or_, select, union

from sekiso.errors import AmbiguousNameError
from sekiso.model.layer import LayerKind
from sekiso.model.library import LayerRecord, VersionRecord
from sekiso.model.task import Subject, SubjectKind
from sekiso.store.database import constraints, tables
from sekiso.store.database.columns import name_key
from sekiso.store.database.holding import HeldRows
from sekiso.store.database.records import RecordRows, version_list, with_key


class LayerTable(RecordRows[LayerRecord]):
    """See `api.LayerRows`."""

    table = tables.layers
    record_type = LayerRecord

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
        """Return what uses a version: versions made on it or continuing it, templates, images, its holder.

        A version that continues it needs it until it has content of its own.
        """
        holders = select(tables.versions.c.holder_task_id).where(tables.versions.c.id == version_id)
        return (
            *self._subjects(SubjectKind.LAYER_VERSION, _versions_using(version_id)),
            *self._subjects(SubjectKind.TEMPLATE, _templates_using(version_id)),
            *self._subjects(SubjectKind.IMAGE, _images_using(version_id)),
            *(self._holder_subject(h) for h in self._connection.execute(holders).scalars() if h is not None),
        )

    def _subjects(self, kind: SubjectKind, query: Select[str, str]) -> Iterable[Subject]:
        found = [Subject(kind, row[0], row[1]) for row in self._connection.execute(query)]
        return sorted(found, key=lambda subject: (name_key(subject.name), subject.id))

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


def version_names() -> Select[str, str]:
    """Select identifiers of versions and what people call them: layer and version."""
    versions, layers = tables.versions.c, tables.layers.c
    name = layers.name.concat(" ").concat(versions.name)
    return select(versions.id, name).join_from(tables.versions, tables.layers, versions.layer_id == layers.id)


def _versions_using(version_id: str) -> Select[str, str]:
    versions, bases = tables.versions.c, tables.version_bases.c
    made_on = select(bases.owner_id).where(bases.version_id == version_id)
    continuing = (versions.previous_version_id == version_id) & versions.identity.is_(None)
    return version_names().where(or_(versions.id.in_(made_on), continuing))


def _templates_using(version_id: str) -> Select[str, str]:
    templates, apps = tables.templates.c, tables.template_versions.c
    ids = union(
        select(templates.id).where(templates.os_version_id == version_id),
        select(templates.id).where(templates.platform_version_id == version_id),
        select(apps.owner_id).where(apps.version_id == version_id),
    )
    return select(templates.id, templates.name).where(templates.id.in_(ids))


def _images_using(version_id: str) -> Select[str, str]:
    images, parts = tables.images.c, tables.image_versions.c
    ids = select(parts.owner_id).where(parts.version_id == version_id)
    return select(images.id, images.name).where(images.id.in_(ids))
