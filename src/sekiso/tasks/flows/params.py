"""What each flow is asked for: plain data that is stored with the task, decided when the task is started.

A flow does not look settings up again: a connector configuration that is changed while a task waits does not
change the task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from sekiso.agent.contract import DiskRecipe, Hardware, SourceDisk
from sekiso.model.layer import LayerKind
from sekiso.model.library import ImageRecord, LayerRecord, VersionRecord
from sekiso.model.machine import DiskFormat, Generation

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Site:
    """Where a task works, and how: a connector configuration resolved.

    Attributes:
        configuration_id: the connector configuration.
        agent_id: its agent.
        storage_path: its storage path.
        offload: whether compositing runs at the agent.
        generation: generation of its machines.
        disk_format: format of its disks.
        hardware: what its machines are made of.
        cache_bytes: limit of the layer disk cache; 0 = none.
    """

    configuration_id: str
    agent_id: str
    storage_path: str
    offload: bool
    generation: Generation
    disk_format: DiskFormat
    hardware: Hardware
    cache_bytes: int


@dataclass(frozen=True, slots=True)
class ImportOsTask:
    """`import-os`. `layer` is made by the task where it does not exist; `new_layer` says whose it is."""

    site: Site
    layer: LayerRecord
    new_layer: bool
    version: VersionRecord
    source: SourceDisk
    guest_tools: bool


@dataclass(frozen=True, slots=True)
class CreateLayerTask:
    """`create-layer`: up to the packaging machine that runs.

    Attributes:
        site: where.
        layer: the layer.
        new_layer: whether the task made it.
        version: the version that is begun.
        recipe: its boot disk.
        machine_name: name of the packaging machine.
        run_once: upload with a run-once script; None = none.
        auto_finalize: finalize when the machine has shut down with nothing pending.
    """

    site: Site
    layer: LayerRecord
    new_layer: bool
    version: VersionRecord
    recipe: DiskRecipe
    machine_name: str
    run_once: str | None
    auto_finalize: bool


@dataclass(frozen=True, slots=True)
class FinalizeTask:
    """`finalize-layer`.

    Attributes:
        site: where.
        version_id: the version.
        create_task_id: the task that waits for it.
        layer_name: name of the layer.
        version_name: name of the version.
        kind: kind of the layer.
        base: identities of the boot disk's layers, lowest first.
        previous: identity of the previous version, with which the changes become one layer; None = none.
        recipe: the boot disk.
        ignore_gate: finalize although the guest reported unfinished work.
    """

    site: Site
    version_id: str
    create_task_id: str
    layer_name: str
    version_name: str
    kind: LayerKind
    base: tuple[str, ...]
    previous: str | None
    recipe: DiskRecipe
    ignore_gate: bool


@dataclass(frozen=True, slots=True)
class PublishTask:
    """`publish-image`.

    Attributes:
        site: where.
        image: the image.
        recipe: its disk.
        disk_name: name of its disk file without suffix.
        boot_test: start it once before it counts as published.
        keep_last: how many images of the template are kept; None = all.
    """

    site: Site
    image: ImageRecord
    recipe: DiskRecipe
    disk_name: str
    boot_test: bool
    keep_last: int | None


@dataclass(frozen=True, slots=True)
class BootTestTask:
    """`boot-test` of a published image."""

    site: Site
    image_id: str


@dataclass(frozen=True, slots=True)
class DeleteImageTask:
    """`delete-image`."""

    image_id: str


@dataclass(frozen=True, slots=True)
class DeleteVersionTask:
    """`delete-layer-version`; `with_layer` when it is the last one of a layer that goes too."""

    version_id: str
    with_layer: bool


@dataclass(frozen=True, slots=True)
class DiscardTask:
    """`discard-packaging`: a version that is being edited, with its machine."""

    version_id: str


def pack(params: Any) -> dict[str, Any]:
    """Turn parameters into plain data."""
    return msgspec.to_builtins(params)


def unpack(params: dict[str, Any], kind: type[P]) -> P:
    """Turn plain data into parameters.

    Raises:
        msgspec.ValidationError: they are of another kind or version.
    """
    return msgspec.convert(params, kind)
