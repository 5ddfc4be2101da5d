"""`sekiso engine diff`: what differs between two layers, images or disks."""

from __future__ import annotations

from pathlib import Path

import click

from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import number, say
from sekiso.cli.options import INPUT_FILE, json_option, quiet_option
from sekiso.cli.output import print_json, print_table
from sekiso.cli.progress import make_progress
from sekiso.compositing.compare import compare, read_held_tree
from sekiso.guests.exclusions import Exclusion, ExclusionMatcher


@click.command(cls=SekisoCommand)
@click.argument("one", type=INPUT_FILE)
@click.argument("other", type=INPUT_FILE)
@click.option(
    "--ignore",
    "patterns",
    multiple=True,
    help="Path or pattern to leave out (* within a name, ** across folders); repeat.",
)
@click.option("--times/--no-times", default=True, show_default=True, help="Whether time stamps count.")
@json_option
@quiet_option
def diff(
    one: Path,
    other: Path,
    patterns: tuple[str, ...],
    times: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compare two trees, each from a layer, another WIM, or a disk with an operating system.

    Ends with status 0 whether or not there are differences; --json tells programs.
    """
    with make_progress(quiet=quiet or as_json) as progress:
        before = read_held_tree(one, progress=progress)
        after = read_held_tree(other, progress=progress)
    matcher = ExclusionMatcher([Exclusion(pattern, "asked for", "command line") for pattern in patterns])
    found = compare(before, after, ignored=matcher, times=times)
    if as_json:
        print_json(found)
        return
    rows = [("+", path, "") for path in found.added]
    rows += [("-", path, "") for path in found.deleted]
    rows += [
        ("~", change.path, ", ".join(say(reason) for reason in change.reasons)) for change in found.changed
    ]
    rows += [("!", path, say("folder in one, file in the other")) for path in found.replaced]
    if rows:
        print_table(["", "Path", "What"], sorted(rows, key=lambda row: row[1]))
    click.echo(
        say(
            "{added} added, {deleted} deleted, {changed} changed.",
            added=number(len(found.added)),
            deleted=number(len(found.deleted)),
            changed=number(len(found.changed) + len(found.replaced)),
        )
        if rows
        else say("No differences.")
    )
