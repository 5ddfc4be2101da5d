"""The flows that remove: images, layer versions, and versions that are still being edited (LY-7)."""

from __future__ import annotations

from dataclasses import replace

from sekiso.agent.contract import PackagingParams, RemoveImageParams, RemoveLayersParams
from sekiso.errors import InUseError, NotFoundError
from sekiso.model.library import ImageState, VersionState
from sekiso.model.task import SubjectKind, TaskKind, TaskState
from sekiso.tasks.flows.deps import Deps, patiently, tried, unless_gone
from sekiso.tasks.flows.keeping import VersionNotReadyError, forget_content
from sekiso.tasks.flows.params import DeleteImageTask, DeleteVersionTask, DiscardTask, unpack
from sekiso.tasks.flows.publish_image import picture_path
from sekiso.tasks.port import Flow, FlowContext, Step, StepResult


def delete_image_flow(deps: Deps) -> Flow:
    """Return the flow `delete-image`: machine, disk and record go."""

    def image_id(ctx: FlowContext) -> str:
        return unpack(ctx.task.params, DeleteImageTask).image_id

    def prepare(ctx: FlowContext) -> StepResult:
        with deps.db.begin() as work:
            image = work.images.hold(image_id(ctx), ctx.task.id)
            # Held and in this state already: an earlier attempt of this task has left it so.
            before = ImageState.FAILED if image.state is ImageState.DELETING else image.state
            work.images.replace(replace(image, state=ImageState.DELETING))
        return {"state": before.value}

    def remove(ctx: FlowContext) -> StepResult:
        with deps.db.begin() as work:
            image = work.images.get(image_id(ctx))
        params = RemoveImageParams(image.storage_path, image.id, image.name, image.machine_id)
        command = ctx.command_id("image.remove")

        def give() -> None:
            deps.agents.call(
                image.agent_id, "image.remove", params, command_id=command, progress=ctx.progress
            )

        unless_gone(ctx, lambda: patiently(ctx, give))
        return {"image_id": image.id, "name": image.name}

    def forget(ctx: FlowContext) -> StepResult:
        picture_path(deps.state, image_id(ctx)).unlink(missing_ok=True)
        with deps.db.begin() as work:
            work.images.remove(image_id(ctx))
        return dict(ctx.results["remove"])

    def undo(ctx: FlowContext, reason: str) -> None:
        # Nothing comes back. What the agent has not removed can be removed by another task.
        if "remove" in ctx.results:
            forget(ctx)
        elif "prepare" in ctx.results:
            with deps.db.begin() as work:
                image = work.images.get(image_id(ctx))
                whole = reason == TaskState.CANCELED.value
                state = ImageState(ctx.results["prepare"]["state"]) if whole else ImageState.FAILED
                work.images.replace(replace(image, state=state))

    def ended(ctx: FlowContext, _state: str) -> None:
        with deps.db.begin() as work:
            work.images.let_go(image_id(ctx), ctx.task.id)

    steps = (
        Step("prepare", "Preparing", 1, prepare),
        Step("remove", "Removing machine and disk", 8, remove),
        Step("forget", "Removing the record", 1, forget),
    )
    return Flow(TaskKind.DELETE_IMAGE, steps, undo, ended)


def delete_version_flow(deps: Deps) -> Flow:
    """Return the flow `delete-layer-version`: its file goes at the appliance and at every agent."""

    def asked(ctx: FlowContext) -> DeleteVersionTask:
        return unpack(ctx.task.params, DeleteVersionTask)

    def prepare(ctx: FlowContext) -> StepResult:
        with deps.db.begin() as work:
            version = work.versions.hold(asked(ctx).version_id, ctx.task.id)
            users = [u for u in work.versions.users_of(version.id) if u.kind is not SubjectKind.TASK]
            if users:
                raise InUseError(
                    what="The layer version",
                    name=version.name,
                    users=", ".join(user.name for user in users),
                )
            work.versions.replace(replace(version, state=VersionState.DELETING))
            places = [
                {"agent": c.settings["agent"], "storage_path": c.settings["storage_path"]}
                for c in work.configurations.all()
            ]
        return {"identity": version.identity or "", "places": places}

    def remove(ctx: FlowContext) -> StepResult:
        identity = ctx.results["prepare"]["identity"]
        if not identity or not forget_content(deps, identity):
            return {"version_id": asked(ctx).version_id}
        online = set(deps.agents.online())
        for place in ctx.results["prepare"]["places"]:
            try:
                with deps.db.begin() as work:
                    agent_id = work.agents.by_reference(place["agent"]).id
            except NotFoundError:
                continue
            params = RemoveLayersParams(place["storage_path"], (identity,))
            if agent_id in online:
                tried(ctx, lambda a=agent_id, p=params: deps.agents.call(a, "layers.remove", p))
            else:
                ctx.log(f"The agent {place['agent']} is not connected: its copy of the layer stays there.")
        return {"version_id": asked(ctx).version_id}

    def forget(ctx: FlowContext) -> StepResult:
        with deps.db.begin() as work:
            version = work.versions.find(asked(ctx).version_id)
            if version is not None:
                work.versions.remove(version.id)
                if asked(ctx).with_layer and not work.versions.of_layer(version.layer_id):
                    work.layers.remove(version.layer_id)
        return {"version_id": asked(ctx).version_id}

    def undo(ctx: FlowContext, _reason: str) -> None:
        if "prepare" not in ctx.results:
            return
        with deps.db.begin() as work:
            version = work.versions.find(asked(ctx).version_id)
        if version is None:
            remove(ctx)  # nothing names its file any more
            return
        with deps.db.begin() as work:
            whole = version.identity is not None and deps.layers.exists(version.identity)
            state = VersionState.DEPLOYABLE if whole else VersionState.BROKEN
            work.versions.replace(replace(version, state=state))

    def ended(ctx: FlowContext, _state: str) -> None:
        with deps.db.begin() as work:
            work.versions.let_go(asked(ctx).version_id, ctx.task.id)

    steps = (
        Step("prepare", "Preparing", 1, prepare),
        # The record first: of several versions with one content, the last one to go takes the file along.
        Step("forget", "Removing the record", 1, forget),
        Step("remove", "Removing the layer file", 8, remove),
    )
    return Flow(TaskKind.DELETE_LAYER_VERSION, steps, undo, ended)


def discard_flow(deps: Deps) -> Flow:
    """Return the flow `discard-packaging`: a version under edit goes, with its machine and disks."""

    def version_id(ctx: FlowContext) -> str:
        return unpack(ctx.task.params, DiscardTask).version_id

    def prepare(ctx: FlowContext) -> StepResult:
        with deps.db.begin() as work:
            version = work.versions.hold(version_id(ctx), ctx.task.id)
            if version.state is VersionState.DEPLOYABLE:
                raise VersionNotReadyError(
                    layer=work.layers.get(version.layer_id).name,
                    version=version.name,
                    state=version.state.value,
                    needed=VersionState.EDITING.value,
                )
            work.versions.replace(replace(version, state=VersionState.DELETING))
        return {}

    def remove(ctx: FlowContext) -> StepResult:
        with deps.db.begin() as work:
            packaging = work.versions.get(version_id(ctx)).packaging
        if packaging is not None:
            params = PackagingParams(packaging.storage_path, version_id(ctx))
            agent_id = packaging.agent_id

            def give() -> None:
                deps.agents.call(agent_id, "packaging.remove", params)

            unless_gone(ctx, lambda: patiently(ctx, give))
        return {}

    def forget(ctx: FlowContext) -> StepResult:
        with deps.db.begin() as work:
            version = work.versions.find(version_id(ctx))
            if version is not None:
                work.versions.remove(version.id)
                layer_id = version.layer_id
                if not work.versions.of_layer(layer_id):
                    work.layers.remove(layer_id)
        return {"version_id": version_id(ctx)}

    def undo(ctx: FlowContext, _reason: str) -> None:
        with deps.db.begin() as work:
            version = work.versions.find(version_id(ctx))
            if version is not None and "prepare" in ctx.results:
                work.versions.replace(replace(version, state=VersionState.EDITING))

    def ended(ctx: FlowContext, _state: str) -> None:
        with deps.db.begin() as work:
            work.versions.let_go(version_id(ctx), ctx.task.id)

    steps = (
        Step("prepare", "Preparing", 1, prepare),
        Step("remove", "Removing the packaging machine", 8, remove),
        Step("forget", "Removing the record", 1, forget),
    )
    return Flow(TaskKind.DISCARD_PACKAGING, steps, undo, ended)
