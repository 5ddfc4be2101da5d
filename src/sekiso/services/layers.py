"""Layers and their versions: what is shown of them, and every change that needs no agent (LY-2 … LY-7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sekiso.compositing.jobs import (
    ConflictsJob,
    ConflictsSummary,
    DiffLayersJob,
    DiffSummary,
    FilesSummary,
    ListFilesJob,
    run_job,
)
from sekiso.errors import AlreadyExistsError, BusyError, InUseError, RuleError
from sekiso.model.layer import LayerKind
from sekiso.model.library import LayerRecord, Role, VersionRecord, VersionState
from sekiso.model.listing import LayerFilter
from sekiso.model.paging import EVERYTHING
from sekiso.model.task import NewTask, Subject, SubjectKind, TaskKind, TaskRecord
from sekiso.services.core import Actor, Core, new_id, require
from sekiso.services.layer_lists import LayerLists, LayerView, VersionView, layer_views, version_views
from sekiso.services.library_rules import (
    check_name,
    check_notes,
    check_stack,
    in_merge_order,
    stacked,
)
from sekiso.store.database.api import UnitOfWork
from sekiso.store.layers import LayerStore
from sekiso.tasks.flows.params import DeleteVersionTask, pack


class LayerLibrary(LayerLists):
    """Layers and their versions."""

    def __init__(self, core: Core, store: LayerStore) -> None:
        """Serve the layers of an appliance.

        Args:
            core: what every service works with.
            store: the layer files.
        """
        super().__init__(core)
        self.store = store

    def get(self, reference: str, kind: LayerKind | None = None) -> LayerView:
        """Return a layer by identifier or name.

        Raises:
            NotFoundError: there is none.
            AmbiguousNameError: layers of several kinds have the name.
        """
        with self.core.db.read() as work:
            return _layer_view(work, work.layers.by_reference(reference, kind))

    def version(self, version_id: str) -> VersionView:
        """Return a version.

        Raises:
            NotFoundError: there is none.
        """
        with self.core.db.read() as work:
            return _version_view(work, work.versions.get(version_id))

    def change(
        self,
        actor: Actor,
        reference: str,
        *,
        name: str | None = None,
        notes: str | None = None,
        icon: str | None = None,
        priority: int | None = None,
    ) -> LayerView:
        """Change what is said of a layer; None leaves as it is (LY-7). Its content never changes.

        Raises:
            NotFoundError, AmbiguousNameError: as for `get`.
            RuleError: a value cannot be used.
            AlreadyExistsError: the name is taken.
        """
        require(actor, Role.LAYER_MANAGER)
        with self.core.db.begin() as work:
            before = work.layers.by_reference(reference)
            after = replace(
                before,
                name=before.name if name is None else check_name("name", name),
                notes=before.notes if notes is None else check_notes(notes),
                icon=before.icon if icon is None else check_icon(icon),
                priority=before.priority if priority is None else check_priority(before.kind, priority),
            )
            work.layers.replace(after)
            changed = {
                key: getattr(after, key)
                for key in ("name", "notes", "icon", "priority")
                if getattr(after, key) != getattr(before, key)
            }
            work.audit.append(
                actor=actor.name, action="layer.change", subject=subject(after), details=changed
            )
            return _layer_view(work, after)

    def clone(self, actor: Actor, reference: str, name: str) -> LayerView:
        """Make a layer with the deployable versions of another; content is shared, nothing is copied (LY-7).

        Raises:
            NotFoundError, AmbiguousNameError: as for `get`.
            RuleError: the name cannot be used.
            AlreadyExistsError: the name is taken.
        """
        require(actor, Role.LAYER_MANAGER)
        now_s = self.core.clock()
        with self.core.db.begin() as work:
            source = work.layers.by_reference(reference)
            if source.kind is LayerKind.OS:
                # What was made on an OS layer names that layer: a second one would have nothing on it.
                raise RuleError(
                    field="layer",
                    reason="An OS layer is not cloned: the layers made on it would stay with the old one.",
                    remedy="Add a version to it instead.",
                )
            copy = replace(
                source,
                id=new_id(),
                name=check_name("name", name),
                priority=work.layers.next_priority() if source.kind is LayerKind.APP else 0,
                created_s=now_s,
            )
            work.layers.add(copy)
            for version in work.versions.of_layer(source.id):
                if version.state is VersionState.DEPLOYABLE:
                    work.versions.add(_copied(version, copy))
            work.audit.append(
                actor=actor.name, action="layer.clone", subject=subject(copy), details={"from": source.name}
            )
            return _layer_view(work, copy)

    def remove_version(self, actor: Actor, version_id: str) -> TaskRecord:
        """Delete a version (LY-4).

        Raises:
            NotFoundError: there is none.
            InUseError: something uses it; names what.
            BusyError: a task works on it.
        """
        require(actor, Role.LAYER_MANAGER)
        with self.core.db.begin() as work:
            version = work.versions.get(version_id)
            layer = work.layers.get(version.layer_id)
            _refuse_used(work, layer, version)
            work.audit.append(
                actor=actor.name, action="layer-version.delete", subject=version_subject(layer, version)
            )
        return self._start_removal(actor, layer, version, with_layer=False)

    def remove(self, actor: Actor, reference: str) -> tuple[TaskRecord, ...]:
        """Delete a layer with all its versions; nothing is deleted if one of them is in use.

        Raises:
            NotFoundError, AmbiguousNameError: as for `get`.
            InUseError: something uses a version, or layers were made on this OS layer; names what.
            BusyError: a task works on a version.
        """
        require(actor, Role.LAYER_MANAGER)
        with self.core.db.begin() as work:
            layer = work.layers.by_reference(reference)
            on_it = [
                other.name for other in work.layers.page(LayerFilter(os_layer_id=layer.id), EVERYTHING).rows
            ]
            if on_it:
                raise InUseError(what="The layer", name=layer.name, users=", ".join(on_it))
            versions = work.versions.of_layer(layer.id)
            for version in versions:
                _refuse_used(work, layer, version)
            if not versions:
                work.layers.remove(layer.id)
            work.audit.append(actor=actor.name, action="layer.delete", subject=subject(layer))
        return tuple(self._start_removal(actor, layer, v, with_layer=True) for v in versions)

    def files(self, version_id: str, path: str = "/", *, limit: int = 1000) -> FilesSummary:
        """Return what a version holds below a path (LY-7).

        Raises:
            NotFoundError: there is no such version or path.
            VersionNotReadyError: it is not deployable.
        """
        return run_job(ListFilesJob(layer=str(self._file(version_id)), path=path, limit=limit))

    def diff(self, left_id: str, right_id: str, *, limit: int = 10_000) -> DiffSummary:
        """Return in what two versions differ (LY-7).

        Raises:
            NotFoundError: there is no such version.
            VersionNotReadyError: one is not deployable.
        """
        left, right = self._file(left_id), self._file(right_id)
        return run_job(DiffLayersJob(left=str(left), right=str(right), limit=limit))

    def conflicts(self, version_ids: Sequence[str]) -> ConflictsSummary:
        """Return the conflicts of a stack of versions, in merge order, before it is published (LY-6).

        Raises:
            NotFoundError: there is no such version.
            VersionNotReadyError: one is not deployable.
            RuleError: they cannot be composed together.
        """
        with self.core.db.begin() as work:
            items = [stacked(work, version_id) for version_id in version_ids]
        check_stack(items, field="version_ids")
        paths = tuple(str(self.store.path(item.identity)) for item in in_merge_order(items))
        return run_job(ConflictsJob(layers=paths))

    def export(self, version_id: str) -> Path:
        """Return the layer file of a version; it is a standard WIM (CC-11).

        Raises:
            NotFoundError: there is no such version.
            VersionNotReadyError: it is not deployable.
        """
        return self._file(version_id)

    def _file(self, version_id: str) -> Path:
        with self.core.db.begin() as work:
            return self.store.path(stacked(work, version_id).identity)

    def _start_removal(
        self, actor: Actor, layer: LayerRecord, version: VersionRecord, *, with_layer: bool
    ) -> TaskRecord:
        return self.core.tasks.start(
            NewTask(
                id=new_id(),
                kind=TaskKind.DELETE_LAYER_VERSION,
                subjects=(version_subject(layer, version), subject(layer)),
                params=pack(DeleteVersionTask(version.id, with_layer)),
                requested_by=actor.name,
            )
        )


def subject(layer: LayerRecord) -> Subject:
    """Return a layer as tasks and audit name it."""
    return Subject(SubjectKind.LAYER, layer.id, layer.name)


def version_subject(layer: LayerRecord, version: VersionRecord) -> Subject:
    """Return a version as tasks and audit name it."""
    return Subject(SubjectKind.LAYER_VERSION, version.id, f"{layer.name} {version.name}")


def require_free_name(work: UnitOfWork, layer: LayerRecord, name: str) -> str:
    """Return the name of a new version if the layer has none of it.

    Raises:
        RuleError: it cannot be used.
        AlreadyExistsError: it is taken.
    """
    check_name("version", name)
    if any(v.name.casefold() == name.casefold() for v in work.versions.of_layer(layer.id)):
        raise AlreadyExistsError(
            what="The layer version", name=f"{layer.name} {name}", remedy="Choose another name."
        )
    return name


def _copied(version: VersionRecord, layer: LayerRecord) -> VersionRecord:
    """Return a version with the content of another, which nothing works on yet."""
    return replace(
        version,
        id=new_id(),
        layer_id=layer.id,
        previous_version_id=None,
        packaging=None,
        holder_task_id=None,
    )


def refuse_held(work: UnitOfWork, layer: LayerRecord, version: VersionRecord) -> None:
    """Refuse a version that a task works on.

    Raises:
        BusyError: one does; names it.
    """
    if version.holder_task_id is None:
        return
    holder = work.tasks.find(version.holder_task_id)
    raise BusyError(
        what="The layer version",
        name=f"{layer.name} {version.name}",
        holder=holder.kind.value if holder is not None else "",
        task=version.holder_task_id,
    )


def _refuse_used(work: UnitOfWork, layer: LayerRecord, version: VersionRecord) -> None:
    users = work.versions.users_of(version.id)
    if users:
        raise InUseError(
            what="The layer version",
            name=f"{layer.name} {version.name}",
            users=", ".join(user.name for user in users),
        )
    if version.packaging is not None:
        raise InUseError(
            what="The layer version",
            name=f"{layer.name} {version.name}",
            users=version.packaging.machine_name,
        )


def check_icon(icon: str) -> str:
    """Return the name of an icon that can be used.

    Raises:
        RuleError: it is too long or has other characters than names of icons have.
    """
    if len(icon) > 64 or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in icon):
        raise RuleError(
            field="icon",
            reason="The name of an icon has at most 64 letters, digits, hyphens, underscores and full stops.",
            remedy="Choose another icon.",
        )
    return icon


def check_priority(kind: LayerKind, priority: int) -> int:
    """Return a priority that layers of a kind can have.

    Raises:
        RuleError: they have none, or it is out of range.
    """
    if kind is not LayerKind.APP:
        raise RuleError(
            field="priority",
            reason="Only app layers have a priority; OS and platform layers have their place.",
            remedy="Leave the priority out.",
        )
    if not 0 <= priority <= 1_000_000:
        raise RuleError(
            field="priority",
            reason="A priority is a whole number from 0 to 1,000,000.",
            remedy="Choose another priority.",
        )
    return priority


def _layer_view(work: UnitOfWork, layer: LayerRecord) -> LayerView:
    return layer_views(work, [layer])[0]


def _version_view(work: UnitOfWork, version: VersionRecord) -> VersionView:
    layer = work.layers.get(version.layer_id)
    return version_views(work, [version], {layer.id: layer})[version.id]
