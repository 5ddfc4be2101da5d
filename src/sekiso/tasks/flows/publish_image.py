"""The flow `publish-image`: layers become a disk at the storage path and a machine, switched off (IM-2)."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sekiso.agent.contract import (
    BootTestParams,
    BootTestResult,
    ComposeDiskParams,
    CreateImageMachineParams,
    DiskMade,
    RemoveImageParams,
)
from sekiso.model.library import ImageRecord, ImageState
from sekiso.model.task import TaskKind
from sekiso.tasks.flows.deps import Deps, tried, unless_gone
from sekiso.tasks.flows.disks import disk_steps, made_disk
from sekiso.tasks.flows.keeping import require_deployable
from sekiso.tasks.flows.params import BootTestTask, PublishTask, Site, pack, unpack
from sekiso.tasks.port import Flow, FlowContext, Step, StepResult


def publish_image_flow(deps: Deps) -> Flow:
    """Return the flow; one plan is carried out at the agent (offload) or here, with one content (IM-3)."""

    def task(ctx: FlowContext) -> PublishTask:
        return unpack(ctx.task.params, PublishTask)

    def prepare(ctx: FlowContext) -> StepResult:
        image = task(ctx).image
        with deps.db.begin() as work:
            for version_id in image.version_ids:
                require_deployable(work, version_id)
            if work.images.find(image.id) is None:
                template = work.templates.find(image.template_id or "")
                # The template may have been deleted while the task was queued.
                work.images.add(image if template is not None else replace(image, template_id=None))
            work.images.hold(image.id, ctx.task.id)
        return {}

    def disk_params(ctx: FlowContext) -> ComposeDiskParams:
        asked = task(ctx)
        return ComposeDiskParams(
            storage_path=asked.site.storage_path,
            task_id=ctx.task.id,
            recipe=asked.recipe,
            target="image",
            owner_id=asked.image.id,
            owner_name=asked.image.name,
            disk_name=asked.disk_name,
            cache_bytes=asked.site.cache_bytes,
        )

    def machine(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        params = CreateImageMachineParams(
            storage_path=asked.site.storage_path,
            image_id=asked.image.id,
            name=asked.image.name,
            hardware=asked.site.hardware,
            disk_path=made_disk(ctx.results).path,
            disk_format=asked.site.disk_format,
        )
        return pack(deps.call(ctx, asked.site, "image.create-machine", params))

    def boot_test(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        return test_boot(ctx, deps, asked.site, asked.image.id, made_disk(ctx.results).path)

    def keep(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        disk = made_disk(ctx.results)
        facts = _facts(ctx.results, disk)
        with deps.db.begin() as work:
            image = work.images.get(asked.image.id)
            done = replace(
                image,
                state=ImageState.PUBLISHED,
                disk_path=disk.path,
                machine_id=ctx.results["machine"]["machine_id"],
                file_bytes=disk.file_bytes,
                plan_id=disk.plan_id or str(ctx.results.get("compose", {}).get("plan_id", "")),
                facts=facts,
                boot_test=ctx.results.get("boot-test"),
            )
            work.images.replace(done)
        return {"image_id": asked.image.id, "name": asked.image.name, "disk_path": disk.path, **facts}

    def prune(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        with deps.db.begin() as work:
            images = work.images.of_template(asked.image.template_id or "")
        removed: list[str] = []
        for image in _surplus(images, asked.image, max(1, asked.keep_last or 1)):
            # The image that was asked for is published, whatever comes of older ones.
            if tried(ctx, lambda i=image: remove_older(ctx, i)):
                removed.append(image.name)
                ctx.log(f"Removed the image {image.name}: the template keeps {asked.keep_last}.")
        return {"removed": removed}

    def remove_older(ctx: FlowContext, image: ImageRecord) -> None:
        with deps.db.begin() as work:
            work.images.hold(image.id, ctx.task.id)
        params = RemoveImageParams(image.storage_path, image.id, image.name, image.machine_id)
        unless_gone(ctx, lambda: deps.agents.call(image.agent_id, "image.remove", params))
        forget_image(image.id)

    def forget_image(image_id: str) -> None:
        picture_path(deps.state, image_id).unlink(missing_ok=True)
        with deps.db.begin() as work:
            work.images.remove(image_id)

    def clean(ctx: FlowContext) -> StepResult:
        tried(ctx, lambda: deps.clean_up(ctx, task(ctx).site))
        return dict(ctx.results["keep"])

    def undo(ctx: FlowContext, _reason: str) -> None:
        asked = task(ctx)
        with deps.db.begin() as work:
            if work.images.find(asked.image.id) is None:
                return
        made = ctx.results.get("machine", {}).get("machine_id", "")
        params = RemoveImageParams(asked.site.storage_path, asked.image.id, asked.image.name, made)
        unless_gone(ctx, lambda: deps.tell(asked.site, "image.remove", params))
        tried(ctx, lambda: deps.clean_up(ctx, asked.site, limit_s=0.0))
        forget_image(asked.image.id)

    def ended(ctx: FlowContext, _state: str) -> None:
        with deps.db.begin() as work:
            # Its own, and older ones that it could not remove.
            for image in work.images.all():
                if image.holder_task_id == ctx.task.id:
                    work.images.let_go(image.id, ctx.task.id)

    steps = (
        Step("prepare", "Preparing", 1, prepare),
        *disk_steps(deps, lambda ctx: task(ctx).site, disk_params, keep_layers=False),
        Step("machine", "Creating the machine", 3, machine),
        Step("boot-test", "Starting the image to test it", 40, boot_test, lambda ctx: task(ctx).boot_test),
        Step("keep", "Recording the image", 1, keep),
        Step("prune", "Removing older images", 2, prune, lambda ctx: task(ctx).keep_last is not None),
        Step("clean", "Cleaning up", 1, clean),
    )
    return Flow(TaskKind.PUBLISH_IMAGE, steps, undo, ended)


def boot_test_flow(deps: Deps) -> Flow:
    """Return the flow `boot-test`: a published image is started once, nothing of it is changed (IM-6)."""

    def task(ctx: FlowContext) -> BootTestTask:
        return unpack(ctx.task.params, BootTestTask)

    def prepare(ctx: FlowContext) -> StepResult:
        with deps.db.begin() as work:
            work.images.hold(task(ctx).image_id, ctx.task.id)
        return {}

    def boot(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        with deps.db.begin() as work:
            disk_path = work.images.get(asked.image_id).disk_path
        return test_boot(ctx, deps, asked.site, asked.image_id, disk_path)

    def keep(ctx: FlowContext) -> StepResult:
        asked = task(ctx)
        with deps.db.begin() as work:
            image = work.images.get(asked.image_id)
            work.images.replace(replace(image, boot_test=ctx.results["boot"]))
        tried(ctx, lambda: deps.clean_up(ctx, asked.site))
        return dict(ctx.results["boot"])

    def undo(ctx: FlowContext, _reason: str) -> None:
        tried(ctx, lambda: deps.clean_up(ctx, task(ctx).site, limit_s=0.0))

    def ended(ctx: FlowContext, _state: str) -> None:
        with deps.db.begin() as work:
            work.images.let_go(task(ctx).image_id, ctx.task.id)

    steps = (
        Step("prepare", "Preparing", 1, prepare),
        Step("boot", "Starting the image to test it", 98, boot),
        Step("keep", "Recording the result", 1, keep),
    )
    return Flow(TaskKind.BOOT_TEST, steps, undo, ended)


def test_boot(ctx: FlowContext, deps: Deps, site: Site, image_id: str, disk_path: str) -> StepResult:
    """Start an image at the agent, keep its picture here, and return what its guest said."""
    params = BootTestParams(
        storage_path=site.storage_path,
        task_id=ctx.task.id,
        disk_path=disk_path,
        disk_format=site.disk_format,
        hardware=site.hardware,
    )
    shown: BootTestResult = deps.call(ctx, site, "image.boot-test", params)
    _write(picture_path(deps.state, image_id), base64.b64decode(shown.screenshot_png))
    return {"reported_s": shown.reported_s, "report": shown.report}


def _surplus(images: Sequence[ImageRecord], own: ImageRecord, keep: int) -> list[ImageRecord]:
    """Return the published images of a template that are more than it keeps; never the one just made."""
    published = [i for i in images if i.id == own.id or i.state is ImageState.PUBLISHED]
    newest_first = sorted(published, key=lambda i: (-i.created_s, i.id != own.id))
    return [image for image in newest_first[keep:] if image.id != own.id]


def picture_path(state: Path, image_id: str) -> Path:
    """Return where the picture of an image's last boot test is kept."""
    return state / "screenshots" / f"{image_id}.png"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".part")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    with fresh.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)


def _facts(results: Mapping[str, StepResult], disk: DiskMade) -> dict[str, Any]:
    layers = results.get("layers", {})
    sent = results.get("send-disk", {}).get("wire_bytes", 0)
    conflicts = disk.conflicts if disk.conflicts >= 0 else results.get("compose", {}).get("conflicts", -1)
    return {
        "cache_hit": disk.cache_hit,
        "layers_sent": layers.get("layers", 0),
        "layer_wire_bytes": layers.get("wire_bytes", 0),
        "disk_wire_bytes": sent,
        "conflicts": conflicts,
    }
