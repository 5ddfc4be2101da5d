"""`sekiso agent register` and `sekiso agent run`: the agent on its own host."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from types import FrameType

import click

from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import say
from sekiso.cli.options import Name, json_option
from sekiso.cli.output import print_json, print_pairs

_STATE = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of all that the agent keeps (default: /var/lib/sekiso-agent as root).",
)
_MAX_TOKEN_CHARS = 1000


@click.command("register", cls=SekisoCommand)
@click.option("--appliance", "url", required=True, help="Address of the appliance, https://host:port.")
@click.option("--name", type=Name(), help="Name of the agent (default: the host's).")
@_STATE
@click.option(
    "--storage",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder where its hypervisor keeps machines (default: machines in the state folder).",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True, exists=True),
    help="File with the token, - for standard input; asked for if it is not given.",
)
@json_option
def register_command(
    url: str,
    name: str | None,
    state: Path | None,
    storage: Path | None,
    token_file: Path | None,
    as_json: bool,
) -> None:
    """Register this machine as an agent, with a one-time token.

    The token names the certificate of the appliance, so that the token is told to no other server.
    """
    from sekiso.agent.registration import register  # noqa: PLC0415 (keeps the help fast)
    from sekiso.agent.settings import default_agent_state  # noqa: PLC0415 (as above)

    folder = (state or default_agent_state()).resolve()
    made = register(url, _token(token_file), folder, storage=storage or folder / "machines", name=name or "")
    if as_json:
        print_json({"agent_id": made.agent_id, "name": made.name, "appliance": made.appliance_url})
        return
    print_pairs([("Agent", made.name), ("Identifier", made.agent_id), ("Appliance", made.appliance_url)])


@click.command("run", cls=SekisoCommand)
@_STATE
def run_command(state: Path | None) -> None:
    """Run the agent until it is ended (SIGTERM, or Ctrl-C)."""
    from sekiso.agent.assembly import make_service  # noqa: PLC0415 (loads the hypervisor's driver)
    from sekiso.agent.settings import default_agent_state  # noqa: PLC0415 (as above)

    folder = (state or default_agent_state()).resolve()
    logging.getLogger("sekiso").setLevel(min(logging.INFO, logging.getLogger().level or logging.INFO))
    service = make_service(folder)

    def end(_number: int, _frame: FrameType | None) -> None:
        service.stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    service.run()


def _token(file: Path | None) -> str:
    if file is not None and str(file) != "-":
        return file.read_text(encoding="utf-8").strip()[:_MAX_TOKEN_CHARS]
    if file is None and sys.stdin.isatty():
        return click.prompt(say("Token"), hide_input=True)
    return sys.stdin.read(_MAX_TOKEN_CHARS).strip()
