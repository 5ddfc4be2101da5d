"""The flow `create-layer`: from a version that is asked for to its packaging machine that runs (LY-2).

The task then waits for a person; `finalize-layer` goes on from there.
"""

from __future__ import annotations

from dataclasses import replace

from sekiso.agent.contract import ComposeDiskParams, CreatePackagingParams, PackagingParams
from sekiso.agent.run_once import make_run_once_disk
from sekiso.model.library import PackagingFacts
from sekiso.model.task import TaskKind
from sekiso.tasks.flows.deps import Deps, tried, unless_gone
from sekiso.tasks.flows.disks import disk_steps, made_disk
from sekiso.tasks.flows.keeping import begin_removal, begin_version, forget_version, let_go
from sekiso.tasks.flows.moving import send
from sekiso.tasks.flows.params import CreateLayerTask, pack, unpack
from sekiso.tasks.flows.uploads import unpack_run_once
from sekiso.tasks.port import Flow, FlowContext, Step, StepResult


def what_to_do(asked: CreateLayerTask, name: str) -> str:
    """Return what a person has to do while a packaging machine runs."""
    if asked.run_once is None:
        return f"Install what the layer is to hold in the packaging machine {name}, then shut it down."
    if asked.auto_finalize:
        return f"The packaging machine {name} runs its script. It is finalized when it has shut down."
    return f"The packaging machine {name} runs its script. Finalize the layer version when it has shut down."


def create_layer_flow(deps: Deps) -> Flow:
    """Return the flow; the boot disk is composed at the agent with offload, else here, and cached there."""

    def task(ctx: FlowContext) -> CreateLayerTask:
        return unpack(ctx.task.params, CreateLayerTask)

    def prepare(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        begin_version(ctx, deps, asked.layer, asked.version)
        return {}

    def disk_params(ctx: FlowContext) -> ComposeDiskParams:
        asked = task(ctx)
        return ComposeDiskParams(
            storage_path=asked.site.storage_path,
            task_id=ctx.task.id,
            recipe=asked.recipe,
            target="packaging",
            owner_id=asked.version.id,
            cache_bytes=asked.site.cache_bytes,
        )

    def run_once(ctx: FlowContext) -> StepResult:
        disk = deps.scratch(ctx) / "run-once.raw"
        if not disk.exists():
            folder = unpack_run_once(deps.upload(task(ctx).run_once or ""), deps.scratch(ctx) / "run-once")
            make_run_once_disk(folder, disk)
        return pack(send(ctx, deps, task(ctx).site, disk))

    def machine(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        params = CreatePackagingParams(
            storage_path=asked.site.storage_path,
            task_id=ctx.task.id,
            version_id=asked.version.id,
            machine_name=asked.machine_name,
            hardware=asked.site.hardware,
            boot_disk=made_disk(ctx.results).path,
            disk_format=asked.site.disk_format,
            run_once=ctx.results["run-once"]["path"] if "run-once" in ctx.results else None,
        )
        return pack(deps.call(ctx, asked.site, "packaging.create", params))

    def remember(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        made = ctx.results["machine"]
        facts = PackagingFacts(
            configuration_id=asked.site.configuration_id,
            agent_id=asked.site.agent_id,
            storage_path=asked.site.storage_path,
            machine_id=made["machine_id"],
            machine_name=made["machine_name"],
        )
        with deps.db.begin() as work:
            version = work.versions.get(asked.version.id)
            if version.packaging is None:
                work.versions.replace(replace(version, packaging=facts))
            work.versions.let_go(version.id, ctx.task.id)
        tried(ctx, lambda: deps.clean_up(ctx, asked.site))
        return {"version_id": asked.version.id, "layer_id": asked.layer.id, **made}

    def undo(ctx: FlowContext, _reason: str) -> None:
        asked = task(ctx)
        if not begin_removal(ctx, deps, asked.version.id):
            return
        params = PackagingParams(asked.site.storage_path, asked.version.id)
        unless_gone(ctx, lambda: deps.tell(asked.site, "packaging.remove", params))
        tried(ctx, lambda: deps.clean_up(ctx, asked.site, limit_s=0.0))
        forget_version(deps, asked.version.id, new_layer=asked.new_layer)

    def ended(ctx: FlowContext, state: str) -> None:
        asked = task(ctx)
        let_go(deps, ctx, asked.version.id)
        if asked.run_once is not None and state == "complete":
            deps.upload(asked.run_once).unlink(missing_ok=True)

    def waits(ctx: FlowContext) -> str | None:
        return what_to_do(task(ctx), ctx.results["machine"]["machine_name"])

    steps = (
        Step("prepare", "Preparing", 1, prepare),
        *disk_steps(deps, lambda ctx: task(ctx).site, disk_params, keep_layers=True),
        Step(
            "run-once",
            "Preparing the run-once script",
            5,
            run_once,
            lambda ctx: task(ctx).run_once is not None,
        ),
        Step("machine", "Starting the packaging machine", 5, machine),
        Step("remember", "Cleaning up", 1, remember),
    )
    return Flow(TaskKind.CREATE_LAYER, steps, undo, ended, waits)
