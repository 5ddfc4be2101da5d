"""How files and layers move between the appliance and the agent of a site (TR-1, TR-5)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sekiso.agent.contract import (
    DescribeFileParams,
    DownloadFileParams,
    FetchLayerParams,
    FileFacts,
    MissingLayersParams,
    UploadFileParams,
)
from sekiso.agent.granting import Granted
from sekiso.tasks.errors import StoppingError
from sekiso.tasks.flows.deps import Deps
from sekiso.tasks.flows.params import Site
from sekiso.tasks.port import FlowContext
from sekiso.transfer.manifest import Manifest, hash_file


def describe(ctx: FlowContext, deps: Deps, site: Site, path: str) -> FileFacts:
    """Have the agent hash a file."""
    return deps.call(ctx, site, "file.describe", DescribeFileParams(site.storage_path, path))


def receive(ctx: FlowContext, deps: Deps, site: Site, facts: FileFacts, target: Path) -> int:
    """Fetch a file from the agent; the content is verified before it has its name here.

    Args:
        ctx: the step.
        deps: what flows work with.
        site: whose agent.
        facts: the file there.
        target: its name here; if it is there, it is the same file from an earlier execution.

    Returns:
        Bytes that crossed the wire.
    """
    manifest = Manifest.from_dict(facts.manifest, path=facts.path)
    granted = deps.access.from_agent(
        site.agent_id, target, manifest, deps.policy(), key=ctx.command_id("receive")
    )
    with _granted(deps, granted):
        if target.exists():
            return 0
        params = UploadFileParams(site.storage_path, facts.path, granted.ticket)
        return deps.call(ctx, site, "file.upload", params).wire_bytes


def send(ctx: FlowContext, deps: Deps, site: Site, source: Path) -> FileFacts:
    """Send a file to the scratch of the task at the agent.

    Returns:
        The file there.
    """
    manifest = hash_file(source, progress=ctx.progress)
    granted = deps.access.to_agent(
        site.agent_id, source, manifest, deps.policy(), key=ctx.command_id(f"send.{source.name}")
    )
    params = DownloadFileParams(
        storage_path=site.storage_path,
        task_id=ctx.task.id,
        name=source.name,
        manifest=manifest.to_dict(),
        ticket=granted.ticket,
    )
    with _granted(deps, granted):
        return deps.call(ctx, site, "file.download", params, name=source.name)


def ensure_layers(ctx: FlowContext, deps: Deps, site: Site, identities: Sequence[str]) -> dict[str, int]:
    """Have every layer at the agent; only those travel that it lacks, compressed (TR-5).

    Returns:
        `layers` that travelled and `wire_bytes` they took.
    """
    wanted = MissingLayersParams(site.storage_path, tuple(dict.fromkeys(identities)))
    missing = deps.ask(ctx, site, "layers.missing", wanted).missing
    wire_bytes = 0
    for identity in missing:
        manifest = deps.layers.manifest(identity)
        granted = deps.access.to_agent(
            site.agent_id,
            deps.layers.path(identity),
            manifest,
            deps.policy(),
            key=ctx.command_id(f"layer.{identity}"),
        )
        params = FetchLayerParams(site.storage_path, identity, manifest.to_dict(), granted.ticket)
        with _granted(deps, granted):
            wire_bytes += deps.call(ctx, site, "layers.fetch", params, name=identity).wire_bytes
    return {"layers": len(missing), "wire_bytes": wire_bytes}


@contextmanager
def _granted(deps: Deps, granted: Granted) -> Generator[None]:
    """End a grant when its transfer is over; one that the end of this process cuts off goes on with it."""
    try:
        yield
    except StoppingError:
        raise
    except BaseException:
        deps.access.revoke(granted)
        raise
    deps.access.revoke(granted)
