"""`sekiso engine conflicts`: what layers disagree about, before anything is published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import say
from sekiso.cli.options import INPUT_FILE, json_option, quiet_option
from sekiso.cli.output import print_json, print_notes, print_table
from sekiso.cli.progress import make_progress
from sekiso.cli.words import remark, word
from sekiso.compositing.composition import merge_stack
from sekiso.compositing.families import support_for
from sekiso.compositing.plan import Conflict
from sekiso.compositing.stack import LayerStack


@click.command(cls=SekisoCommand)
@click.argument("layers", type=INPUT_FILE, nargs=-1, required=True)
@json_option
@quiet_option
def conflicts(layers: tuple[Path, ...], as_json: bool, quiet: bool) -> None:
    """List what LAYERS disagree about: which path or key, which layers, and who wins."""
    with LayerStack.open(layers) as stack, make_progress(quiet=quiet or as_json) as progress:
        merged = merge_stack(stack, support_for(stack.family), created=0, progress=progress)
    if as_json:
        print_json({"conflicts": merged.conflicts, "layers": merged.layers, "notes": merged.notes})
        return
    show_conflicts(merged.conflicts)
    if not merged.conflicts:
        click.echo(say("No conflicts."))
    print_notes(merged.notes)


def show_conflicts(found: Sequence[Conflict]) -> None:
    """Print conflicts as a table, if there are any."""
    if not found:
        return
    rows = [
        (
            word(c.kind.value),
            c.path + (f"  [{c.key}]" if c.key else ""),
            ", ".join(c.layers),
            c.winner,
            remark(c.detail),
        )
        for c in found
    ]
    print_table(["Conflict", "Path", "Layers", "Winner", "Detail"], rows)
