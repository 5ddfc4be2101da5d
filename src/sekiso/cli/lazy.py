"""Commands that are imported when they are called: `sekiso --help` answers at once and loads no tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click

from sekiso.cli.help import SekisoGroup, first_sentence
from sekiso.cli.language import say


@dataclass(frozen=True, slots=True)
class Later:
    """A command that is imported when it is called.

    Attributes:
        module: module that holds it; a module that is not installed has no commands.
        attribute: its name there.
        summary: first sentence of its help, for the list of commands.
    """

    module: str
    attribute: str
    summary: str

    @property
    def installed(self) -> bool:
        """Whether its module is there."""
        try:
            return find_spec(self.module) is not None
        except ModuleNotFoundError:  # of a package that holds it
            return False

    def load(self) -> click.Command:
        """Import it."""
        command: click.Command = getattr(import_module(self.module), self.attribute)
        return command


class LazyGroup(SekisoGroup):
    """A group with commands that are imported when they are called.

    The list of commands has the order of `later`; commands added as usual come after them.
    """

    def __init__(self, *args: Any, later: Mapping[str, Later] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._later = {name: item for name, item in (later or {}).items() if item.installed}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return [*self._later, *(name for name in self.commands if name not in self._later)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing it if need be."""
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in self._later:
            found = self._later[cmd_name].load()
            self.add_command(found, cmd_name)
        return found

    def summaries(self) -> list[tuple[str, str]]:
        """Return each command with the first sentence of its help, importing none."""
        rows = [(name, say(item.summary)) for name, item in self._later.items()]
        others = [(name, c) for name, c in self.commands.items() if name not in self._later]
        return [*rows, *((name, first_sentence(command)) for name, command in others)]
