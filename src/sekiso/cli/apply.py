"""`sekiso apply`: connector configurations managed as files (CC-11)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import click

from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import say
from sekiso.cli.options import json_option
from sekiso.cli.output import print_json, print_table
from sekiso.cli.remote import connect, listed, views
from sekiso.cli.words import word
from sekiso.errors import Family, SekisoError

_MAX_BYTES = 1 << 20


class FileSyntaxError(SekisoError):
    """A file to be taken over is no YAML or JSON. Params: path, reason."""

    code = "apply.syntax"
    family = Family.INPUT
    brief = "{path} cannot be read."
    why = "{reason}"
    resolution = "Nothing was changed. Mend the file; sekiso connector export shows how one looks."


@click.command(cls=SekisoCommand)
@click.option(
    "-f",
    "--file",
    "path",
    required=True,
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="PATH",
    help="YAML or JSON file, - for standard input.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be done; write nothing.")
@json_option
def apply(path: str, dry_run: bool, as_json: bool) -> None:
    """Apply a file.

    The connector configurations in it are taken over: each is made, or changed to be as the file says.
    Others stay as they are. If one cannot be saved, none is.
    """
    documents = read_documents(path)
    with connect() as appliance:
        answer = appliance.post(
            "/connector-configurations/apply", documents, {"dry_run": "true" if dry_run else None}
        )
    if as_json:
        print_json(listed("applied", answer))
        return
    print_table(
        ["Name", "What was done"], [(a.get("name"), word(str(a.get("action")))) for a in views(answer)]
    )
    if dry_run:
        click.echo(say("Nothing was written."))


def read_documents(path: str) -> list[Any]:
    """Return the documents of a YAML or JSON file; a list in it counts as its items.

    Raises:
        FileSyntaxError: it is too large, is neither, or has a key twice.
    """
    from sekiso.cli.strict_yaml import NotPlainError, plain_documents  # noqa: PLC0415 (needed for this only)

    try:
        found = plain_documents(_read(path))
    except NotPlainError as error:
        raise FileSyntaxError(path=path, reason=str(error)) from error
    except ValueError as error:  # a date that is none
        raise FileSyntaxError(path=path, reason=f"It says: {error}.") from error
    lists = [cast("list[Any]", d) if isinstance(d, list) else [d] for d in found]
    return [item for documents in lists for item in documents]


def _read(path: str) -> str:
    if path == "-":
        data = sys.stdin.buffer.read(_MAX_BYTES + 1)
    else:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise FileSyntaxError(path=path, reason="It is larger than 1 MiB.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileSyntaxError(path=path, reason="It is not UTF-8 text.") from None
