"""Finds the operating system on a disk and reads its volumes as one tree."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace

from sekiso.compositing.families import all_families
from sekiso.errors import UnsupportedInputError
from sekiso.guests.base import GuestFamilySupport
from sekiso.guests.exclusions import ExclusionMatcher
from sekiso.guests.importing import DiskContents, DiskVolume, ImportPlan, MountedVolume
from sekiso.model.layer import BootFacts
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.wim.blobs import BlobSink
from sekiso.wim.tree import Node, find


@dataclass(frozen=True)
class System:
    """The operating system found on a disk.

    Attributes:
        support: its guest family.
        plan: how its volumes form one tree.
        boot: facts about the disk.
    """

    support: GuestFamilySupport
    plan: ImportPlan
    boot: BootFacts


def recognise_system(contents: DiskContents) -> System:
    """Find the operating system on a disk.

    Raises:
        DamagedInputError: a volume is damaged.
        UnsupportedInputError: there is none that can be read; all reasons are named.
    """
    refused: list[ImportPlan] = []
    for support in all_families():
        plan = support.recognise(contents)
        if plan.boot is not None and not plan.refusals:
            return System(support, plan, plan.boot)
        refused.append(plan)
    # The family that found an operating system says best what is wrong with it.
    best = next((plan for plan in refused if plan.os_name), None)
    best = best or next((p for p in refused if any(r.code != "no-os" for r in p.refusals)), refused[0])
    best.require(contents.name)
    raise UnsupportedInputError(path=contents.name, reason="No operating system was found on it.", remedy="")


def read_system(
    contents: DiskContents, system: System, sink: BlobSink, *, progress: Progress = NO_PROGRESS
) -> tuple[Node, list[str]]:
    """Read the volumes of a system as one tree.

    Args:
        contents: the disk.
        system: what `recognise_system` found on it.
        sink: takes the content.
        progress: a step per volume; counts bytes.

    Returns:
        The tree, and what could not be kept, in words.

    Raises:
        DamagedInputError: a volume is damaged.
        UnsupportedInputError: a volume cannot be read.
        CanceledError: the work was canceled.
    """
    plan = system.plan
    matcher = ExclusionMatcher(plan.exclusions, case_sensitive=system.support.case_sensitive)
    volumes = {volume.index: volume for volume in contents.volumes}
    dropped: list[str] = []
    root: Node | None = None
    next_group = 0
    for mount in plan.mounts:
        tree, lost = _read_volume(volumes[mount.index], mount, matcher, sink, progress)
        next_group = _renumber_links(tree, next_group)
        dropped += lost
        if root is None:
            root = tree
        else:
            _graft(root, mount.mount_point, tree)
    if root is None:
        raise UnsupportedInputError(path=contents.name, reason="It has no root volume.", remedy="")
    return root, dropped


def _read_volume(
    place: DiskVolume,
    mount: MountedVolume,
    matcher: ExclusionMatcher,
    sink: BlobSink,
    progress: Progress,
) -> tuple[Node, list[str]]:
    volume = place.volume
    if volume is None:
        raise UnsupportedInputError(
            path=mount.mount_point, reason=place.problem or "There is no reader for it.", remedy=""
        )
    progress.step(f"Reading {mount.mount_point}", total=volume.facts.used_bytes)
    below = "" if mount.mount_point == "/" else mount.mount_point
    tree = volume.tree(sink, exclude=_Excluded(matcher, below), progress=progress)
    return tree, [f"{mount.mount_point}: {line}" for line in volume.dropped]


class _Excluded(Container[str]):
    """The exclusions as a volume sees them that is mounted below a folder of the tree."""

    def __init__(self, matcher: ExclusionMatcher, below: str) -> None:
        self._matcher = matcher
        self._below = below

    def __contains__(self, path: object) -> bool:
        return self._matcher.match(f"{self._below}{path}") is not None


def _renumber_links(root: Node, first: int) -> int:
    """Give hard-link groups numbers that no other volume of the tree uses; return the last one used."""
    numbers: dict[int, int] = {}
    stack = [root]
    while stack:
        node = stack.pop()
        if node.link_group:
            node.link_group = numbers.setdefault(node.link_group, first + len(numbers) + 1)
        stack.extend((node.children or {}).values())
    return first + len(numbers)


def _graft(root: Node, mount_point: str, tree: Node) -> None:
    parent_path, _, name = mount_point.rpartition("/")
    parent = find(root, parent_path)
    if parent is None or parent.children is None:
        raise UnsupportedInputError(
            path=mount_point,
            reason="The root volume has no folder to mount it on.",
            remedy="Check /etc/fstab of the source machine.",
        )
    tree.name = name
    parent.children[name] = replace(tree, name=name)
