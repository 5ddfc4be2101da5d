"""`sekiso engine inspect`: what a disk or a layer holds."""

from __future__ import annotations

from pathlib import Path

import click

from sekiso.cli.options import INPUT_FILE, json_option
from sekiso.cli.output import human_bytes, print_json, print_pairs, print_table, printable
from sekiso.compositing.compare import is_wim
from sekiso.compositing.inspection import DiskView, inspect_disk, inspect_layer
from sekiso.store.layer_file import LayerSummary


@click.command()
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
            ("Disk", f"{file.allocation} {file.format}"),
            ("Size", f"{human_bytes(file.virtual_size_bytes)}, {human_bytes(file.file_bytes)} on the host"),
            ("Sectors", f"{file.logical_sector_bytes} bytes logical, {file.physical_sector_bytes} physical"),
            ("Identifier", file.disk_id),
            ("Parent", file.parent),
            ("Closed cleanly", "yes" if file.clean else "no: its log was replayed for reading"),
            ("Partitions", view.scheme),
            ("System", view.system or "none recognised"),
            ("Starts as", f"generation {view.generation}, {view.boot_loader}" if view.generation else ""),
        ]
    )
    rows = [
        (
            part.number,
            human_bytes(part.size_bytes),
            part.filesystem,
            "" if part.volume is None else part.volume.label,
            "" if part.volume is None else human_bytes(part.volume.used_bytes),
            part.problem or part.name,
        )
        for part in view.partitions
    ]
    print_table(["Partition", "Size", "Holds", "Label", "In use", "Remark"], rows, right=[0, 1, 4])
    for line in (*file.notes, *view.refusals):
        click.echo(f"Note: {line}")


def _show_layer(summary: LayerSummary) -> None:
    manifest = summary.manifest
    print_pairs(
        [
            ("Layer", f"{manifest.name} {manifest.layer_version}"),
            ("Kind", f"{manifest.kind} layer for {manifest.family}"),
            ("Identity", summary.identity),
            ("Captured on", ", ".join(base[:12] for base in manifest.base)),
            ("Content", f"{summary.blobs} blobs, {human_bytes(summary.content_bytes)}"),
            ("File", human_bytes(summary.file_bytes)),
            ("Deletes", f"{len(manifest.deleted)} paths" if manifest.deleted else ""),
            ("Merged by content", ", ".join(manifest.structured)),
            ("Made by", f"{manifest.provenance.tool}, {manifest.provenance.created}"),
            ("Made from", manifest.provenance.source),
        ]
    )
    for note in manifest.notes:
        click.echo(f"Note: {note}")
