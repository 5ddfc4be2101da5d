"""`sekiso audit`: who did what to which object."""

from __future__ import annotations

from typing import Any

import click

from sekiso.cli.help import SekisoGroup
from sekiso.cli.language import say
from sekiso.cli.options import json_option
from sekiso.cli.output import print_json, print_table
from sekiso.cli.remote import connect, listed, moment, views
from sekiso.cli.words import word
from sekiso.errors import VerificationError


@click.group(cls=SekisoGroup)
def audit() -> None:
    """The audit history."""


@audit.command("list")
@click.option("--actor", help="Only what this user did.")
@click.option("--action", help="Only actions that begin so, such as layer or layer.delete.")
@click.option("--subject", help="Only what was done to the object with this identifier.")
@click.option("--before", type=click.IntRange(1), metavar="NUMBER", help="Only entries before this number.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@json_option
def list_(
    actor: str | None, action: str | None, subject: str | None, before: int | None, limit: int, as_json: bool
) -> None:
    """List entries of the audit history, the newest first."""
    params = {"actor": actor, "action": action, "subject": subject, "before": before, "limit": limit}
    with connect() as appliance:
        answer = appliance.get("/audit", params)
    if as_json:
        print_json(listed("entries", answer))
        return
    rows = [
        (
            entry.get("number"),
            moment(entry.get("time_s")),
            entry.get("actor"),
            entry.get("action"),
            word(str(entry.get("subject_kind"))),
            entry.get("subject_name"),
            _details(entry.get("details")),
        )
        for entry in views(answer)
    ]
    print_table(["Number", "Time", "Who", "Did", "To", "Name", "Details"], rows, right=[0])


@audit.command("verify")
@json_option
def verify(as_json: bool) -> None:
    """Check that no entry of the audit history was changed or taken away."""
    with connect() as appliance:
        answer = appliance.get_long("/audit/verify")
    if not answer["whole"]:
        broken = answer["first_broken"]
        raise VerificationError(
            what="The audit history",
            reason=f"The entry {broken} does not fit the one before it.",
            remedy="Somebody changed the database. Compare it with a backup.",
        )
    print_json(answer) if as_json else click.echo(say("The audit history is whole."))


def _details(details: dict[str, Any] | None) -> str:
    return ", ".join(f"{key}={value}" for key, value in (details or {}).items())
