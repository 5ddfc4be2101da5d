"""Decides which of the changes found on a packaging disk belong into the layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sekiso.disks.volume import Volume, VolumeChanges
from sekiso.guests.base import GuestFamilySupport
from sekiso.guests.exclusions import ExclusionMatcher
from sekiso.wim.blobs import HashSink
from sekiso.wim.tree import Node, find


@dataclass(frozen=True, slots=True)
class KeptChanges:
    """What of the changes belongs into the layer.

    Attributes:
        changed: paths added or changed.
        deleted: paths removed, topmost only.
        replaced: folders removed and made anew.
        excluded: paths left out, with the reason.
    """

    changed: tuple[str, ...]
    deleted: tuple[str, ...]
    replaced: tuple[str, ...]
    excluded: tuple[tuple[str, str], ...]


def keep_changes(
    found: VolumeChanges, base: Volume, modified: Volume, support: GuestFamilySupport
) -> KeptChanges:
    """Apply the family's exclusions, and drop folders in which nothing but excluded entries changed.

    Args:
        found: what differs between the two states.
        base: the state before.
        modified: the state after.
        support: the guest family.
    """
    matcher = ExclusionMatcher(support.capture_exclusions(), case_sensitive=support.case_sensitive)
    changed: list[str] = []
    deleted: list[str] = []
    excluded: list[tuple[str, str]] = []
    for paths, kept in ((found.changed, changed), (found.deleted, deleted)):
        for path in paths:
            rule = matcher.match(path)
            if rule is None:
                kept.append(path)
            else:
                excluded.append((path, rule.reason))
    changed = _without_touched_folders(changed, deleted, base, modified)
    return KeptChanges(
        tuple(changed),
        tuple(deleted),
        tuple(path for path in found.replaced if matcher.match(path) is None),
        tuple(excluded),
    )


def _without_touched_folders(
    changed: list[str], deleted: list[str], base: Volume, modified: Volume
) -> list[str]:
    """Drop folders whose times alone changed, unless a kept entry lies directly in them.

    An excluded log or temporary file changes the time of its folder; that says nothing about the layer.
    """
    holding = {_parent(path) for path in (*changed, *deleted)}
    before = base.tree(HashSink(), only=_folders_only(changed, base))
    after = modified.tree(HashSink(), only=_folders_only(changed, modified))
    kept: list[str] = []
    for path in changed:
        one, other = find(before, path), find(after, path)
        if one is not None and other is not None and path not in holding and _same_but_times(one, other):
            continue
        kept.append(path)
    return kept


def _folders_only(paths: Iterable[str], volume: Volume) -> list[str]:
    return [path for path in paths if volume.is_directory(path)]


def _same_but_times(one: Node, other: Node) -> bool:
    if not (one.is_directory and other.is_directory):
        return False
    return _timeless(one) == _timeless(other)


def _timeless(node: Node) -> Node:
    return replace(node, creation_time=0, access_time=0, write_time=0, children={}, link_group=0)


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
