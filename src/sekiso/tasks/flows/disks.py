"""How a flow comes by a disk at the agent: from its cache, composed there, or composed here and sent (IM-3).

With offload compositing layers travel, without it the disk does; what comes out is the same, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from sekiso.agent.cache import recipe_key
from sekiso.agent.contract import ComposeDiskParams, DiskMade, DiskRecipe
from sekiso.compositing.jobs import ComposeJob, run_job
from sekiso.tasks.flows.deps import Deps
from sekiso.tasks.flows.moving import ensure_layers, send
from sekiso.tasks.flows.params import Site, pack, unpack
from sekiso.tasks.port import FlowContext, Step, StepResult


def compose_here(ctx: FlowContext, deps: Deps, recipe: DiskRecipe) -> StepResult:
    """Compose a disk in the scratch of the task.

    Returns:
        `name` of the file there, and what `ComposeSummary` tells.
    """
    out = deps.scratch(ctx) / f"disk.{recipe.disk_format}"
    out.unlink(missing_ok=True)
    job = ComposeJob(
        layers=tuple(str(deps.layers.path(identity)) for identity in recipe.identities),
        out=str(out),
        generation=recipe.generation,
        disk_format=recipe.disk_format,
        allocation=recipe.allocation,
        size_bytes=recipe.size_bytes,
        generalization=recipe.generalization,
        seed=recipe_key(recipe),
        created_s=recipe.created_s,
        title=recipe.title,
    )
    return {"name": out.name, **pack(run_job(job, progress=ctx.progress))}


def disk_steps(
    deps: Deps,
    site: Callable[[FlowContext], Site],
    wanted: Callable[[FlowContext], ComposeDiskParams],
    *,
    keep_layers: bool,
) -> tuple[Step, ...]:
    """Return the steps of a flow after which a disk is at the agent; `made_disk` tells where.

    Args:
        deps: what flows work with.
        site: where a task works.
        wanted: the disk that a task wants.
        keep_layers: with offload, have the layers at the agent also when the disk comes from its cache: what
            is changed on the disk is captured against them later.
    """

    def ask(ctx: FlowContext, params: ComposeDiskParams) -> StepResult:
        return pack(deps.call(ctx, site(ctx), "disk.compose", params))

    def look(ctx: FlowContext) -> StepResult:
        return ask(ctx, replace(wanted(ctx), only_cached=True))

    def layers(ctx: FlowContext) -> StepResult:
        return dict(ensure_layers(ctx, deps, site(ctx), wanted(ctx).recipe.identities))

    def compose(ctx: FlowContext) -> StepResult:
        return compose_here(ctx, deps, wanted(ctx).recipe)

    def send_disk(ctx: FlowContext) -> StepResult:
        disk = deps.scratch(ctx) / ctx.results["compose"]["name"]
        return {**pack(send(ctx, deps, site(ctx), disk)), "wire_bytes": disk.stat().st_size}

    def place(ctx: FlowContext) -> StepResult:
        sent = ctx.results.get("send-disk")
        return ask(ctx, replace(wanted(ctx), received=None if sent is None else sent["path"]))

    def missing(ctx: FlowContext) -> bool:
        return not ctx.results["look"]["path"]

    def here(ctx: FlowContext) -> bool:
        return missing(ctx) and not site(ctx).offload

    def layers_travel(ctx: FlowContext) -> bool:
        return site(ctx).offload and (keep_layers or missing(ctx))

    return (
        Step("look", "Looking into the layer disk cache", 2, look),
        Step("layers", "Copying layers to the agent", 30, layers, layers_travel),
        Step("compose", "Composing the disk", 30, compose, here),
        Step("send-disk", "Copying the disk to the agent", 30, send_disk, here),
        Step("place", "Making the disk at the agent", 30, place, missing),
    )


def made_disk(results: Mapping[str, StepResult]) -> DiskMade:
    """Return the disk that `disk_steps` has come by."""
    return unpack(dict(results.get("place") or results["look"]), DiskMade)
