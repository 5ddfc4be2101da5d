"""`sekiso health`: how the appliance is."""

from __future__ import annotations

import sys

import click

from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import say
from sekiso.cli.options import json_option
from sekiso.cli.output import print_json, print_pairs, print_table
from sekiso.cli.remote import connect, moment
from sekiso.cli.words import remark, word

_PROBLEM_STATUS = 3


@click.command(cls=SekisoCommand)
@json_option
def health(as_json: bool) -> None:
    """Show how the appliance is, and what to do about what is wrong.

    The exit code is 0 if there is no problem, else 3. Warnings are no problems.
    """
    with connect() as appliance:
        view = appliance.get("/health/details")
    if as_json:
        print_json(view)
    else:
        print_pairs(
            [
                ("State", word(view["state"])),
                ("Version", view["version"]),
                ("Since", moment(view["started_s"])),
            ]
        )
        rows = [
            (word(check["state"]), remark(check["title"]), _text(check["text"], check["what_to_do"]))
            for check in view["checks"]
        ]
        click.echo()
        print_table(["State", "Check", "Found"], rows)
    sys.stdout.flush()
    if view["state"] == "problem":
        click.get_current_context().exit(_PROBLEM_STATUS)


def _text(text: str, what_to_do: str) -> str:
    return f"{remark(text)} → {remark(what_to_do)}" if what_to_do else say(text)
