"""`sekiso engine inspect`: what a disk or a layer holds."""

from __future__ import annotations

from pathlib import Path

import click

from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import number, plural, say
from sekiso.cli.options import INPUT_FILE, json_option
from sekiso.cli.output import human_bytes, print_json, print_notes, print_pairs, print_table, printable
from sekiso.cli.words import generation_words, remark, word
from sekiso.compositing.compare import is_wim
from sekiso.compositing.inspection import DiskView, inspect_disk, inspect_layer
from sekiso.store.layer_file import LayerSummary


@click.command(cls=SekisoCommand)
@click.argument("path", type=INPUT_FILE)
@click.option("--files", is_flag=True, help="List the entries of a layer.")
@json_option
def inspect(path: Path, files: bool, as_json: bool) -> None:
    """Show what PATH is and holds: a disk file (VHD, VHDX, qcow2, raw) or a layer."""
    if not is_wim(path):
        view = inspect_disk(path)
        print_json(view) if as_json else _show_disk(view)
        return
    summary, entries = inspect_layer(path, with_files=files)
    if as_json:
        print_json({"layer": summary, "files": entries} if files else {"layer": summary})
        return
    _show_layer(summary)
    for entry in entries:
        click.echo(printable(entry))


def _show_disk(view: DiskView) -> None:
    file = view.file
    print_pairs(
        [
            ("Disk", f"{word(file.allocation)}, {file.format.upper()}"),
            (
                "Size",
                say(
                    "{size}, {held} on the host",
                    size=human_bytes(file.virtual_size_bytes),
                    held=human_bytes(file.file_bytes),
                ),
            ),
            (
                "Sectors",
                say(
                    "{logical} bytes logical, {physical} physical",
                    logical=number(file.logical_sector_bytes),
                    physical=number(file.physical_sector_bytes),
                ),
            ),
            ("Identifier", file.disk_id),
            ("Parent", file.parent),
            ("Closed cleanly", say("yes") if file.clean else say("no: its log was replayed for reading")),
            ("Partitions", say("none") if view.scheme == "none" else view.scheme.upper()),
            ("System", view.system or say("none recognised")),
            (
                "Starts as",
                f"{generation_words(view.generation)}, {view.boot_loader}" if view.generation else "",
            ),
        ]
    )
    rows = [
        (
            part.number,
            human_bytes(part.size_bytes),
            part.filesystem,
            "" if part.volume is None else part.volume.label,
            "" if part.volume is None else human_bytes(part.volume.used_bytes),
            remark(part.problem) or part.name,
        )
        for part in view.partitions
    ]
    print_table(["Partition", "Size", "Holds", "Label", "In use", "Remark"], rows, right=[0, 1, 4])
    print_notes((*file.notes, *view.refusals))


def _show_layer(summary: LayerSummary) -> None:
    manifest = summary.manifest
    print_pairs(
        [
            ("Layer", f"{manifest.name} {manifest.layer_version}"),
            (
                "Kind",
                say("{kind} for {system}", kind=word(manifest.kind), system=manifest.family.capitalize()),
            ),
            ("Identity", summary.identity),
            ("Captured on", ", ".join(base[:12] for base in manifest.base)),
            (
                "Content",
                f"{plural(summary.blobs, '1 blob', '{count} blobs')}, {human_bytes(summary.content_bytes)}",
            ),
            ("File", human_bytes(summary.file_bytes)),
            ("Deletes", plural(len(manifest.deleted), "1 path", "{count} paths") if manifest.deleted else ""),
            ("Merged by content", ", ".join(manifest.structured)),
            ("Made by", f"{manifest.provenance.tool}, {manifest.provenance.created}"),
            ("Made from", remark(manifest.provenance.source)),
        ]
    )
    print_notes(manifest.notes)
