"""The flow `finalize-layer`: what changed on a packaging disk becomes a deployable version (LY-2, LY-8)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sekiso.agent.contract import (
    CaptureLayerParams,
    FileFacts,
    FreezePackagingParams,
    LayerMade,
    PackagingParams,
    PackagingStatesParams,
    RemoveLayersParams,
)
from sekiso.compositing.jobs import CaptureJob, SquashJob, run_job
from sekiso.errors import Family, SekisoError
from sekiso.hypervisors.facts import MachineState
from sekiso.model.layer import LayerKind
from sekiso.model.library import VersionRecord, VersionState
from sekiso.model.task import TaskKind
from sekiso.store.layer_file import Compression
from sekiso.tasks.flows.deps import Deps, tried, unless_gone
from sekiso.tasks.flows.disks import compose_here
from sekiso.tasks.flows.keeping import (
    VersionNotReadyError,
    forget_agent_layer,
    forget_kept,
    keep_layer,
    let_go,
)
from sekiso.tasks.flows.moving import describe, receive
from sekiso.tasks.flows.params import FinalizeTask, pack, unpack
from sekiso.tasks.port import Flow, FlowContext, Step, StepResult


class MachineRunningError(SekisoError):
    """A packaging machine still runs. Params: machine (the layer), state."""

    code = "packaging.running"
    family = Family.CONFLICT
    brief = "The packaging machine of {machine} has not shut down."
    why = "Its state is {state}; its disk can be captured only when it is off."
    resolution = "Shut it down in the guest, then finalize again."


class PendingWorkError(SekisoError):
    """The integrity gate of a packaging machine found unfinished work (LY-8). Params: machine, reason."""

    code = "packaging.pending"
    family = Family.GUEST
    brief = "Something is unfinished in the packaging machine of {machine}."
    why = "{reason}"
    resolution = (
        "Start the machine and let it finish, then shut it down; or finalize with the gate overridden."
    )


def finalize_layer_flow(deps: Deps) -> Flow:
    """Return the flow; with offload the agent captures, without it the packaging disk travels."""

    def task(ctx: FlowContext) -> FinalizeTask:
        return unpack(ctx.task.params, FinalizeTask)

    def prepare(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        with deps.db.begin() as work:
            version = work.versions.hold(asked.version_id, ctx.task.id)
            if version.state is VersionState.DEPLOYABLE or version.packaging is None:
                raise VersionNotReadyError(
                    layer=asked.layer_name,
                    version=asked.version_name,
                    state=version.state.value,
                    needed=VersionState.FINALIZABLE.value,
                )
            work.versions.replace(replace(version, state=VersionState.FINALIZING))
        return {}

    def check(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        params = PackagingStatesParams(asked.site.storage_path, (asked.version_id,))
        state = deps.ask(ctx, asked.site, "packaging.states", params).states[0]
        if state.state != MachineState.OFF:
            raise MachineRunningError(machine=asked.layer_name, state=state.state or "absent")
        unfinished = [*state.gate, *state.run_once_running, *state.run_once_failed]
        if unfinished and not asked.ignore_gate:
            raise PendingWorkError(machine=asked.layer_name, reason="; ".join(unfinished))
        if asked.create_task_id:
            deps.settle(asked.create_task_id)
        return {"gate": list(state.gate)}

    def capture_there(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        params = CaptureLayerParams(
            storage_path=asked.site.storage_path,
            task_id=ctx.task.id,
            version_id=asked.version_id,
            base=asked.base,
            name=asked.layer_name,
            version=asked.version_name,
            kind=_delta_kind(asked),
            ignore_gate=asked.ignore_gate,
        )
        return pack(deps.call(ctx, asked.site, "layer.capture", params))

    def freeze(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        params = FreezePackagingParams(asked.site.storage_path, asked.version_id)
        return pack(deps.call(ctx, asked.site, "packaging.freeze", params))

    def send(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        if asked.site.offload:
            facts = describe(ctx, deps, asked.site, unpack(dict(ctx.results["capture"]), LayerMade).path)
            return {"wire_bytes": receive(ctx, deps, asked.site, facts, delta(ctx))}
        facts = unpack(dict(ctx.results["freeze"]), FileFacts)
        target = deps.scratch(ctx) / f"packaging{Path(facts.path).suffix}"
        return {"wire_bytes": receive(ctx, deps, asked.site, facts, target), "name": target.name}

    def boot_disk(ctx: FlowContext) -> StepResult:
        return compose_here(ctx, deps, task(ctx).recipe)

    def capture_here(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        scratch = deps.scratch(ctx)
        delta(ctx).unlink(missing_ok=True)
        job = CaptureJob(
            packaging_disk=str(scratch / ctx.results["send"]["name"]),
            boot_disk=str(scratch / ctx.results["boot-disk"]["name"]),
            base=tuple(str(deps.layers.path(identity)) for identity in asked.base),
            out=str(delta(ctx)),
            name=asked.layer_name,
            version=asked.version_name,
            kind=_delta_kind(asked),
            compression=Compression.XPRESS,
            ignore_gate=asked.ignore_gate,
        )
        return pack(run_job(job, progress=ctx.progress))

    def squash(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        out = deps.scratch(ctx) / "layer.wim"
        out.unlink(missing_ok=True)
        job = SquashJob(
            previous=str(deps.layers.path(asked.previous or "")),
            delta=str(delta(ctx)),
            out=str(out),
            name=asked.layer_name,
            version=asked.version_name,
            compression=Compression.XPRESS,
            generation=asked.site.generation if asked.kind is LayerKind.OS else None,
            base=tuple(str(deps.layers.path(i)) for i in asked.base if i != asked.previous),
        )
        return pack(run_job(job, progress=ctx.progress))

    def keep(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        file = deps.scratch(ctx) / "layer.wim" if asked.previous is not None else delta(ctx)
        return keep_layer(deps, file, asked.version_id)

    def clean(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        params = PackagingParams(asked.site.storage_path, asked.version_id)
        deps.ask(ctx, asked.site, "packaging.remove", params)
        _forget_machine(deps, asked.version_id)
        if asked.previous is not None and "capture" in ctx.results:
            identity = unpack(dict(ctx.results["capture"]), LayerMade).identity
            removal = RemoveLayersParams(asked.site.storage_path, (identity,))
            tried(ctx, lambda: deps.tell(asked.site, "layers.remove", removal))
        tried(ctx, lambda: deps.clean_up(ctx, asked.site))
        return {"version_id": asked.version_id, "identity": ctx.results["keep"]["identity"]}

    def undo(ctx: FlowContext, _reason: str) -> None:
        # The packaging machine and its disk hold a person's work: they stay until the version has it.
        asked = task(ctx)
        version = _version_again(ctx, deps, asked.version_id)
        if version is not None and version.state is VersionState.DEPLOYABLE:
            params = PackagingParams(asked.site.storage_path, asked.version_id)
            unless_gone(ctx, lambda: deps.tell(asked.site, "packaging.remove", params))
            _forget_machine(deps, asked.version_id)
        forget_kept(ctx, deps)
        if "capture" in ctx.results and asked.site.offload:
            made = unpack(dict(ctx.results["capture"]), LayerMade)
            forget_agent_layer(ctx, deps, asked.site, made.identity)
        tried(ctx, lambda: deps.clean_up(ctx, asked.site, limit_s=0.0))

    def ended(ctx: FlowContext, _state: str) -> None:
        let_go(deps, ctx, task(ctx).version_id)

    def delta(ctx: FlowContext) -> Path:
        return deps.scratch(ctx) / "delta.wim"

    def offload(ctx: FlowContext) -> bool:
        return task(ctx).site.offload

    def no_offload(ctx: FlowContext) -> bool:
        return not offload(ctx)

    steps = (
        Step("prepare", "Preparing", 1, prepare),
        Step("check", "Checking the packaging machine", 1, check),
        Step("capture", "Capturing the changes at the agent", 40, capture_there, offload),
        Step("freeze", "Examining the packaging disk", 5, freeze, no_offload),
        Step("send", "Copying to the appliance", 25, send),
        Step("boot-disk", "Composing the boot disk", 25, boot_disk, no_offload),
        Step("capture-here", "Capturing the changes", 20, capture_here, no_offload),
        Step(
            "squash",
            "Joining the changes with the previous version",
            20,
            squash,
            lambda ctx: task(ctx).previous is not None,
        ),
        Step("keep", "Keeping the layer", 4, keep),
        Step("clean", "Removing the packaging machine", 4, clean),
    )
    return Flow(TaskKind.FINALIZE_LAYER, steps, undo, ended)


def _version_again(ctx: FlowContext, deps: Deps, version_id: str) -> VersionRecord | None:
    """Have a version finalizable again that this task has begun to finalize.

    Returns:
        The version; None if it is gone or another task works on it.
    """
    with deps.db.begin() as work:
        version = work.versions.find(version_id)
        if version is None or version.holder_task_id != ctx.task.id:
            return None
        if version.state is VersionState.FINALIZING:
            version = replace(version, state=VersionState.FINALIZABLE)
            work.versions.replace(version)
        return version


def _forget_machine(deps: Deps, version_id: str) -> None:
    with deps.db.begin() as work:
        version = work.versions.get(version_id)
        work.versions.replace(replace(version, packaging=None))


def _delta_kind(asked: FinalizeTask) -> LayerKind:
    # The changes to an OS layer are no OS layer of their own: they become one with the previous version.
    return LayerKind.APP if asked.kind is LayerKind.OS else asked.kind
