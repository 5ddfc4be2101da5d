"""`sekiso engine import`: a disk becomes an OS layer."""

from __future__ import annotations

from pathlib import Path

import click

from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import plural, say
from sekiso.cli.options import INPUT_FILE, Name, OutputFile, dry_run_option, json_option, quiet_option
from sekiso.cli.output import human_bytes, print_json, print_notes, print_pairs, print_table
from sekiso.cli.progress import make_progress
from sekiso.cli.words import generation_words, remark
from sekiso.compositing.import_os import ImportPreview, ImportRequest, import_os, preview_import
from sekiso.store.layer_file import Compression


@click.command("import", cls=SekisoCommand)
@click.argument("disk", type=INPUT_FILE)
@click.option("--out", type=OutputFile(".wim"), required=True, help="Layer file to make (.wim).")
@click.option("--name", type=Name(), required=True, help="Name of the OS layer.")
@click.option("--version", "layer_version", type=Name(), required=True, help="Name of this version of it.")
@click.option("--no-guest-tools", is_flag=True, help="Do not add Sekiso's guest tools to the system.")
@click.option(
    "--compression",
    type=click.Choice([c.value for c in Compression]),
    default=Compression.NONE.value,
    show_default=True,
    help="How content is stored. An OS layer in use is fastest uncompressed.",
)
@dry_run_option
@json_option
@quiet_option
def import_(
    disk: Path,
    out: Path,
    name: str,
    layer_version: str,
    no_guest_tools: bool,
    compression: str,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Import the operating system on DISK as an OS layer.

    DISK is a VHD, VHDX, qcow2 or raw file, generation 1 or 2; it is only read. The machine must have been
    shut down from inside.
    """
    if dry_run:
        preview = preview_import(disk)
        if as_json:
            print_json(preview)
        else:
            _show_preview(preview)
        return
    request = ImportRequest(
        source=disk,
        out=out,
        name=name,
        layer_version=layer_version,
        guest_tools=not no_guest_tools,
        compression=Compression(compression),
    )
    with make_progress(quiet=quiet or as_json) as progress:
        result = import_os(request, progress=progress)
    if as_json:
        print_json({"layer": str(out), "identity": result.manifest.identity, "result": result})
        return
    boot = result.preview.boot
    print_pairs(
        [
            ("Layer", out),
            ("Identity", result.manifest.identity),
            ("System", result.preview.plan.os_name),
            (
                "Source",
                ", ".join((generation_words(boot.generation), boot.boot_loader, boot.root_filesystem)),
            ),
            ("Size", human_bytes(result.file_bytes)),
            (
                "Guest tools",
                plural(len(result.edits), "1 file added or changed", "{count} files added or changed")
                if result.edits
                else "",
            ),
        ]
    )
    print_notes(result.manifest.notes)


def _show_preview(preview: ImportPreview) -> None:
    boot = preview.boot
    print_pairs(
        [
            ("System", preview.plan.os_name),
            ("Family", preview.family),
            ("Generation", int(boot.generation)),
            ("Boot loader", boot.boot_loader),
            ("In use", human_bytes(boot.used_bytes)),
        ]
    )
    rows = [(m.index, m.mount_point, remark(m.reason)) for m in preview.plan.mounts]
    rows += [(s.index, say("(left out)"), remark(s.reason)) for s in preview.plan.skipped]
    print_table(["Partition", "Becomes", "Reason"], rows, right=[0])
    print_table(["Left out", "Reason"], [(e.pattern, remark(e.reason)) for e in preview.plan.exclusions])
    print_notes(preview.plan.notes)
