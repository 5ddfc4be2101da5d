"""`sekiso engine capture`: the changes on a packaging disk become a layer."""

from __future__ import annotations

from pathlib import Path

import click

from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import plural, say
from sekiso.cli.options import INPUT_FILE, Name, OutputFile, dry_run_option, json_option, quiet_option
from sekiso.cli.output import human_bytes, print_json, print_notes, print_pairs, print_table
from sekiso.cli.progress import make_progress
from sekiso.compositing.capture import CaptureRequest, CaptureResult
from sekiso.compositing.capture import capture as run_capture
from sekiso.model.layer import LayerKind
from sekiso.store.layer_file import Compression


@click.command(cls=SekisoCommand)
@click.argument("packaging_disk", type=INPUT_FILE)
@click.option(
    "--boot-disk", type=INPUT_FILE, required=True, help="The disk the packaging machine started from."
)
@click.option(
    "--base",
    type=INPUT_FILE,
    multiple=True,
    required=True,
    help="A layer the boot disk was composed of; repeat, lowest first.",
)
@click.option("--out", type=OutputFile(".wim"), required=True, help="Layer file to make (.wim).")
@click.option("--name", type=Name(), required=True, help="Name of the layer.")
@click.option("--version", "layer_version", type=Name(), required=True, help="Name of this version of it.")
@click.option(
    "--kind",
    type=click.Choice([LayerKind.APP.value, LayerKind.PLATFORM.value]),
    default=LayerKind.APP.value,
    show_default=True,
    help="What the layer holds.",
)
@click.option(
    "--compression",
    type=click.Choice([c.value for c in Compression]),
    default=Compression.XPRESS.value,
    show_default=True,
    help="How content is stored.",
)
@click.option("--ignore-gate", is_flag=True, help="Capture although the guest reported pending work.")
@dry_run_option
@json_option
@quiet_option
def capture(
    packaging_disk: Path,
    boot_disk: Path,
    base: tuple[Path, ...],
    out: Path,
    name: str,
    layer_version: str,
    kind: str,
    compression: str,
    ignore_gate: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Capture what changed on PACKAGING_DISK since its boot disk, as a layer.

    Files are found by comparing the file systems themselves, not by date or size. Deletions become part
    of the layer.
    """
    request = CaptureRequest(
        packaging_disk=packaging_disk,
        boot_disk=boot_disk,
        base=base,
        out=out,
        name=name,
        layer_version=layer_version,
        kind=LayerKind(kind),
        compression=Compression(compression),
        ignore_gate=ignore_gate,
    )
    with make_progress(quiet=quiet or as_json) as progress:
        result = run_capture(request, dry_run=dry_run, progress=progress)
    if as_json:
        identity = None if result.manifest is None else result.manifest.identity
        print_json({"layer": str(out), "identity": identity, "result": result})
    else:
        _show(result, out)


def _show(result: CaptureResult, out: Path) -> None:
    if result.manifest is None:
        print_table(
            ["", "Path"],
            [("+", path) for path in result.changed] + [("-", path) for path in result.deleted],
        )
    print_pairs(
        [
            ("Layer", out if result.manifest is not None else say("(dry run: not written)")),
            ("Identity", result.manifest.identity if result.manifest is not None else ""),
            ("Changed", plural(len(result.changed), "1 entry", "{count} entries")),
            ("Deleted", plural(len(result.deleted), "1 entry", "{count} entries")),
            (
                "Left out",
                plural(
                    len(result.excluded),
                    "1 entry by the exclusion policy",
                    "{count} entries by the exclusion policy",
                ),
            ),
            ("Compared", human_bytes(result.compared_bytes)),
            ("Size", human_bytes(result.file_bytes) if result.manifest is not None else ""),
        ]
    )
    print_notes(() if result.manifest is None else result.manifest.notes)
