"""What can be said of a disk file or a layer file without changing or unpacking it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sekiso.compositing.disk_reading import open_contents
from sekiso.compositing.families import all_families
from sekiso.disks.image import DiskFacts, inspect
from sekiso.disks.volume import VolumeFacts
from sekiso.guests.importing import DiskContents
from sekiso.store.layer_file import LayerFile, LayerSummary
from sekiso.wim.tree import walk


@dataclass(frozen=True, slots=True)
class PartitionView:
    """One partition for people.

    Attributes:
        number: its number; 0 for an unpartitioned disk.
        first_byte: where it starts.
        size_bytes: its length.
        type_id: GPT type GUID or MBR type.
        name: GPT name.
        active: MBR boot flag.
        filesystem: what lies in it, by its magic numbers.
        volume: what its file system says of itself; None where it cannot be read.
        problem: why it cannot be read, in words.
    """

    number: int
    first_byte: int
    size_bytes: int
    type_id: str
    name: str
    active: bool
    filesystem: str
    volume: VolumeFacts | None
    problem: str


@dataclass(frozen=True, slots=True)
class DiskView:
    """A disk file for people.

    Attributes:
        file: facts about the file.
        scheme: `gpt`, `mbr` or `none`.
        partitions: in order.
        system: the operating system on it, empty if none was recognised.
        generation: generation it starts as; None if no system was recognised.
        boot_loader: its boot loader, empty if none was recognised.
        refusals: why its system cannot be imported, in words.
    """

    file: DiskFacts
    scheme: str
    partitions: tuple[PartitionView, ...]
    system: str
    generation: int | None
    boot_loader: str
    refusals: tuple[str, ...]


def inspect_disk(path: Path) -> DiskView:
    """Look at a disk file.

    Raises:
        NotFoundError: there is no such file.
        DamagedInputError: the file or its partition table is damaged.
        UnsupportedInputError: its format is refused.
    """
    facts = inspect(path)
    with open_contents(path) as contents:
        return _view(facts, contents)


def inspect_layer(path: Path, *, with_files: bool) -> tuple[LayerSummary, tuple[str, ...]]:
    """Look at a layer file; with the paths of its entries if asked.

    Raises:
        DamagedInputError: it is damaged.
        UnsupportedInputError: it is no layer.
    """
    with LayerFile(path) as layer:
        files = (
            tuple(p + ("/" if node.is_directory else "") for p, node in walk(layer.tree()))
            if with_files
            else ()
        )
        return layer.summary(), files


def _view(facts: DiskFacts, contents: DiskContents) -> DiskView:
    system, generation, loader = "", None, ""
    refusals: tuple[str, ...] = ()
    for support in all_families():
        plan = support.recognise(contents)
        if plan.os_name or plan.boot is not None:
            system = plan.os_name
            refusals = tuple(f"{item.reason} {item.remedy}" for item in plan.refusals)
            if plan.boot is not None:
                generation, loader = int(plan.boot.generation), plan.boot.boot_loader
            break
    partitions = tuple(
        PartitionView(
            number=v.index,
            first_byte=v.first_byte,
            size_bytes=v.size_bytes,
            type_id=v.type_id,
            name=v.name,
            active=v.active,
            filesystem=v.signature,
            volume=None if v.volume is None else v.volume.facts,
            problem=v.problem,
        )
        for v in contents.volumes
    )
    return DiskView(facts, contents.scheme, partitions, system, generation, loader, refusals)
