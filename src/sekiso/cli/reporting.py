"""How an error is shown: in colour for a person, as one object for a program."""

from __future__ import annotations

import json

import click

from sekiso.cli.language import language, say
from sekiso.cli.output import printable
from sekiso.errors import SekisoError
from sekiso.wording import error_texts


def report(error: SekisoError, *, as_json: bool) -> int:
    """Show an error; return its exit code."""
    brief, why, resolution = error_texts(error, language())
    if as_json:
        texts = {"brief": brief, "why": why, "resolution": resolution}
        data = json.dumps({"error": {**error.to_dict(), **texts}}, ensure_ascii=False)
        click.echo(data.encode("utf-8", "backslashreplace").decode())
    else:
        click.echo(click.style(say("Error:") + " ", fg="red", bold=True) + printable(brief), err=True)
        for line in (why, resolution):
            if line:
                click.echo("  " + printable(line).replace("\n", "\n  "), err=True)
    return error.family.value


def hint(text: str) -> None:
    """Say something beside the result: on standard error, so that it is in no file."""
    click.echo(printable(text), err=True)
