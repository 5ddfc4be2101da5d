"""Connector configurations, image templates and published images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from sqlalchemy import ColumnElement, func, insert, select, union, update

from sekiso.errors import AlreadyExistsError
from sekiso.model.library import ConfigurationRecord, ImageRecord, ImageState, TemplateRecord
from sekiso.model.listing import ImageFilter, ImageSort, ImageTally, TemplateSort
from sekiso.model.paging import Listing, Page
from sekiso.model.task import Subject, SubjectKind, TaskState
from sekiso.store.database import tables
from sekiso.store.database.holding import HeldRows
from sekiso.store.database.paging import Order, PagedRows, portions
from sekiso.store.database.records import NamedRecordRows, version_list
from sekiso.store.database.version_users import version_names

ENDED_STATES = tuple(state.value for state in TaskState if state.ended)


class ConfigurationTable(PagedRows[ConfigurationRecord], NamedRecordRows[ConfigurationRecord]):
    """See `api.ConfigurationRows`."""

    table = tables.configurations
    record_type = ConfigurationRecord
    orders: ClassVar = {"name": Order((tables.configurations.c.name_key,))}
    searched = (tables.configurations.c.name_key,)

    def users_of(self, configuration_id: str) -> Sequence[Subject]:
        """Return what uses a configuration: templates, versions being edited, tasks that have not ended."""
        return self.users_of_each((configuration_id,)).get(configuration_id, ())

    def users_of_each(self, configuration_ids: Sequence[str]) -> Mapping[str, Sequence[Subject]]:
        """Return what uses each of some configurations; those that nothing uses are left out."""
        found: dict[str, list[Subject]] = {}
        for some in portions(configuration_ids):
            for users in (self._templates(some), self._versions(some), self._tasks(some)):
                for configuration_id, user in users:
                    found.setdefault(configuration_id, []).append(user)
        return found

    def _templates(self, configuration_ids: Sequence[str]) -> Iterable[tuple[str, Subject]]:
        columns = tables.templates.c
        query = select(columns.id, columns.name, columns.configuration_id).where(
            columns.configuration_id.in_(configuration_ids)
        )
        rows = self._connection.execute(query.order_by(columns.name_key))
        return ((row[2], Subject(SubjectKind.TEMPLATE, row[0], row[1])) for row in rows)

    def _versions(self, configuration_ids: Sequence[str]) -> Iterable[tuple[str, Subject]]:
        columns = tables.versions.c
        query = version_names().add_columns(columns.packaging_configuration_id)
        query = query.where(columns.packaging_configuration_id.in_(configuration_ids))
        rows = self._connection.execute(query.order_by(columns.created_s, columns.id))
        return ((row[-1], Subject(SubjectKind.LAYER_VERSION, row[0], row[1])) for row in rows)

    def _tasks(self, configuration_ids: Sequence[str]) -> Iterable[tuple[str, Subject]]:
        """Tasks of their lanes, and tasks about them."""
        columns, subjects = tables.tasks.c, tables.task_subjects.c
        active = columns.state.not_in(ENDED_STATES)
        lanes = select(columns.id, columns.kind, columns.created_s, columns.lane.label("configuration_id"))
        about = select(columns.id, columns.kind, columns.created_s, subjects.subject_id).join_from(
            tables.tasks, tables.task_subjects, subjects.task_id == columns.id
        )
        every = union(
            lanes.where(active, columns.lane.in_(configuration_ids)),
            about.where(active, subjects.subject_id.in_(configuration_ids)),
        ).subquery()
        query = select(every).order_by(every.c.created_s, every.c.id)
        rows = self._connection.execute(query)
        return ((row[3], Subject(SubjectKind.TASK, row[0], row[1])) for row in rows)

    def _user_names(self, record_id: str) -> Iterable[str]:
        return (subject.name for subject in self.users_of(record_id))


class TemplateTable(PagedRows[TemplateRecord], NamedRecordRows[TemplateRecord]):
    """See `api.TemplateRows`."""

    table = tables.templates
    record_type = TemplateRecord
    list_fields = (version_list("app_version_ids", tables.template_versions),)
    orders: ClassVar = {
        TemplateSort.NAME: Order((tables.templates.c.name_key,)),
        TemplateSort.CREATED: Order((tables.templates.c.created_s,), descending=True),
        TemplateSort.CHANGED: Order((tables.templates.c.changed_s,), descending=True),
    }
    searched = (tables.templates.c.name_key,)

    def page(self, listing: Listing) -> Page[TemplateRecord]:
        """Return a page of the templates.

        Raises:
            RuleError: they cannot be sorted by that.
        """
        return self._page((), listing)

    def add(self, record: TemplateRecord) -> None:
        """Store a new template, and its revision as history."""
        super().add(record)
        self._keep_revision(record)

    def add_many(self, records: Iterable[TemplateRecord]) -> None:
        """Store new templates at once, and their revisions as history."""
        new = list(records)
        super().add_many(new)
        for record in new:
            self._keep_revision(record)

    def replace(self, record: TemplateRecord) -> None:
        """Store a changed template, and its revision as history.

        With the revision that is stored, that one is corrected.

        Raises:
            AlreadyExistsError: a later revision is stored already.
        """
        latest = self._latest(record.id)
        if latest is not None and record.revision < latest:
            raise AlreadyExistsError(
                what="A later revision of the image template",
                name=record.name,
                remedy="Look at the template as it is now, and change that.",
            )
        super().replace(record)
        self._keep_revision(record)

    def history(self, template_id: str) -> Sequence[TemplateRecord]:
        """Return every revision, newest first, the present one too."""
        columns = tables.template_revisions.c
        query = (
            select(columns.record).where(columns.template_id == template_id).order_by(columns.revision.desc())
        )
        rows = self._connection.execute(query).scalars()
        return tuple(msgspec.convert(row, TemplateRecord) for row in rows)

    def _latest(self, template_id: str) -> int | None:
        columns = tables.template_revisions.c
        query = select(func.max(columns.revision)).where(columns.template_id == template_id)
        return self._connection.execute(query).scalar()

    def _keep_revision(self, record: TemplateRecord) -> None:
        table, columns = tables.template_revisions, tables.template_revisions.c
        key = {"template_id": record.id, "revision": record.revision}
        values: dict[str, Any] = {"record": msgspec.to_builtins(record)}
        here = update(table).where(columns.template_id == record.id, columns.revision == record.revision)
        if not self._connection.execute(here.values(**values)).rowcount:
            self._connection.execute(insert(table).values(**key, **values))


class ImageTable(HeldRows[ImageRecord], PagedRows[ImageRecord], NamedRecordRows[ImageRecord]):
    """See `api.ImageRows`."""

    table = tables.images
    record_type = ImageRecord
    list_fields = (version_list("version_ids", tables.image_versions),)
    orders: ClassVar = {
        ImageSort.NAME: Order((tables.images.c.name_key,)),
        ImageSort.TEMPLATE: Order((tables.images.c.template_name,), (tables.images.c.name_key,)),
        ImageSort.STATE: Order((tables.images.c.state,), (tables.images.c.name_key,)),
        ImageSort.SIZE: Order((tables.images.c.file_bytes,), (tables.images.c.name_key,), descending=True),
        ImageSort.CREATED: Order((tables.images.c.created_s,), descending=True),
    }
    searched = (tables.images.c.name_key,)

    def page(self, which: ImageFilter, listing: Listing) -> Page[ImageRecord]:
        """Return a page of the images that match.

        Raises:
            RuleError: they cannot be sorted by that.
        """
        columns, found = tables.images.c, list[ColumnElement[bool]]()
        if which.template_id is not None:
            found.append(columns.template_id == which.template_id)
        if which.state is not None:
            found.append(columns.state == which.state.value)
        return self._page(found, listing)

    def tallies(self, template_ids: Sequence[str]) -> Mapping[str, ImageTally]:
        """Return what became of each template."""
        columns, found = tables.images.c, dict[str, ImageTally]()
        published = func.count().filter(columns.state == ImageState.PUBLISHED.value)
        query = select(columns.template_id, published, func.max(columns.created_s))
        for some in portions(template_ids):
            of_templates = query.where(columns.template_id.in_(some)).group_by(columns.template_id)
            for row in self._connection.execute(of_templates):
                found[str(row[0])] = ImageTally(row[1], row[2])
        return {template_id: found.get(template_id, ImageTally()) for template_id in template_ids}

    def of_template(self, template_id: str) -> Sequence[ImageRecord]:
        """Return the images of a template, newest first."""
        columns = tables.images.c
        return self._select(
            columns.template_id == template_id, order_by=(columns.created_s.desc(), columns.id.desc())
        )

    def hold(self, image_id: str, task_id: str) -> ImageRecord:
        """Let a task work on an image; see `HeldRows`.

        Raises:
            BusyError: another task holds it; names that task.
            NotFoundError: there is no such image or task.
        """
        return self._hold(image_id, task_id)

    def let_go(self, image_id: str, task_id: str) -> None:
        """End the hold of a task; harmless if it has none."""
        self._let_go(image_id, task_id)
