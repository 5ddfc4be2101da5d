"""What every command that calls an appliance shares: the connection, names, times, views as plain data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote

import click

from sekiso.cli.language import language, say
from sekiso.cli.profile import current_profile
from sekiso.errors import AmbiguousNameError, NotFoundError, SekisoError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from sekiso.cli.client import ApplianceClient

_F = TypeVar("_F", bound=Callable[..., Any])
View = dict[str, Any]
#: Under these names a view holds the record that it shows; a version's view also has its layer's name.
_RECORDS = ("version", "layer", "template", "image", "record", "configuration", "agent", "user")
_MOST_COMPLETIONS = 200


def connect() -> ApplianceClient:
    """Return the appliance of the profile; use it as a context manager.

    Raises:
        NotLoggedInError: there is no profile.
    """
    from sekiso.cli.client import ApplianceClient  # noqa: PLC0415 (slow import; help needs none)

    return ApplianceClient(current_profile(), language=language())


def part(reference: object) -> str:
    """Return a name or identifier as one part of a path."""
    return quote(str(reference), safe="")


def flat(view: Any) -> View:
    """Return a view with the attributes of the record that it shows beside its own; its own count."""
    data = cast("View", view) if isinstance(view, dict) else {}
    for key in _RECORDS:
        record = data.get(key)
        if isinstance(record, dict):
            own = {name: value for name, value in data.items() if name != key}
            return {**cast("View", record), **own}
    return data


def views(answer: Any) -> list[View]:
    """Return a list of views, also where it stands in an object as its only list."""
    if isinstance(answer, dict):
        inner = cast("View", answer).values()
        lists = [cast("list[Any]", v) for v in inner if isinstance(v, list)]
        return views(lists[0]) if len(lists) == 1 else []
    return [flat(item) for item in cast("Sequence[Any]", answer or ())]


def listed(key: str, answer: Any) -> View:
    """Return a list as `--json` prints it: under a name, so that more can stand beside it."""
    return cast("View", answer) if isinstance(answer, dict) else {key: answer or []}


def find(items: Iterable[View], reference: str, what: str, remedy: str) -> View:
    """Return the item with this identifier, else the only one of this name; case does not count.

    Raises:
        NotFoundError: there is none.
        AmbiguousNameError: several have the name.
    """
    wanted, every = reference.casefold(), list(items)
    found = [i for i in every if str(i.get("id")).casefold() == wanted]
    found = found or [i for i in every if str(i.get("name")).casefold() == wanted]
    if not found:
        raise NotFoundError(what=what, name=reference, remedy=remedy)
    if len(found) > 1:
        raise AmbiguousNameError(what=what, name=reference, ids=", ".join(str(i["id"]) for i in found))
    return found[0]


def moment(seconds: float | None) -> str:
    """Return a time as people read it here: `2026-01-31 14:05`, in local time; empty for none."""
    return "" if not seconds else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def yes_no(value: object) -> str:
    """Return `yes` or `no`."""
    return say("yes") if value else say("no")


def subjects_text(subjects: Iterable[Mapping[str, Any]] | None) -> str:
    """Return the names of objects."""
    return ", ".join(str(s.get("name") or s.get("id")) for s in subjects or ())


def names_of(path: str, **params: str) -> Callable[..., list[CompletionItem]]:
    """Return what completes names of objects that the appliance lists at a path."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del ctx, param
        return _completions(path, params, incomplete)

    return complete


def _completions(path: str, params: Mapping[str, str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem  # noqa: PLC0415 (for the shell only)

    try:
        with connect() as appliance:
            items = views(appliance.get(path, {"text": incomplete or None, **params}, patience_s=0))
    except (SekisoError, OSError):  # a shell that asks for completions can show no error
        return []
    names = (str(item.get("name") or item.get("id") or item.get("code")) for item in items)
    fitting = [name for name in names if name.casefold().startswith(incomplete.casefold())]
    return [CompletionItem(name) for name in fitting[:_MOST_COMPLETIONS]]


def no_wait_option(command: _F) -> _F:
    """Add `--no-wait`."""
    return click.option(
        "--no-wait", is_flag=True, help="Start the task and return; do not follow it to its end."
    )(command)


def yes_option(command: _F) -> _F:
    """Add `--yes`."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")(command)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is destroyed; without a terminal, `--yes` is needed.

    Raises:
        click.Abort: the answer is no.
    """
    if not yes:
        click.confirm(question, abort=True, err=True)
