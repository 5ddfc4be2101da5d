"""Composing a disk at the appliance, for sites without offload compositing (IM-3)."""

from __future__ import annotations

from sekiso.agent.cache import recipe_key
from sekiso.agent.contract import DiskRecipe
from sekiso.compositing.jobs import ComposeJob, run_job
from sekiso.tasks.flows.deps import Deps
from sekiso.tasks.flows.params import pack
from sekiso.tasks.port import FlowContext, StepResult


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
