"""What commands print: JSON for programs, aligned tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table


def print_json(value: Any) -> None:
    """Print data as indented JSON; dataclasses, paths and enumerations become plain data."""
    plain = msgspec.to_builtins(value, enc_hook=str)
    click.echo(json.dumps(plain, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace").decode())


def print_pairs(pairs: Sequence[tuple[str, object]]) -> None:
    """Print `name  value` lines; empty values are left out."""
    shown = [(name, value) for name, value in pairs if value not in (None, "")]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name:<{width}}  {printable(str(value))}")


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()
) -> None:
    """Print a table; `right` names the columns that are numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(printable(str(cell)) for cell in row))
    # Only a terminal has a width; a file or another program gets each row on one line.
    width = None if sys.stdout.isatty() else 1000
    Console(markup=False, highlight=False, width=width).print(table)


def printable(text: str) -> str:
    """Return `text` with what a terminal must not be sent (control characters, broken UTF-8) made visible."""
    clean = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    return clean.encode("utf-8", "backslashreplace").decode()


def human_bytes(size: int) -> str:
    """Return a size for people: `1.5 GiB`."""
    value, units = float(size), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{size} bytes" if units[0] == "bytes" else f"{value:.1f} {units[0]}"
