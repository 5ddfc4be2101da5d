"""Options that several commands share, and parameter types with errors a person understands."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_NAME_CHARS = 200
_SIZE_DIGITS = 18

#: A file that is read.
INPUT_FILE = click.Path(path_type=Path)


class OutputFile(click.ParamType[Path]):
    """A file that is made: its folder must exist, and its name must end in one of `suffixes`, if any."""

    name = "path"

    def __init__(self, *suffixes: str) -> None:
        self._suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the absolute path."""
        path = Path(os.path.abspath(value))  # noqa: PTH100 (a link to a file yet to be made is not followed)
        if not path.parent.is_dir():
            self.fail(f"The folder {path.parent} does not exist.", param, ctx)
        if path.is_dir() or str(value).endswith("/"):
            self.fail(f"{path} is a folder, not a file.", param, ctx)
        if self._suffixes and path.suffix.lower() not in self._suffixes:
            self.fail(f"The name {path.name} does not end in {' / '.join(self._suffixes)}.", param, ctx)
        return path


class Name(click.ParamType[str]):
    """A name that people read: not empty, no control characters, not too long."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name without spaces at its ends."""
        text = str(value).strip()
        if not text:
            self.fail("A name cannot be empty.", param, ctx)
        if not text.isprintable():
            self.fail("A name cannot have control characters in it.", param, ctx)
        if len(text) > _NAME_CHARS:
            self.fail(f"A name has at most {_NAME_CHARS} characters.", param, ctx)
        return text


class Size(click.ParamType[int]):
    """A size such as `40G`; binary units, an optional `iB` or `B` after them."""

    name = "size"

    def __init__(self, least: str = "1", most: str = "64T") -> None:
        self._least, self._most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the size in bytes."""
        if isinstance(value, int):
            return value
        size = size_bytes(str(value))
        if size is None:
            self.fail(f"{value!r} is no size; write for example 500M or 40G.", param, ctx)
        if not (size_bytes(self._least) or 0) <= size <= (size_bytes(self._most) or 0):
            self.fail(f"{value!r} is not between {self._least} and {self._most}.", param, ctx)
        return size


def size_bytes(text: str) -> int | None:
    """Return the bytes of a size such as `40G`, `512MiB` or `1024`; None if it is none."""
    found = re.fullmatch(r"([0-9]+)\s*([KMGT]?)(?:(?<=[KMGT])i)?B?", text.strip(), re.IGNORECASE)
    if found is None or len(found[1]) > _SIZE_DIGITS:
        return None
    return int(found[1]) * _UNITS[found[2].upper()]


def json_option(command: _F) -> _F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def page_options(command: _F) -> _F:
    """Add `--text`, `--offset` and `--limit` of a list, which are parameters of the API by the same names."""
    options = (
        click.option("--text", help="Only what has these words in its name."),
        click.option("--offset", type=click.IntRange(0), help="Leave out so many from the beginning."),
        click.option("--limit", type=click.IntRange(1, 1000), help="At most so many."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def dry_run_option(command: _F) -> _F:
    """Add `--dry-run`."""
    return click.option("--dry-run", is_flag=True, help="Print what would be done; write nothing.")(command)


def quiet_option(command: _F) -> _F:
    """Add `--quiet`."""
    return click.option("-q", "--quiet", is_flag=True, help="Show no progress.")(command)
