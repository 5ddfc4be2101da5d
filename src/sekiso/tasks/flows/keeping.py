"""Steps that flows share: holding versions, taking a finished layer file into the store, forgetting."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from sekiso.agent.contract import RemoveLayersParams
from sekiso.errors import Family, SekisoError
from sekiso.model.library import LayerRecord, VersionRecord, VersionState
from sekiso.store.database.api import UnitOfWork
from sekiso.store.layer_file import LayerFile
from sekiso.tasks.flows.deps import Deps, tried
from sekiso.tasks.flows.params import Site
from sekiso.tasks.port import FlowContext, StepResult

#: Name of the note in the scratch of a task: the identity of the layer that it has taken into the store.
_KEPT = "kept-identity"


class VersionNotReadyError(SekisoError):
    """A layer version is not in the state that the work needs. Params: layer, version, state, needed."""

    code = "layer-version.not-ready"
    family = Family.CONFLICT
    brief = "Version {version} of the layer {layer} cannot be used for this now."
    why = "It is {state}; it has to be {needed}."
    resolution = "Wait until it is, or choose another version."


def begin_version(ctx: FlowContext, deps: Deps, layer: LayerRecord, version: VersionRecord) -> None:
    """Have a layer and its new version recorded and held by this task; harmless when repeated."""
    with deps.db.begin() as work:
        if work.layers.find(layer.id) is None:
            work.layers.add(layer)
        if work.versions.find(version.id) is None:
            work.versions.add(version)
        for base in version.base_version_ids:
            require_deployable(work, base)
        held = work.versions.hold(version.id, ctx.task.id)
        if held.state is VersionState.DELETING:
            # An attempt before this one could not be undone to its end.
            work.versions.replace(replace(held, state=VersionState.EDITING, packaging=None))


def require_deployable(work: UnitOfWork, version_id: str) -> VersionRecord:
    """Return a version that is deployable.

    Raises:
        NotFoundError: there is no such version.
        VersionNotReadyError: it is in another state.
    """
    version = work.versions.get(version_id)
    if version.state is not VersionState.DEPLOYABLE:
        raise VersionNotReadyError(
            layer=work.layers.get(version.layer_id).name,
            version=version.name,
            state=version.state.value,
            needed=VersionState.DEPLOYABLE.value,
        )
    return version


def begin_removal(ctx: FlowContext, deps: Deps, version_id: str) -> bool:
    """Take a version that was begun out of use, to be removed; harmless when repeated.

    Returns:
        Whether there is one to remove: not if it was never recorded, or is deployable by now.

    Raises:
        BusyError: another task works on it.
    """
    with deps.db.begin() as work:
        version = work.versions.find(version_id)
        if version is None or version.state is VersionState.DEPLOYABLE:
            return False
        held = work.versions.hold(version_id, ctx.task.id)
        work.versions.replace(replace(held, state=VersionState.DELETING))
    return True


def forget_version(deps: Deps, version_id: str, *, new_layer: bool) -> None:
    """Remove the record of a version, and of its layer if that was made with it and has no other."""
    with deps.db.begin() as work:
        version = work.versions.find(version_id)
        if version is None:
            return
        work.versions.remove(version_id)
        if new_layer and not work.versions.of_layer(version.layer_id):
            work.layers.remove(version.layer_id)


def let_go(deps: Deps, ctx: FlowContext, version_id: str) -> None:
    """End the hold of this task on a version."""
    with deps.db.begin() as work:
        work.versions.let_go(version_id, ctx.task.id)


def keep_layer(deps: Deps, file: Path, version_id: str) -> StepResult:
    """Take a layer file into the store and make its version deployable; harmless when repeated.

    Args:
        deps: what flows work with.
        file: the layer file in the scratch; gone if an earlier execution took it.
        version_id: the version that it is.
    """
    identity = _adopt(deps, file)
    with LayerFile(deps.layers.path(identity)) as opened:
        summary = opened.summary()
    with deps.db.begin() as work:
        version = work.versions.get(version_id)
        layer = work.layers.get(version.layer_id)
        boot = summary.manifest.boot
        work.versions.replace(
            replace(
                version,
                state=VersionState.DEPLOYABLE,
                identity=identity,
                file_bytes=summary.file_bytes,
                content_bytes=summary.content_bytes,
                generation=boot.generation if boot is not None else version.generation,
            )
        )
        if layer.family is None:
            work.layers.replace(replace(layer, family=summary.manifest.family))
    return {"identity": identity, "file_bytes": summary.file_bytes, "content_bytes": summary.content_bytes}


def _adopt(deps: Deps, file: Path) -> str:
    """Take a layer file into the store; its identity is noted before the file is gone from where it was."""
    note = file.with_name(_KEPT)
    if not file.exists():
        return note.read_text("ascii")
    with LayerFile(file) as opened:
        identity = opened.manifest.identity
    with note.open("w", encoding="ascii") as stream:
        stream.write(identity)
        stream.flush()
        os.fsync(stream.fileno())
    return deps.layers.adopt(file)


def forget_kept(ctx: FlowContext, deps: Deps) -> None:
    """Remove the layer file that a task has taken into the store, if no version has its content."""
    note = deps.scratch(ctx) / _KEPT
    identity = ctx.results.get("keep", {}).get("identity", "")
    if note.exists():
        identity = note.read_text("ascii")
    if identity:
        forget_content(deps, identity)


def forget_content(deps: Deps, identity: str) -> bool:
    """Remove a layer file from the store if no version has its content; return whether none has."""
    with deps.db.begin() as work:
        if work.versions.by_identity(identity):
            return False
        # Inside the transaction: nothing gets this content between the look and the removal.
        deps.layers.remove(identity)
    return True


def forget_agent_layer(ctx: FlowContext, deps: Deps, site: Site, identity: str) -> None:
    """Remove a layer file at the agent that no version has; what cannot be reached stays there."""
    with deps.db.begin() as work:
        if work.versions.by_identity(identity):
            return
    params = RemoveLayersParams(site.storage_path, (identity,))
    tried(ctx, lambda: deps.tell(site, "layers.remove", params))
