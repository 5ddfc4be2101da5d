"""`sekiso engine compose`: layers become a disk."""

from __future__ import annotations

from pathlib import Path

import click

from sekiso.cli.engine.conflicts import show_conflicts
from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import say
from sekiso.cli.options import INPUT_FILE, Name, OutputFile, Size, dry_run_option, json_option, quiet_option
from sekiso.cli.output import amount, human_bytes, print_json, print_notes, print_pairs, print_table
from sekiso.cli.progress import make_progress
from sekiso.cli.words import action_words, remark, word
from sekiso.compositing.execute import execute
from sekiso.compositing.families import support_for
from sekiso.compositing.plan import ComposePlan
from sekiso.compositing.planning import plan_image
from sekiso.compositing.request import ComposeRequest
from sekiso.compositing.stack import LayerStack
from sekiso.compositing.verify import verify_image
from sekiso.guests.booting import Generalization
from sekiso.model.machine import DiskAllocation, DiskFormat, Generation

_SUFFIXES = {
    ".vhd": DiskFormat.VHD,
    ".vhdx": DiskFormat.VHDX,
    ".raw": DiskFormat.RAW,
    ".img": DiskFormat.RAW,
    ".qcow2": DiskFormat.QCOW2,
}


@click.command(cls=SekisoCommand)
@click.argument("layers", type=INPUT_FILE, nargs=-1, required=True)
@click.option("--out", type=OutputFile(), required=True, help="Disk file to make (.vhd, .vhdx, .raw).")
@click.option(
    "--generation",
    type=click.Choice(["1", "2"]),
    required=True,
    help="1 = BIOS (IDE), 2 = UEFI (SCSI, Secure Boot).",
)
@click.option(
    "--format",
    "disk_format",
    type=click.Choice(["vhd", "vhdx", "raw"]),
    help="Disk format (default: by the name of the file).",
)
@click.option("--fixed", is_flag=True, help="Allocate the whole disk instead of growing it.")
@click.option(
    "--size",
    type=Size("16M", "64T"),
    help="Size of the disk, such as 40G (default: what the layers need, and room).",
)
@click.option(
    "--generalize",
    type=click.Choice([g.value for g in Generalization]),
    default=Generalization.OFFLINE.value,
    show_default=True,
    help="Remove the machine's identity (offline), or keep it (none), as for a packaging machine.",
)
@click.option(
    "--data-volume", is_flag=True, help="Make a disk that only holds the content and does not boot."
)
@click.option("--seed", type=Name(), help="Make identifiers repeatable: same seed and layers, same disk.")
@click.option(
    "--created",
    type=click.IntRange(0, 1 << 40),
    metavar="SECONDS",
    help="Time stamp of generated files, Unix seconds (default: now).",
)
@click.option(
    "--verify", "verify_it", is_flag=True, help="Read the finished disk back, every byte, and compare."
)
@dry_run_option
@json_option
@quiet_option
def compose(
    layers: tuple[Path, ...],
    out: Path,
    generation: str,
    disk_format: str | None,
    fixed: bool,
    size: int | None,
    generalize: str,
    data_volume: bool,
    seed: str | None,
    created: int | None,
    verify_it: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compose LAYERS into a disk.

    LAYERS are one OS layer, app layers from low to high priority, and at most one platform layer.

    Conflicts between layers are listed; they do not stop the work: the higher layer wins.
    """
    request = ComposeRequest(
        layers=layers,
        out=out,
        generation=Generation(int(generation)),
        disk_format=_format_of(out, disk_format),
        allocation=DiskAllocation.FIXED if fixed else DiskAllocation.DYNAMIC,
        size_bytes=size,
        generalization=Generalization(generalize),
        bootable=not data_volume,
        seed=seed,
        created=created,
    )
    with LayerStack.open(layers) as stack:
        support = support_for(stack.family)
        with make_progress(quiet=quiet or as_json) as progress:
            planned = plan_image(request, stack, support, progress=progress)
            result = None if dry_run else execute(planned, request, stack, progress=progress)
            if result is not None and verify_it:
                tree = planned.composition.root
                verify_image(out, planned.plan, expected=lambda: tree, progress=progress)
    if as_json:
        made = None if result is None else {"path": str(result.out), "file_bytes": result.file_bytes}
        print_json({"plan": planned.plan.to_dict(), "plan_id": planned.plan.plan_id, "image": made})
        return
    if result is None:
        _show_plan(planned.plan)
    show_conflicts(planned.plan.conflicts)
    print_pairs(
        [
            ("Image", out if result is not None else say("(dry run: not written)")),
            ("Disk", _disk_words(planned.plan)),
            ("Generation", int(planned.plan.generation)),
            ("Layers", ", ".join(f"{layer.name} {layer.layer_version}" for layer in planned.plan.layers)),
            (
                "Content",
                amount(planned.plan.entries, planned.plan.content_bytes),
            ),
            ("File", human_bytes(result.file_bytes) if result is not None else ""),
            ("Verified", say("every byte") if result is not None and verify_it else ""),
        ]
    )
    print_notes(planned.plan.notes)


def _disk_words(plan: ComposePlan) -> str:
    return f"{word(plan.allocation)}, {plan.disk_format.upper()}, {human_bytes(plan.size_bytes)}"


def _format_of(out: Path, wanted: str | None) -> DiskFormat:
    by_name = _SUFFIXES.get(out.suffix.lower())
    if wanted is None and by_name is None:
        raise click.UsageError(f"The name {out.name} does not say which disk format is wanted; use --format.")
    if wanted is not None and by_name not in (None, DiskFormat(wanted)):
        raise click.UsageError(f"The name {out.name} does not fit the disk format {wanted}.")
    return by_name or DiskFormat(wanted)


def _show_plan(plan: ComposePlan) -> None:
    rows = [
        (
            action_words(action.what),
            remark(action.target),
            human_bytes(action.size_bytes) if action.size_bytes else "",
            remark(action.reason),
        )
        for action in plan.actions
    ]
    print_table(["Do", "What", "Size", "Why"], rows, right=[2])
