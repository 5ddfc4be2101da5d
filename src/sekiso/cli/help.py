"""Help pages in the reader's language, wrapped by the width that characters have on a terminal."""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Iterable, Sequence

import click
from rich.cells import cell_len

from sekiso.cli.language import mark, say
from sekiso.errors import Family

_MOST_CELLS = 100
_FIRST_COLUMN_CELLS = 32
_NEVER_FIRST = "、。，．）」』】!?！？ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ…:;)"
_NEVER_LAST = "（「『【(["
#: Kinds of values.
_KINDS = (mark("TEXT"), mark("PATH"), mark("SIZE"))

#: What each exit code says.
EXIT_CODES: tuple[tuple[int, str], ...] = (
    (0, mark("Success.")),
    (Family.INTERNAL.value, mark("An error inside Sekiso.")),
    (Family.USAGE.value, mark("Wrong usage.")),
    (Family.INPUT.value, mark("An input file is damaged or was not closed cleanly.")),
    (Family.NOT_FOUND.value, mark("Something named does not exist.")),
    (Family.CONFLICT.value, mark("Something exists already, or a rule of layers forbids it.")),
    (Family.UNSUPPORTED.value, mark("The input is not supported.")),
    (Family.ENVIRONMENT.value, mark("This machine lacks something: a program, permission or space.")),
    (Family.TOOL.value, mark("An external program failed.")),
    (Family.VERIFICATION.value, mark("A result failed its verification.")),
    (Family.GUEST.value, mark("The guest reported a failure, or nothing in time.")),
    (Family.CANCELED.value, mark("Canceled by Ctrl-C or SIGTERM; nothing was left behind.")),
)


class SekisoCommand(click.Command):
    """A command whose help page follows the language."""

    def get_help(self, ctx: click.Context) -> str:
        """Return the help page."""
        return help_page(self, ctx)

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the first sentence of the help, whatever its length."""
        del limit
        return first_sentence(self)


class SekisoGroup(click.Group):
    """A group of commands whose help page follows the language."""

    command_class = SekisoCommand

    def summaries(self) -> list[tuple[str, str]]:
        """Return each command with the first sentence of its help."""
        return [(name, first_sentence(command)) for name, command in self.commands.items()]

    def get_help(self, ctx: click.Context) -> str:
        """Return the help page."""
        return help_page(self, ctx)

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the first sentence of the help, whatever its length."""
        del limit
        return first_sentence(self)


def first_sentence(command: click.Command) -> str:
    """Return the first sentence of a command's help in the reader's language."""
    first = next(iter(_paragraphs(command.help or "")), "")
    return re.split(r"(?<=[。])|(?<=[.:])\s", first, maxsplit=1)[0]


def help_page(command: click.Command, ctx: click.Context) -> str:
    """Return a command's help page: usage, description, options, commands, exit codes."""
    width = min(shutil.get_terminal_size().columns, _MOST_CELLS)
    usage = " ".join((ctx.command_path, *command.collect_usage_pieces(ctx)))
    lines = [f"{say('Usage:')} {usage}", ""]
    for paragraph in _paragraphs(command.help or ""):
        lines += [*(paragraph.split("\n") if paragraph[0] == " " else _indented(paragraph, width)), ""]
    options = [_option_record(p) for p in command.get_params(ctx) if isinstance(p, click.Option)]
    lines += _section(say("Options"), options, width)
    if isinstance(command, click.Group):
        lines += _section(say("Commands"), _summaries(command), width)
        codes = [(str(code), say(text)) for code, text in EXIT_CODES]
        lines += _section(say("Exit codes"), codes, width)
    else:
        lines.append(say("Exit codes are shown by: {command} --help", command=ctx.find_root().command_path))
    return "\n".join(lines).rstrip()


def _summaries(group: click.Group) -> list[tuple[str, str]]:
    if isinstance(group, SekisoGroup):
        return group.summaries()
    return [(name, first_sentence(sub)) for name, sub in group.commands.items()]


def _paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a help text, translated; indented ones (examples) as they are."""
    parts = [p for p in inspect.cleandoc(text).split("\n\n") if p.strip()]
    return [part if part[0] == " " else say(" ".join(part.split())) for part in parts]


def _indented(text: str, width: int) -> list[str]:
    return ["  " + line for line in wrap_cells(text, width - 2)]


def _section(title: str, rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    if not rows:
        return []
    column = min(max(cell_len(name) for name, _ in rows), _FIRST_COLUMN_CELLS)
    lines = [f"{title}:"]
    for name, text in rows:
        wrapped = wrap_cells(text, max(20, width - column - 4))
        if cell_len(name) > column:
            lines.append(f"  {name}")
            wrapped = ["", *wrapped]
        else:
            lines.append(
                f"  {name}{' ' * (column - cell_len(name))}  {wrapped[0] if wrapped else ''}".rstrip()
            )
        lines += [" " * (column + 4) + line for line in wrapped[1:]]
    return [*lines, ""]


def _option_record(option: click.Option) -> tuple[str, str]:
    names = ", ".join(sorted(option.opts, key=len)) + "".join(f" / {o}" for o in option.secondary_opts)
    if not option.is_flag and not option.count:
        names += f" {_metavar(option)}"
    remarks = [say("can be repeated")] if option.multiple else []
    if option.required:
        remarks.append(say("required"))
    elif option.show_default is True and option.default is not None:
        flag = (option.opts if option.default else option.secondary_opts) if option.is_flag else ()
        remarks.append(say("default: {value}", value=flag[0] if flag else option.default))
    return names, say(option.help or "") + (f" [{'; '.join(remarks)}]" if remarks else "")


def _metavar(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return "[" + "|".join(str(c) for c in option.type.choices) + "]"
    if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType):
        return say("NUMBER")
    return say(option.metavar or option.type.name.upper())


def wrap_cells(text: str, width: int) -> list[str]:
    """Wrap a text to lines of at most `width` terminal cells.

    Words of Latin letters stay whole; between Japanese characters a line may end anywhere, but no line begins
    with a closing mark or ends with an opening one (the basic rule of JIS X 4051).
    """
    lines, line = list[str](), ""
    for token in _tokens(text):
        if line and cell_len(line + token.rstrip()) > width:
            lines.append(line.rstrip())
            line = token.lstrip()
        else:
            line += token
    return [*lines, line.rstrip()] if line.strip() else lines


def _tokens(text: str) -> Iterable[str]:
    token = ""
    for piece in re.findall(r"[!-~]+|\s+|.", text):
        joined = piece[0] in _NEVER_FIRST or (token and token[-1] in _NEVER_LAST)
        if token and not joined and not piece.isspace():
            yield token
            token = ""
        token += piece
    if token:
        yield token
