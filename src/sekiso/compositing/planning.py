"""Makes the plan of a composition: from request and composed tree to partitions, sizes and actions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sekiso.compositing.composition import Composition, compose_tree
from sekiso.compositing.layout import DiskLayout, lay_out
from sekiso.compositing.plan import Action, ComposePlan, DiskIdentity, new_identity
from sekiso.compositing.request import ComposeRequest, check_request
from sekiso.compositing.stack import LayerStack
from sekiso.guests.base import GuestFamilySupport
from sekiso.guests.booting import BootRequest
from sekiso.model.layer import GuestFamily
from sekiso.model.machine import DiskFormat
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.wim.tree import NO_BLOB, Node, blobs_of, nodes

_FILL_REASONS = {
    "ext4": "content is copied straight from the layer files into the file system, in order",
    "ntfs": "libwim applies the merged tree once, straight to the file system",
}


@dataclass(frozen=True)
class PlannedImage:
    """A plan together with what was worked out to make it, so that executing it at once repeats nothing.

    Attributes:
        plan: what will be done.
        composition: the tree.
        layout: partitions and sizes.
        sizes: size of every blob of the tree, by SHA-1.
    """

    plan: ComposePlan
    composition: Composition
    layout: DiskLayout
    sizes: Mapping[bytes, int]


def plan_image(
    request: ComposeRequest,
    stack: LayerStack,
    support: GuestFamilySupport,
    *,
    progress: Progress = NO_PROGRESS,
) -> PlannedImage:
    """Plan an image. Nothing is written.

    Args:
        request: what is asked for.
        stack: its layers, opened.
        support: their guest family.
        progress: a step per stage.

    Raises:
        RuleError: the request breaks a rule, the size is too small included.
        DamagedInputError: a layer is damaged.
        UnsupportedInputError: the layers lack what they need to boot.
        CanceledError: the work was canceled.
    """
    check_request(request)
    created = int(time.time()) if request.created is None else request.created
    return _plan(request, stack, support, new_identity(stack.family, request.seed), created, progress)


def replan_image(
    plan: ComposePlan, request: ComposeRequest, stack: LayerStack, support: GuestFamilySupport
) -> PlannedImage:
    """Work out again what a plan was made from, on another machine or later.

    Args:
        plan: a plan made before.
        request: the request it was made for.
        stack: the same layers.
        support: their guest family.

    Raises:
        RuleError: the layers are not those of the plan.
    """
    again = replace(request, size_bytes=plan.size_bytes)
    return _plan(again, stack, support, plan.identity, plan.created, NO_PROGRESS)


def _plan(
    request: ComposeRequest,
    stack: LayerStack,
    support: GuestFamilySupport,
    identity: DiskIdentity,
    created: int,
    progress: Progress,
) -> PlannedImage:
    boot_request = (
        BootRequest(
            generation=request.generation,
            identifiers=identity.identifiers,
            title=request.out.stem if request.title is None else request.title,
            facts=stack.layers[0].manifest.boot,
        )
        if request.bootable
        else None
    )
    composition = compose_tree(
        stack,
        support,
        created=created,
        generalization=request.generalization,
        boot_request=boot_request,
        progress=progress,
    )
    progress.step("Planning the disk")
    sizes = _sizes(composition, stack)
    layout = lay_out(composition, sizes, request, stack, identity)
    plan = ComposePlan(
        layers=composition.layers,
        family=stack.family,
        generation=request.generation,
        bootable=request.bootable,
        disk_format=request.disk_format,
        allocation=request.allocation,
        size_bytes=layout.size_bytes,
        generalization=request.generalization,
        identity=identity,
        created=created,
        tree=composition.digest,
        entries=sum(1 for _ in nodes(composition.root)),
        content_bytes=_content_bytes(composition.root, sizes),
        actions=(*composition.actions, *_disk_actions(layout, composition, request, stack.family)),
        conflicts=composition.conflicts,
        notes=(*composition.notes, *layout.notes),
    )
    return PlannedImage(plan, composition, layout, sizes)


def _sizes(composition: Composition, stack: LayerStack) -> dict[bytes, int]:
    sizes: dict[bytes, int] = {NO_BLOB: 0}
    for layer in stack.layers:
        sizes.update((sha1, location.size_bytes) for sha1, location in layer.wim.blobs.items())
    sizes.update((sha1, len(content)) for sha1, content in composition.generated.items())
    return sizes


def _content_bytes(root: Node, sizes: Mapping[bytes, int]) -> int:
    total = 0
    seen: set[int] = set()
    for node in nodes(root):
        if node.link_group and not node.is_directory:
            if node.link_group in seen:
                continue
            seen.add(node.link_group)
        total += sum(sizes.get(sha1, 0) for sha1 in blobs_of(node))
    return total


def _disk_actions(
    layout: DiskLayout, composition: Composition, request: ComposeRequest, family: GuestFamily
) -> tuple[Action, ...]:
    actions = [
        Action(
            "partition",
            f"{part.role} from sector {part.first_lba}",
            part.reason,
            part.sectors * layout.sector_bytes,
        )
        for part in layout.partitions
    ]
    if composition.boot is not None:
        actions += [
            Action("boot", f"ESP {file.path}", file.reason, len(file.content))
            for file in composition.boot.esp_files
        ]
        actions += [
            Action("boot", f"sectors from {part.first_lba}", part.reason, len(part.content))
            for part in composition.boot.gap
        ]
    filesystem = "ntfs" if family is GuestFamily.WINDOWS else "ext4"
    actions.append(Action("format", f"root ({filesystem})", "the composed tree's own file system"))
    actions.append(Action("fill", "root", _FILL_REASONS[filesystem], digest=composition.digest))
    if request.disk_format is not DiskFormat.RAW:
        what = f"{request.allocation} {request.disk_format}"
        name = request.out.name if request.title is None else f"{request.title}.{request.disk_format}"
        actions.append(Action("convert", name, f"to a {what} disk that Hyper-V attaches"))
    return tuple(actions)
