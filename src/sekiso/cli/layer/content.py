"""`sekiso layer files`, `diff`, `conflicts`: what versions hold, and what they disagree about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import number, say
from sekiso.cli.layer.make import version_argument
from sekiso.cli.options import json_option
from sekiso.cli.output import human_bytes, print_json, print_table
from sekiso.cli.remote import connect, part, views
from sekiso.cli.version_refs import DEPLOYABLE, Library, complete_versions
from sekiso.cli.words import remark, word


@click.command(cls=SekisoCommand)
@version_argument
@click.option("--path", default="/", show_default=True, help="Folder whose content is listed.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="At most so many."
)
@json_option
def files(reference: str, path: str, limit: int, as_json: bool) -> None:
    """List the files of a layer version."""
    with connect() as appliance:
        version = Library(appliance).version(reference, states=DEPLOYABLE)
        answer = appliance.get_long(
            f"/layer-versions/{part(version['id'])}/files", {"path": path, "limit": limit}
        )
    if as_json:
        print_json(answer)
        return
    rows = [
        (
            word(str(entry.get("kind") or "")),
            human_bytes(entry["size_bytes"]) if entry.get("size_bytes") is not None else "",
            entry.get("path") or entry.get("name"),
        )
        for entry in views(answer)
    ]
    print_table(["Kind", "Size", "Path"], rows, right=[1])


@click.command(cls=SekisoCommand)
@click.argument("one", metavar="LAYER[:VERSION]", shell_complete=complete_versions)
@click.argument("other", metavar="LAYER[:VERSION]", shell_complete=complete_versions)
@json_option
def diff(one: str, other: str, as_json: bool) -> None:
    """Show in what two layer versions differ.

    Ends with status 0 whether or not there are differences.
    """
    with connect() as appliance:
        library = Library(appliance)
        left = library.version(one, states=DEPLOYABLE)
        right = library.version(other, states=DEPLOYABLE)
        answer = appliance.get_long(f"/layer-versions/{part(left['id'])}/diff/{part(right['id'])}")
    print_json(answer) if as_json else _show_diff(answer)


def _show_diff(answer: Mapping[str, Any]) -> None:
    rows: list[tuple[str, str, str]] = []
    for sign, key in (("+", "added"), ("-", "deleted"), ("~", "changed"), ("!", "replaced")):
        for item in answer.get(key) or ():
            path, reasons = (item, ()) if isinstance(item, str) else (item["path"], item.get("reasons") or ())
            rows.append((sign, path, ", ".join(say(reason) for reason in reasons)))
    if rows:
        print_table(["", "Path", "What"], sorted(rows, key=lambda row: row[1]))
    else:
        click.echo(say("No differences."))
    if answer.get("truncated"):
        click.echo(say("There are more; the list ends at {count}.", count=number(len(rows))))


@click.command(cls=SekisoCommand)
@click.argument(
    "references", metavar="LAYER[:VERSION]...", nargs=-1, required=True, shell_complete=complete_versions
)
@json_option
def conflicts(references: tuple[str, ...], as_json: bool) -> None:
    """Show what layer versions disagree about when they are put together, and who wins."""
    with connect() as appliance:
        body = {"version_ids": Library(appliance).ids(references)}
        answer = appliance.post("/layers/conflicts", body)
    print_json(answer) if as_json else print_conflicts(views(answer))


def print_conflicts(found: list[dict[str, Any]]) -> None:
    """Print conflicts as a table."""
    if not found:
        click.echo(say("No conflicts."))
        return
    rows = [
        (
            word(c["kind"]),
            c["path"],
            c.get("key") or "",
            ", ".join(c["layers"]),
            c["winner"],
            remark(c.get("detail") or ""),
        )
        for c in found
    ]
    print_table(["Conflict", "Path", "Key", "Layers", "Winner", "Detail"], rows)
