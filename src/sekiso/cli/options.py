"""Options that several commands share, and parameter types with errors a person understands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

#: A file that is read.
INPUT_FILE = click.Path(path_type=Path)
#: A file that is made; its folder must exist.
OUTPUT_FILE = click.Path(path_type=Path, resolve_path=True)


class Size(click.ParamType[int]):
    """A size such as `40G`; binary units, an optional `iB` or `B` after them."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the size in bytes."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+)\s*([KMGT]?)(?:i?B)?", str(value).strip(), re.IGNORECASE)
        if found is None:
            self.fail(f"{value!r} is no size; write for example 500M or 40G.", param, ctx)
        return int(found[1]) * _UNITS[found[2].upper()]


def json_option(command: _F) -> _F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def dry_run_option(command: _F) -> _F:
    """Add `--dry-run`."""
    return click.option("--dry-run", is_flag=True, help="Print what would be done; write nothing.")(command)


def quiet_option(command: _F) -> _F:
    """Add `--quiet`."""
    return click.option("-q", "--quiet", is_flag=True, help="Show no progress.")(command)
