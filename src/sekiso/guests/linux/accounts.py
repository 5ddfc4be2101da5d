"""Users and groups: passwd, group, shadow, gshadow, subuid, subgid.

Source: passwd(5), group(5), shadow(5), gshadow(5), subuid(5).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sekiso.guests.linux.records import Clash, Combined, KeyedMerger, Records, keyed
from sekiso.guests.linux.stanzas import three_way


@dataclass(frozen=True, slots=True)
class AccountFormat:
    """One kind of account file.

    Attributes:
        noun: what a line describes.
        names: names of its columns.
        lists: columns that are comma-separated lists of names.
        key: columns that identify a line.
        id_column: column with the numeric id that must be unique, or None.
    """

    noun: str
    names: tuple[str, ...]
    lists: tuple[int, ...] = ()
    key: tuple[int, ...] = (0,)
    id_column: int | None = None


FORMATS = {
    "/etc/passwd": AccountFormat(
        "user", ("name", "password", "uid", "gid", "comment", "home", "shell"), id_column=2
    ),
    "/etc/group": AccountFormat("group", ("name", "password", "gid", "members"), lists=(3,), id_column=2),
    "/etc/shadow": AccountFormat(
        "user", ("name", "password", "changed", "min", "max", "warn", "inactive", "expires", "reserved")
    ),
    "/etc/gshadow": AccountFormat("group", ("name", "password", "administrators", "members"), lists=(2, 3)),
    "/etc/subuid": AccountFormat("user", ("name", "first", "count"), key=(0, 1)),
    "/etc/subgid": AccountFormat("group", ("name", "first", "count"), key=(0, 1)),
}


class AccountMerger(KeyedMerger):
    """Merges one account file by line and by column; member lists are united."""

    def __init__(self, path: str) -> None:
        self.format = FORMATS[path]
        self.name = "accounts-" + path.rsplit("/", 1)[-1]
        self.paths = (path,)
        self.combine = self._combine

    def parse(self, path: str, content: bytes) -> Records:
        """Return the lines by name; comments and NIS lines are kept as they are."""
        del path
        lines = [line for line in content.split(b"\n") if line.strip()]
        return keyed([(self._key(line), line + b"\n") for line in lines])

    def title(self, key: str) -> str:
        """Name the account."""
        return f"{self.format.noun} {key}"

    def describe(self, clash: Clash) -> str:
        """Name the columns that differ; contents only where they are no secret."""
        rows = [(who, _columns(value)) for who, value in clash.values if value is not None]
        if len(rows) < len(clash.values):
            gone = [who for who, value in clash.values if value is None]
            return f"removed by {', '.join(gone)}"
        parts: list[str] = []
        for index, name in enumerate(self.format.names):
            values = [(who, row[index] if index < len(row) else b"") for who, row in rows]
            if index in self.format.lists or len({v for _, v in values}) < 2:
                continue
            told = "; ".join(f"{who}: {v.decode('utf-8', 'replace')}" for who, v in values)
            parts.append(name if name == "password" else f"{name} ({told})")
        return "different " + ", ".join(parts)

    def check(self, path: str, inputs: Sequence[Records], merged: Records) -> tuple[tuple[str, str], ...]:
        """Find numeric ids that two names share, though in no input they did."""
        del path
        column = self.format.id_column
        if column is None:
            return ()
        known = [_names_by_id(records, column) for records in inputs]
        out: list[tuple[str, str]] = []
        for number, names in _names_by_id(merged, column).items():
            if len(names) > 1 and not any(set(names) <= set(one.get(number, ())) for one in known):
                out.append((f"{self.format.names[column]} {number}", self._shared(number, names)))
        return tuple(out)

    def _shared(self, number: str, names: Sequence[str]) -> str:
        noun, what = self.format.noun, self.format.names[self.format.id_column or 0]
        return (
            f"The {noun}s {', '.join(names)} were created with the same {what} {number} in different layers. "
            f"Files of that {what} belong to all of them and are shown as owned by {names[0]}. Create the "
            f"{noun}s in the OS layer, or capture one of the layers again with another {what}."
        )

    def _key(self, line: bytes) -> str:
        columns = _columns(line)
        if line.lstrip().startswith(b"#") or len(columns) < 2:
            return line.decode("utf-8", "surrogateescape")
        return ":".join(
            columns[i].decode("utf-8", "surrogateescape") for i in self.format.key if i < len(columns)
        )

    def _combine(self, base: bytes | None, now: bytes | None, new: bytes | None) -> Combined:
        if now is None or new is None:
            return Combined(new, clean=False)
        rows = [_columns(line) if line is not None else None for line in (base, now, new)]
        was, here, there = rows[0], rows[1] or [], rows[2] or []
        out: list[bytes] = []
        clean = True
        for index in range(max(len(here), len(there))):
            values = [_column(row, index) for row in (was, here, there)]
            if index in self.format.lists:
                out.append(_united(*values))
                continue
            value, one = three_way(*values)
            out.append(value or b"")
            clean = clean and one
        return Combined(b":".join(out) + b"\n", clean)


def _columns(line: bytes) -> list[bytes]:
    return line.rstrip(b"\n").split(b":")


def _column(row: list[bytes] | None, index: int) -> bytes | None:
    return None if row is None or index >= len(row) else row[index]


def _united(base: bytes | None, now: bytes | None, new: bytes | None) -> bytes:
    was, here, there = ([i for i in (v or b"").split(b",") if i] for v in (base, now, new))
    gone = {i for i in was if i not in here or i not in there}
    return b",".join(i for i in dict.fromkeys([*here, *there]) if i not in gone)


def _names_by_id(records: Records, column: int) -> dict[str, list[str]]:
    out: dict[str, list[str]] = defaultdict(list)
    for line in records.values():
        columns = _columns(line)
        if len(columns) > column and columns[column].isdigit():
            out[str(int(columns[column][:12]))].append(columns[0].decode("utf-8", "replace"))
    return out


ACCOUNT_MERGERS = tuple(AccountMerger(path) for path in FORMATS)
