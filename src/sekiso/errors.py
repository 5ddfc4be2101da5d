"""Error types: each says what is wrong, why, and what to do, by a stable code.

An error carries its texts as templates with named parameters, so that the console, the API and the
command line render the same error in the reader's language (the Japanese texts are in `locale/`, keyed
by the English template), and so that it crosses a process or an agent link as data (`to_dict`).
"""

from __future__ import annotations

import enum
from string import Formatter
from typing import Any, ClassVar


class Family(enum.Enum):
    """What kind of failure an error is; decides the exit code of the command line.

    The value is the exit code. 0 is success and 2 is left to the command-line parser.
    """

    INTERNAL = 1
    USAGE = 2
    INPUT = 3
    NOT_FOUND = 4
    CONFLICT = 5
    UNSUPPORTED = 6
    ENVIRONMENT = 7
    TOOL = 8
    VERIFICATION = 9
    GUEST = 10
    CANCELED = 130


class SekisoError(Exception):
    """Base of every error a person may read. Params: reason.

    Subclasses set the class attributes; the parameters named in the templates are passed as keywords.

    Attributes:
        code: stable dotted name, for programs and translations.
        family: kind of failure, see `Family`.
        retryable: whether the same call may succeed later without anything being changed by a person.
        brief: template: what went wrong, one line.
        why: template: the reason, may be empty.
        resolution: template: what the reader can do.
    """

    code: ClassVar[str] = "internal"
    family: ClassVar[Family] = Family.INTERNAL
    retryable: ClassVar[bool] = False
    brief: ClassVar[str] = "Something went wrong inside Sekiso."
    why: ClassVar[str] = "{reason}"
    resolution: ClassVar[str] = "Please report this with the log of the task."

    def __init__(self, **params: object) -> None:
        self.params: dict[str, object] = params
        super().__init__(self.render())

    def render(self) -> str:
        """Return the English text on one line per part, empty parts left out."""
        parts = [fill(t, self.params) for t in (self.brief, self.why, self.resolution)]
        return "\n".join(p for p in parts if p)

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON-serialisable data: code, family, retryable, params."""
        return {
            "code": self.code,
            "family": self.family.name.lower(),
            "retryable": self.retryable,
            "params": {k: v if isinstance(v, int | float | bool) else str(v) for k, v in self.params.items()},
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.params))


def _rebuild(cls: type[SekisoError], params: dict[str, object]) -> SekisoError:
    return cls(**params)


class _Gaps(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return ""


def fill(template: str, params: dict[str, object]) -> str:
    """Fill a text template; a parameter that was not given becomes empty."""
    return template.format_map(_Gaps(params)).strip()


def gaps(template: str) -> frozenset[str]:
    """Return the names of the parameters that a text template has gaps for."""
    return frozenset(name for _, name, _, _ in Formatter().parse(template) if name)


class DamagedInputError(SekisoError):
    """A file read by Sekiso breaks its own format. Params: path, offset (bytes), reason."""

    code = "input.damaged"
    family = Family.INPUT
    brief = "{path} is damaged at byte {offset}."
    why = "{reason}"
    resolution = "Nothing was changed. Use an intact copy of the file, or export it again from where it came."


class UnsupportedInputError(SekisoError):
    """A file is well formed but holds what Sekiso refuses to guess about. Params: path, reason, remedy."""

    code = "input.unsupported"
    family = Family.UNSUPPORTED
    brief = "{path} cannot be used."
    why = "{reason}"
    resolution = "{remedy}"


class DirtyVolumeError(SekisoError):
    """A volume was not shut down cleanly. Params: path, reason, remedy."""

    code = "input.dirty"
    family = Family.INPUT
    brief = "The file system in {path} was not shut down cleanly."
    why = "{reason}"
    resolution = "{remedy}"


class NotFoundError(SekisoError):
    """Something named does not exist. Params: what, name, remedy."""

    code = "not-found"
    family = Family.NOT_FOUND
    brief = "{what} {name} does not exist."
    why = ""
    resolution = "{remedy}"


class AlreadyExistsError(SekisoError):
    """A result would overwrite something. Params: what, name, remedy."""

    code = "already-exists"
    family = Family.CONFLICT
    brief = "{what} {name} exists already."
    why = "Sekiso never overwrites what it did not make in the same run."
    resolution = "{remedy}"


class RuleError(SekisoError):
    """A request breaks a rule of the product. Params: field, reason, remedy."""

    code = "rule"
    family = Family.USAGE
    brief = "{field} cannot be accepted."
    why = "{reason}"
    resolution = "{remedy}"


class VerificationError(SekisoError):
    """A result is not what it must be. Params: what, reason, remedy."""

    code = "verification"
    family = Family.VERIFICATION
    brief = "{what} failed its verification."
    why = "{reason}"
    resolution = "{remedy}"


class ToolMissingError(SekisoError):
    """An external program is not installed. Params: tool, package."""

    code = "tool.missing"
    family = Family.ENVIRONMENT
    brief = "The program {tool} is not installed."
    why = "Sekiso needs it for this step."
    resolution = "Install it: sudo apt-get install {package}"


class ToolFailedError(SekisoError):
    """An external program failed. Params: tool, command, status, reason (tail of its error output)."""

    code = "tool.failed"
    family = Family.TOOL
    brief = "{tool} failed with status {status}."
    why = "{reason}"
    resolution = "The command was: {command}"


class ToolTimeoutError(SekisoError):
    """An external program did not end in time. Params: tool, command, timeout_s."""

    code = "tool.timeout"
    family = Family.TOOL
    retryable = True
    brief = "{tool} did not end within {timeout_s} seconds and was stopped."
    why = ""
    resolution = "The command was: {command}"


class CanceledError(SekisoError):
    """The work was canceled by its user. No params."""

    code = "canceled"
    family = Family.CANCELED
    brief = "Canceled."
    why = ""
    resolution = ""


class NoSpaceError(SekisoError):
    """There is not enough room. Params: path, needed_bytes, free_bytes."""

    code = "no-space"
    family = Family.ENVIRONMENT
    brief = "There is not enough free space at {path}."
    why = "{needed_bytes} bytes are needed, {free_bytes} are free."
    resolution = "Free some space or choose another place."


class BusyError(SekisoError):
    """Another task works on the object. Params: what, name, holder (what the task does), task (its id)."""

    code = "busy"
    family = Family.CONFLICT
    retryable = True
    brief = "{what} {name} is busy."
    why = "The task {task} works on it: {holder}."
    resolution = "Wait until that task has ended, or cancel it."


class InUseError(SekisoError):
    """The object cannot be removed because others use it. Params: what, name, users."""

    code = "in-use"
    family = Family.CONFLICT
    brief = "{what} {name} is in use and cannot be deleted."
    why = "It is used by: {users}."
    resolution = "Remove it there first, or delete what uses it."


class AmbiguousNameError(SekisoError):
    """Several objects have the name. Params: what, name, ids."""

    code = "ambiguous-name"
    family = Family.CONFLICT
    brief = "{what} {name} is not clear: several have this name."
    why = "Their identifiers are {ids}."
    resolution = "Use the identifier."
