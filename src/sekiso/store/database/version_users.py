"""What uses layer versions: asked of one version or of many, by the same few queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Executable, Select, func, select, union, union_all

from sekiso.model.task import Subject, SubjectKind
from sekiso.store.database import tables
from sekiso.store.database.columns import name_key
from sekiso.store.database.paging import portions


def version_names() -> Select[str, str]:
    """Select identifiers of versions and what people call them: layer and version."""
    versions, layers = tables.versions.c, tables.layers.c
    name = layers.name.concat(" ").concat(versions.name)
    return select(versions.id, name).join_from(tables.versions, tables.layers, versions.layer_id == layers.id)


def users_of(connection: Connection, version_ids: Sequence[str]) -> Mapping[str, tuple[Subject, ...]]:
    """Return what uses each version: versions made on it or continuing it, templates, images, its holder.

    A version that continues it needs it until it has content of its own.
    """
    found: defaultdict[str, list[Subject]] = defaultdict(list)
    for some in portions(list(dict.fromkeys(version_ids))):
        for kind, query in (
            (SubjectKind.LAYER_VERSION, _versions_using(some)),
            (SubjectKind.TEMPLATE, _templates_using(some)),
            (SubjectKind.IMAGE, _images_using(some)),
        ):
            for version_id, subject in _by_name(kind, connection.execute(query)):
                found[version_id].append(subject)
        for version_id, subject in _holders(connection, some):
            found[version_id].append(subject)
    return {version_id: tuple(found[version_id]) for version_id in version_ids}


def count_users(connection: Connection, layer_ids: Sequence[str]) -> Mapping[str, int]:
    """Return how many things use the versions of each layer: all that `users_of` names but its own versions.

    No template, image or version has two versions of a layer, so each of them is counted once.
    """
    found: defaultdict[str, int] = defaultdict(int)
    for some in portions(layer_ids):
        for layer_id, count in _pairs(connection, _counts(some)):
            found[layer_id] += count
        for layer_id, count in _pairs(connection, _own_counts(some)):
            found[layer_id] -= count
    return {layer_id: found[layer_id] for layer_id in layer_ids}


def _pairs(connection: Connection, query: Executable) -> Iterable[tuple[str, int]]:
    rows: Iterable[Any] = connection.execute(query)
    return ((row[0], row[1]) for row in rows)


def _by_name(kind: SubjectKind, rows: Iterable[Any]) -> Iterable[tuple[str, Subject]]:
    found = [(row[0], Subject(kind, row[1], row[2])) for row in rows]
    return sorted(found, key=lambda pair: (name_key(pair[1].name), pair[1].id))


def _versions_using(ids: Sequence[str]) -> Select[Any, Any, Any]:
    versions, bases = tables.versions.c, tables.version_bases.c
    used = union(
        select(bases.version_id, bases.owner_id).where(bases.version_id.in_(ids)),
        select(versions.previous_version_id, versions.id).where(
            versions.previous_version_id.in_(ids), versions.identity.is_(None)
        ),
    ).subquery()
    named = version_names().subquery()
    return select(used.c[0], named.c[0], named.c[1]).join_from(used, named, used.c[1] == named.c[0])


def _templates_using(ids: Sequence[str]) -> Select[Any, Any, Any]:
    templates, apps = tables.templates.c, tables.template_versions.c
    used = union(
        select(templates.os_version_id, templates.id).where(templates.os_version_id.in_(ids)),
        select(templates.platform_version_id, templates.id).where(templates.platform_version_id.in_(ids)),
        select(apps.version_id, apps.owner_id).where(apps.version_id.in_(ids)),
    ).subquery()
    return select(used.c[0], templates.id, templates.name).join_from(
        used, tables.templates, used.c[1] == templates.id
    )


def _images_using(ids: Sequence[str]) -> Select[Any, Any, Any]:
    images, parts = tables.images.c, tables.image_versions.c
    return (
        select(parts.version_id, images.id, images.name)
        .join_from(tables.image_versions, tables.images, parts.owner_id == images.id)
        .where(parts.version_id.in_(ids))
        .distinct()
    )


def _holders(connection: Connection, ids: Sequence[str]) -> Iterable[tuple[str, Subject]]:
    """What each task does, and about what."""
    versions, tasks, subjects = tables.versions.c, tables.tasks.c, tables.task_subjects.c
    query = (
        select(versions.id, tasks.id, tasks.kind, subjects.name)
        .join_from(tables.versions, tables.tasks, versions.holder_task_id == tasks.id)
        .outerjoin(tables.task_subjects, (subjects.task_id == tasks.id) & (subjects.position == 0))
        .where(versions.id.in_(ids))
    )
    rows: Iterable[Any] = connection.execute(query)
    for version_id, task_id, *words in rows:
        yield version_id, Subject(SubjectKind.TASK, task_id, _label(words))


def _label(words: Iterable[str | None]) -> str:
    return " ".join(word for word in words if word is not None)


def _counts(layer_ids: Sequence[str]) -> Executable:
    versions, templates = tables.versions.c, tables.templates.c
    users: tuple[tuple[Any, Any], ...] = (
        (tables.version_bases, tables.version_bases.c.version_id),
        (tables.templates, templates.os_version_id),
        (tables.templates, templates.platform_version_id),
        (tables.template_versions, tables.template_versions.c.version_id),
        (tables.image_versions, tables.image_versions.c.version_id),
    )
    of_layers = versions.layer_id.in_(layer_ids)
    counted = [
        select(versions.layer_id, func.count())
        .join_from(tables.versions, table, column == versions.id)
        .where(of_layers)
        .group_by(versions.layer_id)
        for table, column in users
    ]
    held = select(versions.layer_id, func.count(versions.holder_task_id.distinct()))
    return union_all(*counted, held.where(of_layers).group_by(versions.layer_id))


def _own_counts(layer_ids: Sequence[str]) -> Select[Any, Any]:
    """Versions that were made on another version of their own layer."""
    versions, bases, base = tables.versions.c, tables.version_bases.c, tables.versions.alias()
    return (
        select(versions.layer_id, func.count())
        .join_from(tables.versions, tables.version_bases, bases.owner_id == versions.id)
        .join(base, (base.c.id == bases.version_id) & (base.c.layer_id == versions.layer_id))
        .where(versions.layer_id.in_(layer_ids))
        .group_by(versions.layer_id)
    )
