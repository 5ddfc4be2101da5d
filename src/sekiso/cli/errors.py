"""Errors that arise at the command line itself: wrong usage, and what the operating system refuses."""

from __future__ import annotations

import difflib
import errno
import os
import re

import click

from sekiso.cli.language import mark, say
from sekiso.errors import Family, NotFoundError, SekisoError

#: What click says of values, so that the catalogue has it.
CLICK_TEXTS = (
    mark("{value} is not one of {choices}."),
    mark("{value} is not in the range {range}."),
    mark("{value} is not a valid {kind}."),
    mark("Option {name} requires an argument."),
    mark("Option {name} does not take a value."),
    mark("Got unexpected extra argument {arguments}"),
    mark("Got unexpected extra arguments {arguments}"),
    mark("Missing command."),
    mark("Show this message and exit."),
    mark("Show the version and exit."),
    mark("integer"),
    mark("float"),
    mark("integer range"),
    mark("float range"),
)


class MissingParameterError(SekisoError):
    """An option or argument that a command needs was not given. Params: name, command."""

    code = "usage.missing"
    family = Family.USAGE
    brief = "{name} is missing."
    why = "The command {command} cannot work without it."
    resolution = "Give it. All options are shown by: {command} --help"


class UnknownOptionError(SekisoError):
    """There is no such option. Params: name, command, guess."""

    code = "usage.option"
    family = Family.USAGE
    brief = "There is no option {name}."
    why = "The command {command} does not know it. {guess}"
    resolution = "All options are shown by: {command} --help"


class UnknownCommandError(SekisoError):
    """There is no such command. Params: name, command, guess."""

    code = "usage.command"
    family = Family.USAGE
    brief = "There is no command {name}."
    why = "{command} does not know it. {guess}"
    resolution = "All commands are shown by: {command} --help"


class BadValueError(SekisoError):
    """A value of an option or argument cannot be used. Params: name, reason, command."""

    code = "usage.value"
    family = Family.USAGE
    brief = "The value of {name} cannot be used."
    why = "{reason}"
    resolution = "Give another value. All options are shown by: {command} --help"


class WrongUsageError(SekisoError):
    """A command line does not hold together. Params: reason, command."""

    code = "usage"
    family = Family.USAGE
    brief = "The command cannot be carried out as it was written."
    why = "{reason}"
    resolution = "See how it is written: {command} --help"


class AccessDeniedError(SekisoError):
    """The operating system denies access to a file. Params: path."""

    code = "system.access"
    family = Family.ENVIRONMENT
    brief = "Access to {path} was denied."
    why = "The account that runs Sekiso has no permission for it."
    resolution = "Change its owner or mode, or run the command as another user, for example with sudo."


class NotAFileError(SekisoError):
    """A folder stands where a file is wanted, or the other way round. Params: path, reason."""

    code = "system.kind"
    family = Family.INPUT
    brief = "{path} cannot be used."
    why = "{reason}"
    resolution = "Give the path of another file."


class DiskFullError(SekisoError):
    """A file system or quota became full while something was written. Params: path."""

    code = "system.full"
    family = Family.ENVIRONMENT
    brief = "There is no space left at {path}."
    why = "The file system or the quota became full; what was half written was removed."
    resolution = "Free some space or choose another folder."


class SystemFailedError(SekisoError):
    """The operating system failed at something else. Params: path, reason, number."""

    code = "system.failed"
    family = Family.ENVIRONMENT
    brief = "The operating system could not work on {path}."
    why = "It says: {reason} (error {number})."
    resolution = "Check the disk and its file system, then try again."


class UnexpectedError(SekisoError):
    """Something that Sekiso did not expect. Params: reason."""

    code = "internal.unexpected"
    family = Family.INTERNAL
    brief = "Something went wrong inside Sekiso."
    why = "{reason}"
    resolution = "Please report this, with what the same command prints with -vv."


def from_os_error(exc: OSError) -> SekisoError:
    """Return a typed error for what the operating system refused."""
    path = os.fsdecode(exc.filename) if isinstance(exc.filename, str | bytes) else say("the output")
    match exc.errno:
        case errno.ENOENT:
            remedy = "Check the path for misspellings, and that its folder is mounted."
            return NotFoundError(what="The path", name=path, remedy=remedy)
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return AccessDeniedError(path=path)
        case errno.EISDIR:
            return NotAFileError(path=path, reason="It is a folder, not a file.")
        case errno.ENOTDIR:
            return NotAFileError(path=path, reason="A part of its path is a file, not a folder.")
        case errno.ENOSPC | errno.EDQUOT:
            return DiskFullError(path=path)
        case number:
            return SystemFailedError(path=path, reason=exc.strerror or str(exc), number=number or 0)


def from_usage_error(exc: click.UsageError) -> SekisoError:
    """Return a typed error for what click found wrong with a command line."""
    command = exc.ctx.command_path if exc.ctx is not None else "sekiso"
    unknown = re.match(r"No such command '(.*?)'", exc.format_message())
    match exc:
        case click.MissingParameter():
            return MissingParameterError(name=_name(exc.param), command=command)
        case click.NoSuchOption():
            known = [o for p in _params(exc.ctx) for o in p.opts]
            return UnknownOptionError(
                name=exc.option_name, command=command, guess=_guess(exc.option_name, known)
            )
        case click.BadParameter():
            return BadValueError(name=_name(exc.param), reason=exc.message, command=command)
        case _ if unknown is not None:
            group = exc.ctx.command if exc.ctx is not None else None
            names = group.list_commands(exc.ctx) if exc.ctx and isinstance(group, click.Group) else []
            return UnknownCommandError(name=unknown[1], command=command, guess=_guess(unknown[1], names))
        case _:
            return WrongUsageError(reason=exc.message, command=command)


def _params(context: click.Context | None) -> list[click.Parameter]:
    return [] if context is None else context.command.get_params(context)


def _name(param: click.Parameter | None) -> str:
    if param is None:
        return ""
    return " / ".join(param.opts) if isinstance(param, click.Option) else (param.name or "").upper()


def _guess(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]}?" if close else ""
