"""Layers: their kinds, their manifest and their content-addressed identity."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sekiso.model.canonical import content_id
from sekiso.model.machine import Generation

MANIFEST_FORMAT = "sekiso-layer"
MANIFEST_VERSION = 1


class LayerKind(enum.StrEnum):
    """What a layer holds. An image is one OS layer, any number of app layers, at most one platform layer."""

    OS = "os"
    PLATFORM = "platform"
    APP = "app"


class GuestFamily(enum.StrEnum):
    """Which kind of operating system a layer belongs to."""

    LINUX = "linux"
    WINDOWS = "windows"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a layer came from. Not part of its identity.

    Attributes:
        tool: program and version that made it, `sekiso 0.1.0`.
        created: time of creation, ISO 8601 in UTC.
        source: what it was made from, in words (`import of debian.vhdx`).
    """

    tool: str
    created: str
    source: str


@dataclass(frozen=True, slots=True)
class BootFacts:
    """What an OS layer remembers of the disk it was imported from.

    Attributes:
        generation: generation the source disk booted as.
        boot_loader: boot loader found there (`grub`, `shim+grub`, `bootmgr`, `unknown`).
        root_uuid: identifier of the root file system in its own notation.
        root_label: label of the root file system, may be empty.
        root_filesystem: `ext4` or `ntfs`.
        root_size_bytes: size of the root file system.
        used_bytes: bytes in use in all imported file systems.
    """

    generation: Generation
    boot_loader: str
    root_uuid: str
    root_label: str
    root_filesystem: str
    root_size_bytes: int
    used_bytes: int


@dataclass(frozen=True, slots=True)
class LayerManifest:
    """What a layer's WIM cannot say itself.

    Paths are absolute, `/`-separated, in the spelling of the layer. Lists are sorted.

    Attributes:
        name: name of the layer.
        layer_version: name of the version.
        kind: OS, platform or app.
        family: guest family.
        base: identities of the layer versions it was captured against, lowest first; empty for an OS layer.
        deleted: paths of the base that the layer removes (topmost path of a removed folder only).
        changed_directories: folders whose own metadata the layer changes; other folders in its tree
            are there only to hold their content.
        replaced: folders that were deleted and made anew: nothing of a lower layer shines through.
        structured: paths merged by content; their state in the base is kept in the layer file's
            second image, because the difference is what the layer contributes.
        tree: SHA-256 of the layer's WIM metadata (which names every blob by its own hash).
        boot: facts about the source disk; OS layers only.
        notes: facts that a reader must know, in words: content that could not be kept and was reported.
        provenance: where it came from.
    """

    name: str
    layer_version: str
    kind: LayerKind
    family: GuestFamily
    tree: str
    base: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    changed_directories: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    structured: tuple[str, ...] = ()
    boot: BootFacts | None = None
    notes: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=lambda: Provenance("", "", ""))
    format: str = MANIFEST_FORMAT
    version: int = MANIFEST_VERSION

    @property
    def identity(self) -> str:
        """Content-addressed identity: SHA-256 of the canonical JSON of everything but the provenance."""
        content: dict[str, Any] = msgspec.to_builtins(self)
        del content["provenance"]
        return content_id(content)
