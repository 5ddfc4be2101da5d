"""`sekiso layer files`, `diff`, `conflicts`: what versions hold, and what they disagree about."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import mark, number, say
from sekiso.cli.layer.make import version_argument
from sekiso.cli.options import OutputFile, json_option
from sekiso.cli.output import human_bytes, print_json, print_notes, print_table
from sekiso.cli.remote import connect, listed, moment, part
from sekiso.cli.version_refs import DEPLOYABLE, Library, complete_versions
from sekiso.cli.words import remark, word

#: How two versions differ in a path.
_DIFFERENCES = {
    "added": mark("added"),
    "changed": mark("changed"),
    "removed": mark("removed"),
    "replaced": mark("replaced"),
    "deletes": mark("deletes"),
    "keeps": mark("no longer deletes"),
}


@click.command(cls=SekisoCommand)
@version_argument
@click.option("--path", default="/", show_default=True, help="Folder whose content is listed.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="At most so many."
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
            word(entry["kind"]),
            _mode(entry),
            human_bytes(entry["size_bytes"]) if entry["kind"] == "file" else "",
            moment(entry.get("modified_s")),
            entry["name"] + (f" -> {entry['target']}" if entry.get("target") else ""),
        )
        for entry in answer["entries"]
    ]
    print_table(["Kind", "Mode", "Size", "Changed", "Name"], rows, right=[2])
    _say_cut(len(rows), answer["total"])


@click.command(cls=SekisoCommand)
@version_argument
@click.option("--out", type=OutputFile(".wim"), required=True, help="Layer file to make (.wim).")
@json_option
def export(reference: str, out: Path, as_json: bool) -> None:
    """Download the layer file of a version, a standard WIM."""
    with connect() as appliance:
        version = Library(appliance).version(reference, states=DEPLOYABLE)
        size_bytes = appliance.download(f"/layer-versions/{part(version['id'])}/export", out)
    if as_json:
        print_json({"path": str(out), "file_bytes": size_bytes})
    else:
        click.echo(f"{out}  {human_bytes(size_bytes)}")


def _mode(entry: Mapping[str, Any]) -> str:
    mode, owner = entry.get("mode"), entry.get("owner")
    if mode is None:
        return ""
    return f"{mode:04o}" + (f" {owner[0]}:{owner[1]}" if owner else "")


def _say_cut(shown: int, total: int) -> None:
    if total > shown:
        click.echo(say("{shown} of {total} are shown.", shown=number(shown), total=number(total)))


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
    differences: list[dict[str, Any]] = answer["differences"]
    if not differences:
        click.echo(say("No differences."))
        return
    rows = [
        (
            say(_DIFFERENCES.get(str(d["what"]), str(d["what"]))),
            d["path"],
            ", ".join(map(say, d.get("reasons") or ())),
        )
        for d in differences
    ]
    print_table(["Difference", "Path", "What"], rows)
    _say_cut(len(rows), answer["total"])


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
    if as_json:
        print_json(listed("conflicts", answer))
        return
    found = listed("conflicts", answer)
    print_conflicts(found["conflicts"])
    print_notes(found.get("notes") or ())


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
