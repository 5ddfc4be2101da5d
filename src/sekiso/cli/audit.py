"""`sekiso audit`: who did what to which object."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import click

from sekiso.cli.help import SekisoGroup
from sekiso.cli.language import say
from sekiso.cli.options import OutputFile, json_option
from sekiso.cli.output import human_bytes, print_json, print_table
from sekiso.cli.remote import connect, listed, moment, views
from sekiso.cli.words import word
from sekiso.errors import VerificationError
from sekiso.model.task import SubjectKind

_F = TypeVar("_F", bound=Callable[..., Any])
_KINDS = click.Choice([kind.value for kind in SubjectKind])
_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S"])


@click.group(cls=SekisoGroup)
def audit() -> None:
    """The audit history."""


def _filter_options(command: _F) -> _F:
    options = (
        click.option("--actor", help="Only what this user did."),
        click.option("--action", help="Only actions that begin so, such as layer or layer.delete."),
        click.option("--kind", type=_KINDS, help="Only what was done to objects of this kind."),
        click.option("--subject", help="Only what was done to the object with this identifier."),
        click.option("--text", help="Only entries with these words in user, action or name."),
        click.option("--since", type=_MOMENT, metavar="TIME", help="Not earlier, such as 2026-01-31."),
        click.option("--until", type=_MOMENT, metavar="TIME", help="Earlier than this."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@audit.command("list")
@_filter_options
@click.option("--before", type=click.IntRange(1), metavar="NUMBER", help="Only entries before this number.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out so many from the beginning.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@json_option
def list_(before: int | None, offset: int, limit: int, as_json: bool, **which: Any) -> None:
    """List entries of the audit history, the newest first."""
    params = {**_params(which), "before": before, "offset": offset, "limit": limit}
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


@audit.command("export")
@click.option("--out", type=OutputFile(".csv", ".jsonl"), required=True, help="File to write.")
@_filter_options
@json_option
def export(out: Path, as_json: bool, **which: Any) -> None:
    """Write the audit history to a file, the oldest entry first: CSV or JSON lines, by its suffix."""
    params = {**_params(which), "format": out.suffix.lower().removeprefix(".")}
    query = urlencode({name: value for name, value in params.items() if value is not None})
    with connect() as appliance:
        size_bytes = appliance.download(f"/audit/export?{query}", out)
    if as_json:
        print_json({"path": str(out), "size_bytes": size_bytes})
    else:
        click.echo(say("Written: {path} ({size})", path=out, size=human_bytes(size_bytes)))


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


def _params(which: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of the API; times are local ones."""
    times = {"from_s": which.pop("since"), "to_s": which.pop("until")}
    shown = {name: value.timestamp() if value is not None else None for name, value in times.items()}
    kind = which.pop("kind")
    return {**which, "subject_kind": kind, **shown}


def _details(details: dict[str, Any] | None) -> str:
    return ", ".join(f"{key}={value}" for key, value in (details or {}).items())
