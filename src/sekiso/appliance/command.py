"""`sekiso appliance`: runs the appliance, and looks after what only its own machine may."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

import click

from sekiso.appliance.settings import (
    API_PORT,
    LINK_PORT,
    TRANSFER_HTTP_PORT,
    TRANSFER_HTTPS_PORT,
    ApplianceSettings,
    default_names,
    default_state,
)
from sekiso.cli.help import SekisoCommand, SekisoGroup
from sekiso.cli.language import say
from sekiso.cli.options import json_option
from sekiso.cli.output import print_json, print_pairs

log = logging.getLogger(__name__)

_STATE = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of all that the appliance keeps (default: /var/lib/sekiso as root).",
)
_PORT = click.IntRange(1, 65535)


@click.group(cls=SekisoGroup)
def appliance() -> None:
    """Run the appliance, on this machine."""


@appliance.command("run", cls=SekisoCommand)
@_STATE
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen at; agents of other machines need one that they reach.",
)
@click.option("--api-port", type=_PORT, default=API_PORT, show_default=True, help="Port of REST API (HTTPS).")
@click.option(
    "--link-port", type=_PORT, default=LINK_PORT, show_default=True, help="Port that agents connect to."
)
@click.option(
    "--transfer-http-port",
    type=_PORT,
    default=TRANSFER_HTTP_PORT,
    show_default=True,
    help="Port for transfers without HTTPS.",
)
@click.option(
    "--transfer-https-port",
    type=_PORT,
    default=TRANSFER_HTTPS_PORT,
    show_default=True,
    help="Port for transfers with HTTPS.",
)
@click.option("--name", "names", multiple=True, help="Host name or address for its certificate; repeat.")
@click.option(
    "--database-url",
    envvar="SEKISO_DATABASE_URL",
    help="Database (or SEKISO_DATABASE_URL, where a password belongs); SQLite in the state folder otherwise.",
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File with the administrator's password for the first start; one is made up otherwise.",
)
def run(
    state: Path | None,
    host: str,
    api_port: int,
    link_port: int,
    transfer_http_port: int,
    transfer_https_port: int,
    names: tuple[str, ...],
    database_url: str | None,
    password_file: Path | None,
) -> None:
    """Run the appliance until it is ended (SIGTERM, or Ctrl-C).

    At the first start an administrator, admin, is made; the password is printed once, or taken from a file.
    """
    from sekiso.appliance.assembly import Appliance  # noqa: PLC0415 (loads servers and databases)

    settings = ApplianceSettings(
        state=(state or default_state()).resolve(),
        host=host,
        names=names or default_names(host),
        api_port=api_port,
        link_port=link_port,
        transfer_http_port=transfer_http_port,
        transfer_https_port=transfer_https_port,
        database_url=database_url,
    )
    ended = _until_signal()
    logging.getLogger("sekiso").setLevel(min(logging.INFO, logging.getLogger().level or logging.INFO))
    password = password_file.read_text(encoding="utf-8").strip() if password_file is not None else None
    running = Appliance(settings, first_password=password)
    try:
        running.start()
        print_pairs(
            [
                ("REST API", running.url),
                ("Certificate (SHA-256)", running.fingerprint),
                ("State", settings.state),
                *([("Password of admin", running.new_password)] if running.new_password else []),
            ]
        )
        sys.stdout.flush()
        ended.wait()
        log.info("the appliance ends")
    finally:
        running.stop()
    # A step that does not look at its progress may still run in a thread: it goes on after the next start.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@appliance.command("fingerprint", cls=SekisoCommand)
@_STATE
@json_option
def fingerprint(state: Path | None, as_json: bool) -> None:
    """Show the SHA-256 fingerprint of the appliance's certificate."""
    from sekiso.appliance.assembly import certificate_path  # noqa: PLC0415 (as above)
    from sekiso.transfer.trust import certificate_sha256  # noqa: PLC0415 (as above)

    path = certificate_path((state or default_state()).resolve())
    if not path.is_file():
        raise click.UsageError(say("There is no appliance yet in this state folder."))
    shown = certificate_sha256(path.read_bytes())
    if as_json:
        print_json({"fingerprint": shown})
    else:
        print_pairs([("Certificate (SHA-256)", shown)])


def _until_signal() -> threading.Event:
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    return ended
