"""Image templates: the recipes of images, and publishing them (IM-1, IM-2)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sekiso.agent.cache import recipe_key
from sekiso.agent.contract import DiskRecipe
from sekiso.compositing.jobs import PlanJob, PlanSummary, run_job
from sekiso.errors import AlreadyExistsError, RuleError
from sekiso.guests.booting import Generalization
from sekiso.model.layer import LayerKind
from sekiso.model.library import (
    GeneralizationChoice,
    ImageRecord,
    ImageState,
    Role,
    TemplateRecord,
)
from sekiso.model.machine import DiskAllocation, DiskFormat, disk_format_violations
from sekiso.model.names import comparable_name
from sekiso.model.task import NewTask, Subject, SubjectKind, TaskFilter, TaskKind, TaskRecord, TaskState
from sekiso.services.core import Actor, Core, new_id, require
from sekiso.services.library_rules import (
    StackedVersion,
    called,
    check_name,
    check_notes,
    check_stack,
    in_merge_order,
    require_kind,
    stacked,
)
from sekiso.services.sites import ResolvedSite, refuse, resolve_site
from sekiso.store.database.api import UnitOfWork
from sekiso.store.layers import LayerStore
from sekiso.tasks.flows.params import PublishTask, Site, pack

MAX_AT_ONCE = 50
_ALL = 1_000_000
_MIN_DISK_BYTES = 64 << 20
_MAX_VHD_BYTES = 2040 << 30
_MAX_VHDX_BYTES = 64 << 40


@dataclass(frozen=True, slots=True)
class TemplateWish:
    """What an image template is to be; see `TemplateRecord`.

    `configuration` is the identifier or name of the connector configuration; without a `disk_format` it is
    the configuration's.
    """

    name: str
    configuration: str
    os_version_id: str
    app_version_ids: tuple[str, ...] = ()
    platform_version_id: str | None = None
    notes: str = ""
    disk_name: str = "disk"
    disk_format: DiskFormat | None = None
    allocation: DiskAllocation = DiskAllocation.DYNAMIC
    size_bytes: int | None = None
    generalization: GeneralizationChoice = GeneralizationChoice.OFFLINE
    boot_test: bool = False
    keep_last: int | None = None


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


class TemplateService:
    """Image templates."""

    def __init__(self, core: Core, store: LayerStore) -> None:
        """Serve the templates of an appliance.

        Args:
            core: what every service works with.
            store: the layer files.
        """
        self._core, self._store = core, store
        # From the choice of the names of images until their tasks say which they are.
        self._naming = threading.Lock()

    def list(self) -> tuple[TemplateView, ...]:
        """Return every template by name."""
        with self._core.db.begin() as work:
            return tuple(_view(work, template) for template in work.templates.all())

    def get(self, reference: str) -> TemplateView:
        """Return a template by identifier or name.

        Raises:
            NotFoundError: there is none.
        """
        with self._core.db.begin() as work:
            return _view(work, work.templates.by_reference(reference))

    def history(self, reference: str) -> tuple[TemplateRecord, ...]:
        """Return every revision of a template, newest first (IM-1)."""
        with self._core.db.begin() as work:
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
        now_s = self._core.clock()
        with self._core.db.begin() as work:
            template = _checked(work, wish, template_id=new_id(), revision=1, created_s=now_s, now_s=now_s)
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
        with self._core.db.begin() as work:
            before = work.templates.by_reference(reference)
            after = _checked(
                work,
                wish,
                template_id=before.id,
                revision=before.revision + 1,
                created_s=before.created_s,
                now_s=self._core.clock(),
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
        now_s = self._core.clock()
        with self._core.db.begin() as work:
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
        with self._core.db.begin() as work:
            template = work.templates.by_reference(reference)
            for image in work.images.of_template(template.id):
                work.images.replace(replace(image, template_id=None))
            work.templates.remove(template.id)
            work.audit.append(actor=actor.name, action="template.delete", subject=subject(template))

    def preview(self, reference: str) -> PlanSummary:
        """Return the plan of an image: order, conflicts, size, every action with its reason. Nothing is made.

        Raises:
            NotFoundError: there is no such template.
            SekisoError: it cannot be published; the same error that publishing gives.
        """
        with self._core.db.begin() as work:
            template = work.templates.by_reference(reference)
            found = resolve_site(work, template.configuration_id)
            _check_disk(template, found)
            recipe = _recipe(work, template, found.site)
        job = PlanJob(
            layers=tuple(str(self._store.path(identity)) for identity in recipe.identities),
            generation=recipe.generation,
            disk_format=recipe.disk_format,
            allocation=recipe.allocation,
            size_bytes=recipe.size_bytes,
            generalization=recipe.generalization,
            seed=recipe_key(recipe),
            created_s=recipe.created_s,
            title=recipe.title,
        )
        return run_job(job)

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
                self._core.tasks.start(new) for new in self._new_tasks(actor, tuple(references), count)
            )

    def _new_tasks(self, actor: Actor, references: Sequence[str], count: int) -> tuple[NewTask, ...]:
        now_s = self._core.clock()
        with self._core.db.begin() as work:
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
        _check_disk(template, found)  # the configuration may have been changed since
        recipe = _recipe(work, template, found.site)
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
            version_ids=tuple(item.version.id for item in _stack(work, template)),
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


def _checked(
    work: UnitOfWork, wish: TemplateWish, *, template_id: str, revision: int, created_s: float, now_s: float
) -> TemplateRecord:
    found = resolve_site(work, wish.configuration)
    taken = next((t for t in work.templates.all() if t.name.casefold() == wish.name.casefold()), None)
    if taken is not None and taken.id != template_id:
        raise AlreadyExistsError(what="The image template", name=wish.name, remedy="Choose another name.")
    template = TemplateRecord(
        id=template_id,
        name=check_name("name", wish.name),
        notes=check_notes(wish.notes),
        revision=revision,
        configuration_id=found.record.id,
        os_version_id=wish.os_version_id,
        app_version_ids=tuple(wish.app_version_ids),
        platform_version_id=wish.platform_version_id,
        disk_name=check_name("disk_name", wish.disk_name),
        disk_format=wish.disk_format or found.site.disk_format,
        allocation=wish.allocation,
        size_bytes=wish.size_bytes,
        generalization=wish.generalization,
        boot_test=wish.boot_test,
        keep_last=wish.keep_last,
        created_s=created_s,
        changed_s=now_s,
    )
    _check_disk(template, found)
    _stack(work, template)
    return template


def _check_disk(template: TemplateRecord, found: ResolvedSite) -> None:
    site = found.site
    broken = disk_format_violations(site.generation, template.disk_format, offload=site.offload)
    if broken:
        raise refuse(
            broken[0].field, broken[0].code, broken[0].reason, "Choose another disk format or configuration."
        )
    largest = _MAX_VHD_BYTES if template.disk_format is DiskFormat.VHD else _MAX_VHDX_BYTES
    if template.size_bytes is not None and not _MIN_DISK_BYTES <= template.size_bytes <= largest:
        raise RuleError(
            field="size_bytes",
            reason="A VHD has 64 MiB to 2040 GiB, a VHDX 64 MiB to 64 TiB.",
            remedy="Choose another size.",
        )
    if template.keep_last is not None and not 1 <= template.keep_last <= 1000:
        raise RuleError(
            field="keep_last",
            reason="From 1 to 1000 images of a template can be kept.",
            remedy="Choose another number, or leave it out to keep all.",
        )


def _stack(work: UnitOfWork, template: TemplateRecord) -> tuple[StackedVersion, ...]:
    items = [require_kind("os_version_id", stacked(work, template.os_version_id), LayerKind.OS)]
    items += [
        require_kind("app_version_ids", stacked(work, v), LayerKind.APP) for v in template.app_version_ids
    ]
    if template.platform_version_id is not None:
        platform = stacked(work, template.platform_version_id)
        items.append(require_kind("platform_version_id", platform, LayerKind.PLATFORM))
    check_stack(items, field="app_version_ids")
    return in_merge_order(items)


def _recipe(work: UnitOfWork, template: TemplateRecord, site: Site) -> DiskRecipe:
    items = _stack(work, template)
    return DiskRecipe(
        identities=tuple(item.identity for item in items),
        generation=site.generation,
        disk_format=template.disk_format,
        allocation=template.allocation,
        size_bytes=template.size_bytes,
        generalization=Generalization(template.generalization.value),
        # From the layers alone: publishing the template again finds the disk in the cache.
        created_s=int(max(item.version.created_s for item in items)),
        title=template.name,
    )


def _view(work: UnitOfWork, template: TemplateRecord) -> TemplateView:
    configuration = work.configurations.find(template.configuration_id)
    images = work.images.of_template(template.id)
    return TemplateView(
        template,
        configuration.name if configuration is not None else "",
        tuple(called(work, version_id) for version_id in template.version_ids),
        sum(image.state is ImageState.PUBLISHED for image in images),
        max((image.created_s for image in images), default=None),
    )
