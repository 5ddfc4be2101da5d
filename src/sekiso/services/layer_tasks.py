"""Starts the tasks that make layers: import, create, add a version, finalize, discard (LY-1, LY-2, LY-3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sekiso.agent.contract import DiskRecipe, SourceDisk
from sekiso.errors import AlreadyExistsError, NotFoundError, RuleError
from sekiso.guests.booting import Generalization
from sekiso.model.layer import LayerKind
from sekiso.model.library import LayerRecord, Role, VersionRecord, VersionState
from sekiso.model.machine import Generation
from sekiso.model.task import NewTask, Subject, SubjectKind, TaskFilter, TaskKind, TaskRecord, TaskState
from sekiso.services.core import Actor, new_id, require
from sekiso.services.layers import (
    LayerLibrary,
    check_icon,
    check_priority,
    refuse_held,
    require_free_name,
    subject,
    version_subject,
)
from sekiso.services.library_rules import (
    StackedVersion,
    check_name,
    check_notes,
    check_stack,
    in_merge_order,
    require_kind,
    stacked,
)
from sekiso.services.sites import ResolvedSite, resolve_site
from sekiso.store.database.api import UnitOfWork
from sekiso.tasks.flows.keeping import VersionNotReadyError
from sekiso.tasks.flows.params import (
    CreateLayerTask,
    DiscardTask,
    FinalizeTask,
    ImportOsTask,
    Site,
    pack,
    unpack,
)

_UPLOAD_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class ImportOs:
    """An operating system to import.

    Attributes:
        configuration: connector configuration whose agent has it.
        source: a disk file there, or a machine that is off.
        name: name of the OS layer; with the name of one that exists, a version is added to it.
        version: name of the version.
        guest_tools: whether Sekiso's guest tools are added.
        notes: notes of a new layer.
        icon: icon of a new layer.
    """

    configuration: str
    source: SourceDisk
    name: str
    version: str
    guest_tools: bool = True
    notes: str = ""
    icon: str = ""


@dataclass(frozen=True, slots=True)
class CreateLayer:
    """A platform or app layer to make on a packaging machine.

    Attributes:
        kind: platform or app.
        name: name of the layer.
        version: name of its first version.
        configuration: connector configuration to make the machine through.
        os_version_id: version of the OS layer it is made on.
        prerequisite_version_ids: versions of app layers that have to be there.
        notes: notes.
        icon: icon.
        priority: merge order among app layers; None = above all others.
        run_once_upload_id: uploaded script that installs by itself; None = a person does.
        auto_finalize: finalize when the machine has shut down with nothing pending; None = with offload.
    """

    kind: LayerKind
    name: str
    version: str
    configuration: str
    os_version_id: str
    prerequisite_version_ids: tuple[str, ...] = ()
    notes: str = ""
    icon: str = ""
    priority: int | None = None
    run_once_upload_id: str | None = None
    auto_finalize: bool | None = None


@dataclass(frozen=True, slots=True)
class AddVersion:
    """A version to add to a layer, made on a packaging machine.

    Attributes:
        name: name of the version.
        configuration: connector configuration to make the machine through; its generation is the version's.
        from_version_id: version that it continues; None = the newest deployable one.
        os_version_id: version of the OS layer that it is made on; None = as for the version it continues.
        prerequisite_version_ids: versions of app layers that have to be there; None = likewise.
        notes: notes.
        run_once_upload_id: uploaded script that installs by itself; None = a person does.
        auto_finalize: as for `CreateLayer`.
    """

    name: str
    configuration: str
    from_version_id: str | None = None
    os_version_id: str | None = None
    prerequisite_version_ids: tuple[str, ...] | None = None
    notes: str = ""
    run_once_upload_id: str | None = None
    auto_finalize: bool | None = None


class LayerTasks(LayerLibrary):
    """Layers and their versions, and the tasks that make them."""

    def import_os(self, actor: Actor, wish: ImportOs) -> TaskRecord:
        """Import an operating system as an OS layer (LY-1).

        Raises:
            NotFoundError: there is no such configuration.
            ConfigurationInvalidError: the configuration does not work (any more).
            RuleError: a value cannot be used.
            AlreadyExistsError: the layer has a version of that name.
        """
        require(actor, Role.LAYER_MANAGER)
        if (wish.source.disk_path is None) == (wish.source.machine is None):
            raise RuleError(
                field="source",
                reason="The source is either a disk file or a machine.",
                remedy="Give one of both.",
            )
        now_s = self.core.clock()
        with self.core.db.begin() as work:
            site = resolve_site(work, wish.configuration).site
            known = find_layer(work, LayerKind.OS, wish.name)
            layer = known or LayerRecord(
                id=new_id(),
                kind=LayerKind.OS,
                name=check_name("name", wish.name),
                notes=check_notes(wish.notes),
                icon=check_icon(wish.icon),
                priority=0,
                family=None,
                os_layer_id=None,
                created_s=now_s,
            )
            version = VersionRecord(
                id=new_id(),
                layer_id=layer.id,
                name=require_free_name(work, layer, wish.version),
                notes="",
                state=VersionState.EDITING,
                generation=site.generation,
                created_s=now_s,
            )
            details = {"configuration": wish.configuration, "version": wish.version}
            work.audit.append(
                actor=actor.name, action="layer.import-os", subject=subject(layer), details=details
            )
        params = ImportOsTask(site, layer, known is None, version, wish.source, wish.guest_tools)
        return self._start(actor, TaskKind.IMPORT_OS, layer, version, pack(params), site)

    def create(self, actor: Actor, wish: CreateLayer) -> TaskRecord:
        """Make a platform or app layer on a packaging machine (LY-2).

        Raises:
            NotFoundError: there is no such configuration or version.
            ConfigurationInvalidError: the configuration does not work (any more).
            VersionNotReadyError: a version it is made on is not deployable.
            RuleError: a value cannot be used, or the layers do not go together.
            AlreadyExistsError: there is such a layer.
        """
        require(actor, Role.LAYER_MANAGER)
        if wish.kind is LayerKind.OS:
            raise RuleError(
                field="kind",
                reason="OS layers are imported, not made on a packaging machine.",
                remedy="Import the operating system.",
            )
        now_s = self.core.clock()
        self._check_upload(wish.run_once_upload_id)
        with self.core.db.begin() as work:
            found = resolve_site(work, wish.configuration)
            base = base_of(work, wish.os_version_id, wish.prerequisite_version_ids)
            if find_layer(work, wish.kind, wish.name) is not None:
                raise AlreadyExistsError(
                    what="The layer", name=wish.name, remedy="Add a version to it, or choose another name."
                )
            layer = LayerRecord(
                id=new_id(),
                kind=wish.kind,
                name=check_name("name", wish.name),
                notes=check_notes(wish.notes),
                icon=check_icon(wish.icon),
                priority=_priority(work, wish),
                family=base[0].layer.family,
                os_layer_id=base[0].layer.id,
                created_s=now_s,
            )
            version = _version(layer, check_name("version", wish.version), "", found, base, None, now_s)
            details = {"version": wish.version, "configuration": found.record.name}
            work.audit.append(
                actor=actor.name, action="layer.create", subject=subject(layer), details=details
            )
        params = CreateLayerTask(
            site=found.site,
            layer=layer,
            new_layer=True,
            version=version,
            recipe=_recipe(found.site, base),
            machine_name=_machine_name(layer, version),
            run_once=wish.run_once_upload_id,
            auto_finalize=found.site.offload if wish.auto_finalize is None else wish.auto_finalize,
        )
        return self._start(actor, TaskKind.CREATE_LAYER, layer, version, pack(params), found.site)

    def add_version(self, actor: Actor, reference: str, wish: AddVersion) -> TaskRecord:
        """Begin a new version of a layer on a packaging machine (LY-3).

        A configuration of generation 2 gives an OS layer of generation 1 its generation 2 version.

        Raises:
            NotFoundError, AmbiguousNameError: there is no such layer, version or configuration.
            ConfigurationInvalidError: the configuration does not work (any more).
            VersionNotReadyError: the layer has no deployable version, or one it is made on is not.
            RuleError: a value cannot be used, or the layers do not go together.
            AlreadyExistsError: the layer has a version of that name.
        """
        require(actor, Role.LAYER_MANAGER)
        now_s = self.core.clock()
        self._check_upload(wish.run_once_upload_id)
        with self.core.db.begin() as work:
            found = resolve_site(work, wish.configuration)
            layer = work.layers.by_reference(reference)
            name = require_free_name(work, layer, wish.name)
            previous = previous_of(work, layer, wish.from_version_id)
            base = base_of_version(work, layer, previous, wish)
            version = _version(layer, name, wish.notes, found, base, previous, now_s)
            recipe = _recipe(found.site, (*base, previous))
            details = {"version": name, "from": previous.version.name, "configuration": found.record.name}
            work.audit.append(
                actor=actor.name,
                action="layer.add-version",
                subject=version_subject(layer, version),
                details=details,
            )
        params = CreateLayerTask(
            site=found.site,
            layer=layer,
            new_layer=False,
            version=version,
            recipe=recipe,
            machine_name=_machine_name(layer, version),
            run_once=wish.run_once_upload_id,
            auto_finalize=found.site.offload if wish.auto_finalize is None else wish.auto_finalize,
        )
        return self._start(actor, TaskKind.CREATE_LAYER, layer, version, pack(params), found.site)

    def finalize(
        self, actor: Actor, version_id: str, *, override_gate: bool = False, task_id: str | None = None
    ) -> TaskRecord:
        """Turn the changes on a packaging disk into a deployable version (LY-2).

        Args:
            actor: who asks.
            version_id: the version.
            override_gate: finalize although the guest reported unfinished work (LY-8).
            task_id: identifier of the task; a fresh one when left out.

        Raises:
            NotFoundError: there is no such version.
            VersionNotReadyError: its packaging machine is not there, or was finalized already.
            BusyError: a task works on it.
        """
        require(actor, Role.LAYER_MANAGER)
        creation = self.creation_of(version_id)
        made = unpack(creation.params, CreateLayerTask)
        with self.core.db.begin() as work:
            version = work.versions.get(version_id)
            layer = work.layers.get(version.layer_id)
            refuse_held(work, layer, version)
            if version.state not in (VersionState.EDITING, VersionState.FINALIZABLE) or not version.packaging:
                raise VersionNotReadyError(
                    layer=layer.name,
                    version=version.name,
                    state=version.state.value,
                    needed=VersionState.FINALIZABLE.value,
                )
            previous = version.previous_version_id
            previous_identity = work.versions.get(previous).identity if previous is not None else None
            details = {"override_gate": override_gate}
            work.audit.append(
                actor=actor.name,
                action="layer-version.finalize",
                subject=version_subject(layer, version),
                details=details,
            )
        params = FinalizeTask(
            site=made.site,
            version_id=version.id,
            create_task_id=creation.id,
            layer_name=layer.name,
            version_name=version.name,
            kind=layer.kind,
            base=made.recipe.identities,
            previous=previous_identity,
            recipe=made.recipe,
            ignore_gate=override_gate,
        )
        return self._start(
            actor, TaskKind.FINALIZE_LAYER, layer, version, pack(params), made.site, task_id=task_id
        )

    def discard(self, actor: Actor, version_id: str) -> TaskRecord:
        """Give a version that is being edited up; its packaging machine and disks go.

        Raises:
            NotFoundError: there is no such version.
            VersionNotReadyError: it is not being edited.
            BusyError: a task works on it.
        """
        require(actor, Role.LAYER_MANAGER)
        with self.core.db.begin() as work:
            version = work.versions.get(version_id)
            layer = work.layers.get(version.layer_id)
            refuse_held(work, layer, version)
            if version.state not in (VersionState.EDITING, VersionState.FINALIZABLE, VersionState.BROKEN):
                raise VersionNotReadyError(
                    layer=layer.name,
                    version=version.name,
                    state=version.state.value,
                    needed=VersionState.EDITING.value,
                )
            work.audit.append(
                actor=actor.name, action="layer-version.discard", subject=version_subject(layer, version)
            )
        for task in self._creations(version_id):
            if task.state is TaskState.ACTION_REQUIRED:
                return self.core.tasks.cancel(task.id)
        return self._start(
            actor, TaskKind.DISCARD_PACKAGING, layer, version, pack(DiscardTask(version_id)), None
        )

    def creation_of(self, version_id: str) -> TaskRecord:
        """Return the task that made the packaging machine of a version.

        Raises:
            NotFoundError: there is none.
        """
        found = self._creations(version_id)
        if not found:
            raise NotFoundError(
                what="The packaging machine of the version",
                name=version_id,
                remedy="Versions that were imported have none.",
            )
        return found[0]

    def _creations(self, version_id: str) -> Sequence[TaskRecord]:
        which = TaskFilter(kinds=frozenset({TaskKind.CREATE_LAYER}), subject_id=version_id)
        with self.core.db.begin() as work:
            return work.tasks.list(which)

    def _check_upload(self, upload_id: str | None) -> None:
        if upload_id is None:
            return
        # Before it becomes part of a path: uploads have the identifiers that the appliance gave them.
        known = _UPLOAD_ID.fullmatch(upload_id) is not None
        if not known or not (self.core.state / "uploads" / f"{upload_id}.tar").is_file():
            raise NotFoundError(what="The upload", name=upload_id, remedy="Upload the files again.")

    def _start(
        self,
        actor: Actor,
        kind: TaskKind,
        layer: LayerRecord,
        version: VersionRecord,
        params: dict[str, object],
        site: Site | None,
        *,
        task_id: str | None = None,
    ) -> TaskRecord:
        subjects = [version_subject(layer, version), subject(layer)]
        if site is not None:
            with self.core.db.read() as work:
                found = work.configurations.find(site.configuration_id)
            name = found.name if found is not None else ""
            subjects.append(Subject(SubjectKind.CONFIGURATION, site.configuration_id, name))
        return self.core.tasks.start(
            NewTask(
                id=task_id or new_id(),
                kind=kind,
                subjects=tuple(subjects),
                params=params,
                requested_by=actor.name,
                lane=site.configuration_id if site is not None else "",
            )
        )


def find_layer(work: UnitOfWork, kind: LayerKind, name: str) -> LayerRecord | None:
    """Return the layer of a kind that has a name, or None."""
    try:
        return work.layers.by_reference(name, kind)
    except NotFoundError:
        return None


def base_of(work: UnitOfWork, os_version_id: str, prerequisites: Sequence[str]) -> tuple[StackedVersion, ...]:
    """Return what a layer is made on, in merge order.

    Raises:
        NotFoundError: there is no such version.
        VersionNotReadyError: a version is not deployable.
        RuleError: they do not go together.
    """
    items = [
        require_kind("os_version_id", stacked(work, os_version_id), LayerKind.OS),
        *(
            require_kind("prerequisite_version_ids", stacked(work, version_id), LayerKind.APP)
            for version_id in prerequisites
        ),
    ]
    check_stack(items, field="prerequisite_version_ids")
    return in_merge_order(items)


def previous_of(work: UnitOfWork, layer: LayerRecord, version_id: str | None) -> StackedVersion:
    """Return the version that a new one continues; None = the newest deployable one.

    Raises:
        NotFoundError: there is no such version.
        VersionNotReadyError: it is not deployable, or the layer has none that is.
        RuleError: it belongs to another layer.
    """
    if version_id is not None:
        found = stacked(work, version_id)
        if found.layer.id != layer.id:
            raise RuleError(
                field="from_version_id",
                reason="The version belongs to another layer.",
                remedy=f"Choose a version of {layer.name}.",
            )
        return found
    ready = [v for v in work.versions.of_layer(layer.id) if v.state is VersionState.DEPLOYABLE]
    if not ready:
        raise VersionNotReadyError(
            layer=layer.name, version="", state="absent", needed=VersionState.DEPLOYABLE.value
        )
    return StackedVersion(layer, ready[-1])


def base_of_version(
    work: UnitOfWork, layer: LayerRecord, previous: StackedVersion, wish: AddVersion
) -> tuple[StackedVersion, ...]:
    """Return what a new version of a layer is made on, besides the version it continues, in merge order.

    Raises:
        NotFoundError: there is no such version.
        VersionNotReadyError: a version is not deployable.
        RuleError: they do not go together.
    """
    if layer.kind is LayerKind.OS:
        if wish.os_version_id is not None or wish.prerequisite_version_ids:
            raise RuleError(
                field="prerequisite_version_ids",
                reason="A version of an OS layer is made on that layer alone.",
                remedy="Leave OS version and prerequisites out.",
            )
        return ()
    inherited = previous.version.base_version_ids
    os_version = wish.os_version_id or (inherited[0] if inherited else "")
    wanted = wish.prerequisite_version_ids
    prerequisites = inherited[1:] if wanted is None else wanted
    base = base_of(work, os_version, prerequisites)
    if base[0].layer.id != layer.os_layer_id:
        raise RuleError(
            field="os_version_id",
            reason=f"The layer {layer.name} was made on another OS layer.",
            remedy="Choose a version of that OS layer.",
        )
    check_stack((*base, previous), field="prerequisite_version_ids")
    return base


def _version(
    layer: LayerRecord,
    name: str,
    notes: str,
    found: ResolvedSite,
    base: Sequence[StackedVersion],
    previous: StackedVersion | None,
    now_s: float,
) -> VersionRecord:
    return VersionRecord(
        id=new_id(),
        layer_id=layer.id,
        name=name,
        notes=check_notes(notes),
        state=VersionState.EDITING,
        generation=Generation(found.site.generation),
        base_version_ids=tuple(item.version.id for item in base),
        previous_version_id=previous.version.id if previous is not None else None,
        created_s=now_s,
    )


def _recipe(site: Site, items: Sequence[StackedVersion]) -> DiskRecipe:
    return DiskRecipe(
        identities=tuple(item.identity for item in items),
        generation=site.generation,
        disk_format=site.disk_format,
        generalization=Generalization.NONE,
        # From the layers alone, so that the next packaging machine on them finds the disk in the cache.
        created_s=int(max(item.version.created_s for item in items)),
        title=items[0].layer.name,
    )


def _priority(work: UnitOfWork, wish: CreateLayer) -> int:
    if wish.priority is not None:
        return check_priority(wish.kind, wish.priority)
    return work.layers.next_priority() if wish.kind is LayerKind.APP else 0


def _machine_name(layer: LayerRecord, version: VersionRecord) -> str:
    # Part of the identifier: names of machines are unique on a host that several appliances may use.
    return f"{layer.name} {version.name} {version.id[:8]}"
