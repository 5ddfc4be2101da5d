"""`sekiso layer machine`: the packaging machine of a version that is being edited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sekiso.cli.errors import WrongUsageError
from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import say
from sekiso.cli.layer.make import version_argument
from sekiso.cli.options import OutputFile, json_option
from sekiso.cli.output import print_json, print_pairs, printable
from sekiso.cli.remote import connect, part, yes_no
from sekiso.cli.version_refs import BEING_EDITED, Library
from sekiso.cli.words import word
from sekiso.errors import AlreadyExistsError


@click.command(cls=SekisoCommand)
@version_argument
@click.option("--start", "action", flag_value="start", help="Start it (again).")
@click.option("--shut-down", "action", flag_value="shut-down", help="Ask its guest to shut down.")
@click.option("--turn-off", "action", flag_value="turn-off", help="Cut its power.")
@click.option("--screenshot", type=OutputFile(".png"), help="File for a picture of its screen.")
@click.option("--keys", help="Keys to press, such as: a enter ctrl-alt-delete.")
@json_option
def machine(
    reference: str, action: str | None, screenshot: Path | None, keys: str | None, as_json: bool
) -> None:
    """Show what a packaging machine is doing, or act on it."""
    if sum(given is not None for given in (action, screenshot, keys)) > 1:
        raise WrongUsageError(
            reason="Only one of --start, --shut-down, --turn-off, --screenshot and --keys is done at once.",
            command="sekiso layer machine",
        )
    with connect() as appliance:
        version = Library(appliance).version(reference, states=BEING_EDITED)
        path = f"/layer-versions/{part(version['id'])}/machine"
        if screenshot is not None:
            save_picture(screenshot, appliance.get_bytes(f"{path}/screenshot"), as_json=as_json)
            return
        if keys is not None:
            appliance.post(f"{path}/keys", {"keys": keys.split()})
            print_json({"keys": keys.split()}) if as_json else click.echo(say("The keys were pressed."))
            return
        state = appliance.post(f"{path}/{action}") if action else appliance.get(path)
    print_json(state) if as_json else _show(f"{version['layer_name']} {version['name']}", state)


def save_picture(path: Path, data: bytes, *, as_json: bool) -> None:
    """Write a picture to a new file.

    Raises:
        AlreadyExistsError: the file is there.
    """
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise AlreadyExistsError(what="The file", name=path, remedy="Choose another name.") from None
    print_json({"screenshot": path}) if as_json else click.echo(say("Written: {path}", path=path))


def _show(name: str, state: dict[str, Any] | None) -> None:
    if not state:
        return
    print_pairs(
        [
            ("Packaging machine", name),
            ("State", word(state.get("state") or "") or say("there is none")),
            ("Running since", say("{seconds} s", seconds=round(state.get("uptime_s") or 0))),
            ("Guest has reported", yes_no(state.get("ready"))),
            ("Unfinished", _unfinished(state)),
            ("Scripts running", ", ".join(state.get("run_once_running") or ())),
        ]
    )
    for failed in state.get("run_once_failed") or ():
        click.echo(say("A script failed:") + " " + printable(str(failed)))


def _unfinished(state: dict[str, Any]) -> str:
    if not state.get("gate_known"):
        return say("not reported yet")
    return ", ".join(state.get("gate") or ()) or say("nothing")
