"""`sekiso log`: logs of the appliance."""

from __future__ import annotations

from pathlib import Path

import click

from sekiso.cli.help import SekisoGroup
from sekiso.cli.language import say
from sekiso.cli.options import OutputFile, json_option
from sekiso.cli.output import human_bytes, print_json
from sekiso.cli.remote import connect


@click.group(cls=SekisoGroup)
def log() -> None:
    """Logs of the appliance."""


@log.command("download")
@click.option("--out", type=OutputFile(".gz", ".tgz"), required=True, help="File to write (.tar.gz).")
@click.option(
    "--days", type=click.IntRange(1, 90), default=7, show_default=True, help="Tasks of so many days."
)
@json_option
def download(out: Path, days: int, as_json: bool) -> None:
    """Download a support bundle.

    It holds logs, version, health, settings, agents and the tasks of the last days, without secrets.
    """
    with connect() as appliance:
        size_bytes = appliance.download(f"/logs/bundle?days={days}", out)
    if as_json:
        print_json({"path": str(out), "size_bytes": size_bytes})
    else:
        click.echo(say("Written: {path} ({size})", path=out, size=human_bytes(size_bytes)))
