"""The flow `import-os`: an operating system at the agent's host becomes an OS layer (LY-1)."""

from __future__ import annotations

from pathlib import Path

from sekiso.agent.contract import FileFacts, ImportOsParams, LayerMade, PackOsParams
from sekiso.compositing.jobs import ImportJob, run_job
from sekiso.model.task import TaskKind
from sekiso.store.layer_file import Compression
from sekiso.tasks.flows.deps import Deps, tried
from sekiso.tasks.flows.keeping import (
    begin_version,
    forget_agent_layer,
    forget_kept,
    forget_version,
    keep_layer,
    let_go,
)
from sekiso.tasks.flows.moving import describe, receive
from sekiso.tasks.flows.params import ImportOsTask, pack, unpack
from sekiso.tasks.port import Flow, FlowContext, Step, StepResult


def import_os_flow(deps: Deps) -> Flow:
    """Return the flow; with offload the agent makes the layer, without it the disk travels."""

    def task(ctx: FlowContext) -> ImportOsTask:
        return unpack(ctx.task.params, ImportOsTask)

    def prepare(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        begin_version(ctx, deps, asked.layer, asked.version)
        return {}

    def import_there(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        params = ImportOsParams(
            storage_path=asked.site.storage_path,
            task_id=ctx.task.id,
            source=asked.source,
            name=asked.layer.name,
            version=asked.version.name,
            guest_tools=asked.guest_tools,
        )
        return pack(deps.call(ctx, asked.site, "os.import", params))

    def pack_disk(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        params = PackOsParams(asked.site.storage_path, ctx.task.id, asked.source)
        return pack(deps.call(ctx, asked.site, "os.pack", params))

    def send(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        if asked.site.offload:
            facts = describe(ctx, deps, asked.site, unpack(dict(ctx.results["import"]), LayerMade).path)
            return {"wire_bytes": receive(ctx, deps, asked.site, facts, _layer_file(ctx))}
        facts = unpack(dict(ctx.results["pack"]), FileFacts)
        return {"wire_bytes": receive(ctx, deps, asked.site, facts, deps.scratch(ctx) / "source.vhdx")}

    def import_here(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        out = _layer_file(ctx)
        out.unlink(missing_ok=True)
        job = ImportJob(
            source=str(deps.scratch(ctx) / "source.vhdx"),
            out=str(out),
            name=asked.layer.name,
            version=asked.version.name,
            guest_tools=asked.guest_tools,
            compression=Compression.XPRESS,
        )
        return pack(run_job(job, progress=ctx.progress))

    def keep(ctx: FlowContext) -> StepResult:
        return keep_layer(deps, _layer_file(ctx), task(ctx).version.id)

    def clean(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        tried(ctx, lambda: deps.clean_up(ctx, asked.site))
        return {"version_id": asked.version.id, "layer_id": asked.layer.id}

    def undo(ctx: FlowContext, _reason: str) -> None:
        asked = task(ctx)
        forget_version(deps, asked.version.id, new_layer=asked.new_layer)
        forget_kept(ctx, deps)
        tried(ctx, lambda: deps.clean_up(ctx, asked.site, limit_s=0.0))
        if "import" in ctx.results and asked.site.offload:
            made = unpack(dict(ctx.results["import"]), LayerMade)
            forget_agent_layer(ctx, deps, asked.site, made.identity)

    def ended(ctx: FlowContext, _state: str) -> None:
        let_go(deps, ctx, task(ctx).version.id)

    def _layer_file(ctx: FlowContext) -> Path:
        return deps.scratch(ctx) / "layer.wim"

    def offload(ctx: FlowContext) -> bool:
        return task(ctx).site.offload

    def no_offload(ctx: FlowContext) -> bool:
        return not offload(ctx)

    steps = (
        Step("prepare", "Preparing", 1, prepare),
        Step("import", "Importing the operating system at the agent", 60, import_there, offload),
        Step("pack", "Packing the disk at the agent", 20, pack_disk, no_offload),
        Step("send", "Copying to the appliance", 30, send),
        Step("import-here", "Importing the operating system", 50, import_here, no_offload),
        Step("keep", "Keeping the layer", 4, keep),
        Step("clean", "Cleaning up", 1, clean),
    )
    return Flow(TaskKind.IMPORT_OS, steps, undo, ended)
