"""What commands print: JSON for programs, aligned tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
from rich.cells import cell_len

from sekiso.cli.language import number, plural, say
from sekiso.cli.words import remark

_CELLS_WITHOUT_TERMINAL = 100_000


def print_json(value: Any) -> None:
    """Print data as indented JSON; dataclasses, paths and enumerations become plain data."""
    import msgspec  # noqa: PLC0415 (most commands print no JSON)

    plain = msgspec.to_builtins(value, enc_hook=str)
    click.echo(json.dumps(plain, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace").decode())


def print_pairs(pairs: Sequence[tuple[str, object]]) -> None:
    """Print `name  value` lines, names in the reader's language; empty values are left out."""
    shown = [(say(name), value) for name, value in pairs if value not in (None, "")]
    width = max((cell_len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name}{' ' * (width - cell_len(name))}  {printable(str(value))}")


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()
) -> None:
    """Print a table, headings in the reader's language; `right` names the columns that are numbers."""
    from rich.console import Console  # noqa: PLC0415 (slow import, needed for tables only)
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        table.add_column(say(heading), justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(printable(str(cell)).replace("\n", "\\n") for cell in row))
    if sys.stdout.isatty():
        Console(markup=False, highlight=False).print(table)
        return
    # Only a terminal has a width; a file or another program gets each row on one line, without padding.
    console = Console(
        markup=False,
        highlight=False,
        color_system=None,
        width=_fitting_width(headings, rows),
        soft_wrap=False,
    )
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _fitting_width(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> int:
    longest = [cell_len(say(h)) for h in headings]
    for row in rows:
        for index, cell in enumerate(row):
            longest[index] = max(longest[index], cell_len(printable(str(cell)).replace("\n", "\\n")))
    return min(sum(longest) + 2 * len(longest) + 2, _CELLS_WITHOUT_TERMINAL)


def print_notes(notes: Iterable[str]) -> None:
    """Print notes of lower packages, a line each."""
    for note in notes:
        click.echo(say("Note: {text}", text=printable(remark(note))))


def printable(text: str) -> str:
    """Return `text` with what a terminal must not be sent (control characters, broken UTF-8) made visible."""
    clean = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    return clean.encode("utf-8", "backslashreplace").decode()


def amount(entries: int, size_bytes: int) -> str:
    """Return how many entries and how many bytes: `13,184 entries, 392.8 MiB`."""
    return f"{plural(entries, '1 entry', '{count} entries')}, {human_bytes(size_bytes)}"


def human_bytes(size: int) -> str:
    """Return a size for people: `1.5 GiB`."""
    value, units = float(size), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return say("{count} bytes", count=number(size)) if units[0] == "bytes" else f"{value:,.1f} {units[0]}"
