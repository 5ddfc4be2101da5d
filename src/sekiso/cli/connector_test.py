"""The test of a connector configuration, shown row by row while its checks run (CC-7)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click
from rich.cells import cell_len

from sekiso.cli.language import say
from sekiso.cli.output import print_json, printable
from sekiso.cli.words import remark, word
from sekiso.connectors.checks import CHECKS
from sekiso.errors import Family

_STATUSES = ("passed", "failed", "skipped")
_COLOURS = {"passed": "green", "failed": "red", "skipped": "yellow"}
_TITLES = {check.code: check.title for check in CHECKS}


def show_test(rows: Iterable[Mapping[str, Any]], *, as_json: bool) -> bool:
    """Print each row when it comes; return whether no check failed."""
    seen = list[Mapping[str, Any]]()
    for row in rows:
        seen.append(row)
        if not as_json:
            _show_row(row)
            sys.stdout.flush()
    if as_json:
        print_json({"checks": seen})
    return all(row["status"] != "failed" for row in seen)


def exit_unless(passed: bool) -> None:
    """Exit as for a wrong input when a check failed.

    Raises:
        click.exceptions.Exit: one failed.
    """
    if not passed:
        raise click.exceptions.Exit(Family.INPUT.value)


def _show_row(row: Mapping[str, Any]) -> None:
    status, code = str(row["status"]), str(row["code"])
    title = str(row.get("title") or say(_TITLES.get(code, code)))
    shown = _padded(word(status), max(cell_len(word(s)) for s in _STATUSES))
    width = max(cell_len(say(t)) for t in _TITLES.values())
    indent = " " * (cell_len(shown) + width + 4)
    details = printable(remark(str(row.get("detail") or ""))).split("\n")
    click.echo(
        f"{click.style(shown, fg=_COLOURS.get(status))}  {_padded(title, width)}  {details[0]}".rstrip()
    )
    for line in details[1:]:
        click.echo(indent + line)
    for line in printable(remark(str(row.get("what_to_do") or ""))).split("\n"):
        if line:
            click.echo(f"{indent}→ {line}")


def _padded(text: str, width: int) -> str:
    return text + " " * max(0, width - cell_len(text))
