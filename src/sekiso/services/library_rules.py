"""Rules that bind layers, versions and templates together; they read the database and change nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sekiso.errors import RuleError
from sekiso.model.layer import LayerKind
from sekiso.model.library import LayerRecord, VersionRecord
from sekiso.store.database.api import UnitOfWork
from sekiso.tasks.flows.keeping import require_deployable

MAX_NAME_CHARS = 64
MAX_NOTES_CHARS = 4000
#: Names become names of files, machines and WIM images.
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
#: Names of devices on Windows, whatever follows a full stop. Source: "Naming Files, Paths, and Namespaces".
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]) *(\..*)?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class StackedVersion:
    """A layer with the version of it that is used."""

    layer: LayerRecord
    version: VersionRecord

    @property
    def identity(self) -> str:
        """Content identity of the version, which is deployable."""
        return self.version.identity or ""


def check_name(field: str, name: str) -> str:
    """Return a name that can be used.

    Raises:
        RuleError: it is empty, too long, cannot be the name of a file, or is that of a device on Windows.
    """
    if (
        not name
        or name != name.strip()
        or len(name) > MAX_NAME_CHARS
        or _FORBIDDEN.search(name)
        or not name.isprintable()
        or name.endswith(".")
    ):
        raise RuleError(
            field=field,
            reason=(
                'A name has 1 to 64 printable characters, none of < > : " / \\ | ? *, no space at its ends '
                "and no full stop at its end."
            ),
            remedy="Choose another name.",
        )
    if _DEVICE.fullmatch(name):
        raise RuleError(
            field=field, reason="On Windows this is the name of a device.", remedy="Choose another name."
        )
    return name


def check_notes(notes: str) -> str:
    """Return notes that can be kept.

    Raises:
        RuleError: they are too long.
    """
    if len(notes) > MAX_NOTES_CHARS:
        raise RuleError(field="notes", reason="Notes have at most 4000 characters.", remedy="Shorten them.")
    return notes


def stacked(work: UnitOfWork, version_id: str) -> StackedVersion:
    """Return a deployable version with its layer.

    Raises:
        NotFoundError: there is no such version.
        VersionNotReadyError: it is not deployable.
    """
    version = require_deployable(work, version_id)
    return StackedVersion(work.layers.get(version.layer_id), version)


def require_kind(field: str, item: StackedVersion, kind: LayerKind) -> StackedVersion:
    """Return the version if its layer is of a kind.

    Raises:
        RuleError: it is of another.
    """
    if item.layer.kind is not kind:
        raise RuleError(
            field=field,
            reason=f"{item.layer.name} is a layer of the kind {item.layer.kind}; {kind} is needed here.",
            remedy="Choose another layer.",
        )
    return item


def in_merge_order(items: Sequence[StackedVersion]) -> tuple[StackedVersion, ...]:
    """Sort versions as they are merged: OS, app layers from low to high priority, platform (LY-6)."""
    rank = {LayerKind.OS: 0, LayerKind.APP: 1, LayerKind.PLATFORM: 2}
    return tuple(
        sorted(items, key=lambda i: (rank[i.layer.kind], i.layer.priority, i.layer.created_s, i.layer.id))
    )


def check_stack(items: Sequence[StackedVersion], *, field: str) -> None:
    """Check that versions can be composed together: one OS layer, all made on it, each layer once.

    Raises:
        RuleError: they cannot.
    """
    seen: set[str] = set()
    for item in items:
        if item.layer.id in seen:
            raise RuleError(
                field=field,
                reason=f"The layer {item.layer.name} is there twice.",
                remedy="Choose one of its versions.",
            )
        seen.add(item.layer.id)
    os_layers = [i for i in items if i.layer.kind is LayerKind.OS]
    if len(os_layers) != 1:
        raise RuleError(
            field=field, reason="A stack of layers has exactly one OS layer.", remedy="Choose one."
        )
    for item in items:
        if item.layer.os_layer_id not in (None, os_layers[0].layer.id):
            raise RuleError(
                field=field,
                reason=f"The layer {item.layer.name} was made on another OS layer.",
                remedy="Choose layers that were made on one OS layer.",
            )
    if sum(i.layer.kind is LayerKind.PLATFORM for i in items) > 1:
        raise RuleError(
            field=field,
            reason="A stack of layers has at most one platform layer.",
            remedy="Choose one of them.",
        )
