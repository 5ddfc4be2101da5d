"""From names of files to paths: folders are found by the parent that each name refers to."""

from __future__ import annotations

from functools import cache, cached_property
from typing import NamedTuple

import numpy as np

from sekiso.disks.ntfs import scan
from sekiso.disks.ntfs.content import read_all
from sekiso.disks.ntfs.inode import FileTable
from sekiso.disks.ntfs.records import Ints
from sekiso.errors import DamagedInputError

ROOT_RECORD = 5
#: Records below this are the file system's own files.
FIRST_USER_RECORD = 24
_UPCASE_RECORD = 10
_MAX_PATH_UNITS = 32767
_UPCASE_BYTES = 1 << 17


class NameEntry(NamedTuple):
    """One name of a file.

    Attributes:
        owner: record number of the file.
        parent: record number of the folder.
        parent_sequence: sequence number of the folder.
        namespace: `scan.POSIX`, `WIN32`, `DOS` or `WIN32_AND_DOS`.
        name: the name.
    """

    owner: int
    parent: int
    parent_sequence: int
    namespace: int
    name: str


class PathIndex:
    """Which names lie in which folder, and what paths they make."""

    def __init__(self, table: FileTable) -> None:
        self._table = table
        self._names = table.names
        self._text = table.records.rows.reshape(-1)
        self._width = table.records.rows.shape[1]
        self._by_parent, self._parents = self._order_by_parent()
        self._by_owner = np.argsort(self._names.owner, kind="stable")
        self._owners = self._names.owner[self._by_owner]
        self._folder_paths: dict[int, str | None] = {ROOT_RECORD: ""}
        self._lookups: dict[int, dict[str, NameEntry]] = {}

    def _order_by_parent(self) -> tuple[Ints, Ints]:
        usable = np.nonzero(self._attached & (self._names.owner >= FIRST_USER_RECORD))[0]
        parents = self._names.parent[usable]
        order = np.argsort(parents, kind="stable")
        return usable[order], parents[order]

    @cached_property
    def _attached(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Whether each name refers to a folder that is there, with the right sequence number."""
        records, names = self._table.records, self._names
        row = records.rows_of(names.parent)
        there = (row >= 0) & (records.sequence[row] == names.parent_sequence)
        return there & (records.base[row] == 0) & records.directory[row]

    def _entry(self, index: int) -> NameEntry:
        names = self._names
        at = int(names.row[index]) * self._width + int(names.offset[index])
        text = (
            self._text[at : at + 2 * int(names.length[index])].tobytes().decode("utf-16-le", "surrogatepass")
        )
        return NameEntry(
            int(names.owner[index]),
            int(names.parent[index]),
            int(names.parent_sequence[index]),
            int(names.namespace[index]),
            text,
        )

    def entries(self, folder: int) -> list[NameEntry]:
        """Return all names in a folder, DOS names included, in the order of the file records."""
        first, end = np.searchsorted(self._parents, [folder, folder + 1])
        return [self._entry(index) for index in self._by_parent[first:end].tolist()]

    def names_of(self, owner: int) -> list[NameEntry]:
        """Return all names of a file, DOS names included."""
        first, end = np.searchsorted(self._owners, [owner, owner + 1])
        return [self._entry(index) for index in self._by_owner[first:end].tolist()]

    def children(self, folder: int, path: str) -> list[tuple[NameEntry, str]]:
        """Return the files in a folder, each with its short name (empty if it has none).

        A DOS name belongs to the first Win32 name of the same file in the same folder; a name in both name
        spaces is its own short name, as a WIM records it.

        Raises:
            DamagedInputError: two files have the same name, or a name cannot be one.
        """
        entries = self.entries(folder)
        dos = {e.owner: e.name for e in reversed(entries) if e.namespace & scan.DOS}
        seen: set[str] = set()
        found: list[tuple[NameEntry, str]] = []
        for entry in entries:
            if entry.namespace == scan.DOS:
                continue
            self._check_name(entry, path, seen)
            seen.add(entry.name)
            short = dos.pop(entry.owner, "") if entry.namespace & scan.WIN32 else ""
            found.append((entry, short))
        return found

    def _check_name(self, entry: NameEntry, path: str, seen: set[str]) -> None:
        name = entry.name
        reason = ""
        if name in seen:
            reason = f"The folder {path}/ has two files with the name {name!r}."
        elif name in (".", "..") or "/" in name or "\0" in name:
            reason = f"The folder {path}/ has a file with the impossible name {name!r}."
        elif len(path) + len(name) >= _MAX_PATH_UNITS:
            reason = (
                f"A path is longer than {_MAX_PATH_UNITS} characters: folders lie in each other too deep."
            )
        if reason:
            raise self._table.access.damaged(self._table.offset_of(entry.owner), reason)

    def folder_link(self, folder: int) -> NameEntry | None:
        """Return the one name of a folder; None if it has none.

        Raises:
            DamagedInputError: it has several.
        """
        links = [entry for entry in self.names_of(folder) if entry.namespace != scan.DOS]
        if len(links) > 1:
            reason = f"The folder {links[0].name!r} has several names, which NTFS allows for files only."
            raise self._table.access.damaged(self._table.offset_of(folder), reason)
        return links[0] if links else None

    def folder_path(self, folder: int) -> str | None:
        """Return the path of a folder (the root's is empty); None if it is not reached from the root.

        Raises:
            DamagedInputError: a folder above it has several names.
        """
        chain: list[NameEntry] = []
        at, seen = folder, set[int]()
        while at not in self._folder_paths:
            link = self.folder_link(at)
            if at in seen or at < FIRST_USER_RECORD or link is None or not self._is_attached(link):
                self._folder_paths[at] = None
                break
            seen.add(at)
            chain.append(link)
            at = link.parent
        path = self._folder_paths[at]
        for link in reversed(chain):
            if path is not None:
                path = f"{path}/{link.name}"
                if len(path) > _MAX_PATH_UNITS:
                    path = None
            self._folder_paths[link.owner] = path
        return self._folder_paths[folder]

    def _is_attached(self, link: NameEntry) -> bool:
        records = self._table.records
        row = records.row_of(link.parent)
        return (
            row >= 0
            and int(records.sequence[row]) == link.parent_sequence
            and int(records.base[row]) == 0
            and bool(records.directory[row])
        )

    def paths_of(self, owner: int) -> list[tuple[str, NameEntry]]:
        """Return every path of a file that is reached from the root, with the name that makes it."""
        if owner == ROOT_RECORD:
            return []
        found: list[tuple[str, NameEntry]] = []
        for entry in self.names_of(owner):
            if entry.namespace == scan.DOS or not self._is_attached(entry):
                continue
            folder = self.folder_path(entry.parent)
            if folder is not None:
                found.append((f"{folder}/{entry.name}", entry))
        return found

    # --- names as the volume compares them ---

    @cached_property
    def _upcase(self) -> dict[int, int]:
        """The volume's own table of upper-case letters, as far as it changes a letter."""
        try:
            stream = self._table.load(_UPCASE_RECORD).streams[""]
            data = read_all(self._table.access, stream, _UPCASE_BYTES)
        except (DamagedInputError, KeyError):
            data = b""
        if len(data) != _UPCASE_BYTES:
            return _usual_upcase()
        upper = np.frombuffer(data, "<u2")
        changed = np.nonzero(upper != np.arange(1 << 16))[0]
        return dict(zip(changed.tolist(), upper[changed].tolist(), strict=True))

    def fold(self, text: str) -> str:
        """Return a name or path as the volume compares it: two names are one if these are equal."""
        return text.translate(self._upcase)

    def lookup(self, path: str) -> NameEntry | None:
        """Return the name at a path, the exact spelling first; None if there is none or it is the root."""
        folder, found = ROOT_RECORD, None
        for part in path.split("/"):
            if not part:
                continue
            found = self._lookup_in(folder, part)
            if found is None:
                return None
            folder = found.owner
        return found

    def _lookup_in(self, folder: int, name: str) -> NameEntry | None:
        known = self._lookups.get(folder)
        if known is None:
            known = dict[str, NameEntry]()
            entries = [e for e in self.entries(folder) if e.namespace != scan.DOS]
            for entry in entries:
                known.setdefault("\0" + self.fold(entry.name), entry)
                known[entry.name] = entry
            self._lookups[folder] = known
        return known.get(name) or known.get("\0" + self.fold(name))

    # --- files that no path leads to ---

    def orphans(self) -> list[int]:
        """Return the files that no path from the root and none of the file system's own folders leads to."""
        records = self._table.records
        top = self._top_folders()
        root = records.row_of(ROOT_RECORD)
        system = (top >= 0) & (records.numbers[top] < FIRST_USER_RECORD)
        fine = (top == root) | system
        parent_row = records.rows_of(self._names.parent)
        good_names = self._attached & (self._names.namespace != scan.DOS) & fine[parent_row]
        held = np.zeros(len(records.numbers), bool)
        held[records.rows_of(self._names.owner[good_names])] = True
        lost = (records.base == 0) & (records.numbers >= FIRST_USER_RECORD) & ~held
        return records.numbers[lost].tolist()

    def _top_folders(self) -> Ints:
        """Return for each row the folder its chain of parents ends at, -1 if it ends nowhere or in a loop."""
        records, names = self._table.records, self._names
        count = len(records.numbers)
        up = np.full(count + 1, count, np.int64)  # the last entry stands for nowhere
        usable = self._attached & (names.namespace != scan.DOS) & (names.owner >= FIRST_USER_RECORD)
        up[records.rows_of(names.owner[usable])] = records.rows_of(names.parent[usable])
        system = np.nonzero(records.numbers < FIRST_USER_RECORD)[0]
        up[system] = system
        for _ in range(max(1, count.bit_length())):
            up = up[up]
        ends = up[:-1]
        settled = (ends < count) & (up[np.minimum(ends, count)] == ends)
        settled &= np.isin(ends, system)
        return np.where(settled, ends, -1)


@cache
def _usual_upcase() -> dict[int, int]:
    """Return upper-case letters as Unicode has them, for a volume whose own table is missing."""
    pairs = ((code, chr(code).upper()) for code in range(1 << 16))
    return {code: ord(upper) for code, upper in pairs if len(upper) == 1 and upper != chr(code)}
