"""Image templates: the recipes of images, and publishing them (IM-1, IM-2)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sekiso.errors import RuleError
from sekiso.model.library import (
    ImageRecord,
    ImageState,
    Role,
    TemplateRecord,
)
from sekiso.model.names import comparable_name
from sekiso.model.paging import EVERYTHING, Listing, Page
from sekiso.model.task import NewTask, Subject, SubjectKind, TaskFilter, TaskKind, TaskRecord, TaskState
from sekiso.services.core import Actor, Core, new_id, require
from sekiso.services.library_rules import check_name
from sekiso.services.sites import resolve_site
from sekiso.services.template_plans import TemplatePlans
from sekiso.services.template_rules import (
    TemplateWish,
    check_disk,
    checked_template,
    template_recipe,
    template_stack,
)
from sekiso.store.database.api import UnitOfWork
from sekiso.store.layers import LayerStore
from sekiso.tasks.flows.params import PublishTask, pack

MAX_AT_ONCE = 50
_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class TemplateView:
    """A template as it is shown.

    Attributes:
        template: the template.
        configuration_name: name of its connector configuration.
        layers: its layers in merge order, as `layer version`.
        images: how many of its images are published.
        last_published_s: when the last one was asked for; None = never.
    """

    template: TemplateRecord
    configuration_name: str
    layers: tuple[str, ...]
    images: int
    last_published_s: float | None


class TemplateService(TemplatePlans):
    """Image templates."""

    def __init__(self, core: Core, store: LayerStore) -> None:
        """Serve the templates of an appliance.

        Args:
            core: what every service works with.
            store: the layer files.
        """
        super().__init__(core, store)
        # From the choice of the names of images until their tasks say which they are.
        self._naming = threading.Lock()

    def list(self) -> tuple[TemplateView, ...]:
        """Return every template by name."""
        return self.page(EVERYTHING).rows

    def page(self, listing: Listing | None = None) -> Page[TemplateView]:
        """Return a page of the templates, sorted by `TemplateSort`; without a listing the first.

        Raises:
            RuleError: they cannot be sorted by that.
        """
        with self.core.db.read() as work:
            page = work.templates.page(listing or Listing())
            return Page(_views(work, page.rows), page.total, page.offset, page.limit)

    def get(self, reference: str) -> TemplateView:
        """Return a template by identifier or name.

        Raises:
            NotFoundError: there is none.
        """
        with self.core.db.read() as work:
            return _view(work, work.templates.by_reference(reference))

    def history(self, reference: str) -> tuple[TemplateRecord, ...]:
        """Return every revision of a template, newest first (IM-1)."""
        with self.core.db.read() as work:
            return tuple(work.templates.history(work.templates.by_reference(reference).id))

    def create(self, actor: Actor, wish: TemplateWish) -> TemplateView:
        """Make a template.

        Raises:
            NotFoundError: there is no such configuration or version.
            ConfigurationInvalidError: the configuration does not work, or the disk does not go with it.
            VersionNotReadyError: a version is not deployable.
            RuleError: a value cannot be used, or the layers do not go together.
            AlreadyExistsError: the name is taken.
        """
        require(actor, Role.PUBLISHER)
        now_s = self.core.clock()
        with self.core.db.begin() as work:
            template = checked_template(
                work, wish, template_id=new_id(), revision=1, created_s=now_s, now_s=now_s
            )
            work.templates.add(template)
            work.audit.append(actor=actor.name, action="template.create", subject=subject(template))
            return _view(work, template)

    def change(self, actor: Actor, reference: str, wish: TemplateWish) -> TemplateView:
        """Change a template; the revision before is kept as history.

        Raises:
            NotFoundError: there is no such template, configuration or version.
            SekisoError: as for `create`.
        """
        require(actor, Role.PUBLISHER)
        with self.core.db.begin() as work:
            before = work.templates.by_reference(reference)
            after = checked_template(
                work,
                wish,
                template_id=before.id,
                revision=before.revision + 1,
                created_s=before.created_s,
                now_s=self.core.clock(),
            )
            work.templates.replace(after)
            details = {"revision": after.revision}
            work.audit.append(
                actor=actor.name, action="template.change", subject=subject(after), details=details
            )
            return _view(work, after)

    def clone(self, actor: Actor, reference: str, name: str) -> TemplateView:
        """Make a template like another.

        Raises:
            NotFoundError: there is no such template.
            RuleError: the name cannot be used.
            AlreadyExistsError: the name is taken.
        """
        require(actor, Role.PUBLISHER)
        now_s = self.core.clock()
        with self.core.db.begin() as work:
            source = work.templates.by_reference(reference)
            copy = replace(
                source,
                id=new_id(),
                name=check_name("name", name),
                revision=1,
                created_s=now_s,
                changed_s=now_s,
            )
            work.templates.add(copy)
            work.audit.append(
                actor=actor.name,
                action="template.clone",
                subject=subject(copy),
                details={"from": source.name},
            )
            return _view(work, copy)

    def remove(self, actor: Actor, reference: str) -> None:
        """Delete a template; its images stay.

        Raises:
            NotFoundError: there is no such template.
        """
        require(actor, Role.PUBLISHER)
        with self.core.db.begin() as work:
            template = work.templates.by_reference(reference)
            for image in work.images.of_template(template.id):
                work.images.replace(replace(image, template_id=None))
            work.templates.remove(template.id)
            work.audit.append(actor=actor.name, action="template.delete", subject=subject(template))

    def publish(self, actor: Actor, references: Sequence[str], *, count: int = 1) -> tuple[TaskRecord, ...]:
        """Publish templates, each so many times; one task per image (IM-2).

        Everything is checked before the first task starts.

        Raises:
            NotFoundError: there is no such template.
            RuleError: too many at once.
            SekisoError: a template cannot be published: a version is gone, the configuration does not work.
        """
        require(actor, Role.PUBLISHER)
        if not references or count < 1 or len(references) * count > MAX_AT_ONCE:
            raise RuleError(
                field="count",
                reason="From 1 to 50 images can be published at once.",
                remedy="Publish the rest afterwards.",
            )
        with self._naming:
            return tuple(
                self.core.tasks.start(new) for new in self._new_tasks(actor, tuple(references), count)
            )

    def _new_tasks(self, actor: Actor, references: Sequence[str], count: int) -> tuple[NewTask, ...]:
        now_s = self.core.clock()
        with self.core.db.begin() as work:
            tasks = [
                self._task(work, actor, reference, now_s)
                for reference in dict.fromkeys(references)
                for _ in range(count)
            ]
            tasks = _with_own_names(work, tasks)
            for params, new in tasks:
                work.audit.append(
                    actor=actor.name,
                    action="image.publish",
                    subject=new.subjects[0],
                    details={
                        "template": params.image.template_name,
                        "revision": params.image.template_revision,
                    },
                )
        return tuple(new for _, new in tasks)

    def _task(
        self, work: UnitOfWork, actor: Actor, reference: str, now_s: float
    ) -> tuple[PublishTask, NewTask]:
        template = work.templates.by_reference(reference)
        found = resolve_site(work, template.configuration_id)
        # The configuration may have been changed since.
        check_disk(template.disk_format, template.size_bytes, template.keep_last, found)
        recipe = template_recipe(work, template, found.site)
        site = replace(found.site, disk_format=template.disk_format)
        image = ImageRecord(
            id=new_id(),
            name=f"{template.name} {datetime.fromtimestamp(now_s).astimezone():%Y-%m-%d %H-%M-%S}",
            template_id=template.id,
            template_name=template.name,
            template_revision=template.revision,
            configuration_id=found.record.id,
            agent_id=site.agent_id,
            storage_path=site.storage_path,
            version_ids=tuple(item.version.id for item in template_stack(work, template)),
            generation=site.generation,
            disk_format=template.disk_format,
            state=ImageState.PUBLISHING,
            created_s=now_s,
        )
        params = PublishTask(
            site=site,
            image=image,
            recipe=recipe,
            disk_name=template.disk_name,
            boot_test=template.boot_test,
            keep_last=template.keep_last,
        )
        new = NewTask(
            id=new_id(),
            kind=TaskKind.PUBLISH_IMAGE,
            subjects=(
                Subject(SubjectKind.IMAGE, image.id, image.name),
                subject(template),
                Subject(SubjectKind.CONFIGURATION, found.record.id, found.record.name),
            ),
            params=pack(params),
            requested_by=actor.name,
            lane=found.record.id,
        )
        return params, new


def subject(template: TemplateRecord) -> Subject:
    """Return a template as tasks and audit name it."""
    return Subject(SubjectKind.TEMPLATE, template.id, template.name)


def _with_own_names(
    work: UnitOfWork, tasks: Sequence[tuple[PublishTask, NewTask]]
) -> list[tuple[PublishTask, NewTask]]:
    """Give images of the same second names of their own: `… (2)`."""
    open_tasks = work.tasks.list(
        TaskFilter(
            frozenset(s for s in TaskState if not s.ended), frozenset({TaskKind.PUBLISH_IMAGE}), limit=_ALL
        )
    )
    # An image is recorded when its task begins; until then its name is that of the task's main subject.
    names = (*(image.name for image in work.images.all()), *(task.subjects[0].name for task in open_tasks))
    taken = {comparable_name(name) for name in names}
    found: list[tuple[PublishTask, NewTask]] = []
    for params, new in tasks:
        name, number = params.image.name, 1
        while comparable_name(name) in taken:
            number += 1
            name = f"{params.image.name} ({number})"
        taken.add(comparable_name(name))
        named = replace(params, image=replace(params.image, name=name))
        first = replace(new.subjects[0], name=name)
        found.append((named, replace(new, params=pack(named), subjects=(first, *new.subjects[1:]))))
    return found


def _view(work: UnitOfWork, template: TemplateRecord) -> TemplateView:
    return _views(work, [template])[0]


def _views(work: UnitOfWork, templates: Sequence[TemplateRecord]) -> tuple[TemplateView, ...]:
    configurations = work.configurations.names([template.configuration_id for template in templates])
    called = work.versions.called([v for template in templates for v in template.version_ids])
    tallies = work.images.tallies([template.id for template in templates])
    return tuple(
        TemplateView(
            template,
            configurations.get(template.configuration_id, ""),
            tuple(called.get(version_id, version_id) for version_id in template.version_ids),
            tallies[template.id].published,
            tallies[template.id].last_s,
        )
        for template in templates
    )
