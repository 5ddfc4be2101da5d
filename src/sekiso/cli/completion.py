"""`sekiso completion`: the script by which a shell completes commands and names."""

from __future__ import annotations

import click

from sekiso.cli.errors import BadValueError
from sekiso.cli.help import SekisoCommand

_SHELLS = ("bash", "zsh", "fish")


@click.command(cls=SekisoCommand)
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Shell completion.

    Prints the script that makes SHELL complete commands, options and names of objects. Put this line into
    the shell's start file:

      eval "$(sekiso completion bash)"
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415 (needed for this only)

    from sekiso.cli.main import COMPLETE_VARIABLE, cli  # noqa: PLC0415 (it loads this module)

    found = get_completion_class(shell)
    if found is None:
        raise BadValueError(name="SHELL", reason="It is not supported.", command="sekiso completion")
    script = found(cli, {}, "sekiso", COMPLETE_VARIABLE)
    click.echo(script.source_template % script.source_vars())
