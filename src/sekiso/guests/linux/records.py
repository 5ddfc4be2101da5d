"""Three-way merge of files that are sets of keyed records: the one algorithm behind every Linux merger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sekiso.guests.merging import KeyConflict, LayerChange, Merged

#: Stands for the current content of the OS layer in conflicts.
OS = "OS"

Records = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Combined:
    """Two changes of one record put together.

    Attributes:
        value: the record that results; None = it is removed.
        clean: whether both changes are in it whole.
    """

    value: bytes | None
    clean: bool


#: Puts (base, now, new) together; each None where the record is absent.
Combine = Callable[[bytes | None, bytes | None, bytes | None], Combined]


def take_new(_base: bytes | None, _now: bytes | None, new: bytes | None) -> Combined:
    """Combine records that cannot be combined: the later wins."""
    return Combined(new, clean=False)


@dataclass(frozen=True, slots=True)
class Clash:
    """One key that was changed differently.

    Attributes:
        key: the key.
        values: who holds what, lowest priority first; None = removed or absent.
    """

    key: str
    values: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class LayerRecords:
    """One layer's change of a file, as records."""

    layer: str
    base: Records
    content: Records


def merge_records(
    current: Records, changes: Sequence[LayerRecords], combine: Combine = take_new
) -> tuple[Records, tuple[Clash, ...]]:
    """Apply the difference that each layer made to `current`, in order.

    Args:
        current: the records now, in file order.
        changes: each layer's base and content, from low to high priority.
        combine: asked where a record was changed differently already.

    Returns:
        The merged records in file order, and the clashes.
    """
    result: dict[str, bytes | None] = dict(current)
    owners: dict[str, str] = {}
    clashes: dict[str, list[tuple[str, bytes | None]]] = {}
    for change in changes:
        for key in dict.fromkeys([*change.content, *change.base]):
            old, new, now = change.base.get(key), change.content.get(key), result.get(key)
            if new in (old, now):
                continue
            value = new
            if now != old:
                combined = combine(old, now, new)
                value = combined.value
                if not combined.clean:
                    clash = clashes.setdefault(key, [(owners.get(key, OS), now)])
                    clash.append((change.layer, new))
            result[key] = value
            owners[key] = change.layer
    found = tuple(Clash(key, tuple(values)) for key, values in clashes.items())
    return _in_order(current, changes, result), found


def _in_order(
    current: Records, changes: Sequence[LayerRecords], result: Mapping[str, bytes | None]
) -> Records:
    """Keep the file's order; a new record follows the record that it follows in its layer."""
    follows: dict[str, list[str]] = {}
    first: list[str] = []
    placed = set(current)
    for change in changes:
        previous = ""
        for key in change.content:
            if key not in placed and result.get(key) is not None:
                placed.add(key)
                (follows.setdefault(previous, []) if previous else first).append(key)
            if key in placed:
                previous = key
    out: Records = {}
    stack = [*reversed([*first, *current])]
    while stack:
        key = stack.pop()
        value = result.get(key)
        if value is not None:
            out[key] = value
        stack += reversed(follows.get(key, []))
    return out


class KeyedMerger:
    """A merger for one format of keyed records.

    Subclasses parse and render; everything else is the same for all of them.
    """

    name = "keyed"
    paths: tuple[str, ...] = ()
    #: Whether the records are kept in the order of their keys.
    sort = False
    #: Whether a file without records is no file at all.
    empty_is_absent = False
    combine: Combine = staticmethod(take_new)

    def claims(self, path: str) -> bool:
        """Whether this merger handles `path`."""
        return path in self.paths

    def parse(self, path: str, content: bytes) -> Records:
        """Return the records of a file, in order.

        Raises:
            DamagedInputError: the content breaks the format.
        """
        raise NotImplementedError

    def render(self, records: Records) -> bytes:
        """Return the file that holds the records."""
        return b"".join(records.values())

    def title(self, key: str) -> str:
        """Name a record in a conflict."""
        return key

    def describe(self, clash: Clash) -> str:
        """Say in words who has what."""
        return "; ".join(f"{who}: {self.outline(value)}" for who, value in clash.values)

    def outline(self, value: bytes | None) -> str:
        """Say in a few words what a record holds."""
        return "removed" if value is None else shortened(value)

    def completed(self, merged: Records, _inputs: Sequence[Records]) -> Records:
        """Return the merged records with whatever the format needs besides."""
        return merged

    def check(self, _path: str, _inputs: Sequence[Records], _merged: Records) -> tuple[tuple[str, str], ...]:
        """Return what is wrong with the result as a whole: (key, detail) pairs."""
        return ()

    def merge(self, path: str, current: bytes | None, changes: Sequence[LayerChange]) -> Merged:
        """Apply each layer's difference; see `StructuredMerger.merge`."""
        changes = [c for c in changes if c.base != c.content]
        if not changes:
            return Merged(current)
        if len(changes) == 1 and changes[0].base == current:
            return Merged(changes[0].content)
        now = self._records(path, current)
        parts = [
            LayerRecords(c.layer, self._records(path, c.base), self._records(path, c.content))
            for c in changes
        ]
        merged, clashes = merge_records(now, parts, self.combine)
        conflicts = [self._conflict(path, clash) for clash in clashes]
        inputs = [now, *(part.content for part in parts)]
        merged = self.completed(merged, inputs)
        for key, detail in self.check(path, inputs, merged):
            conflicts.append(_whole_conflict(path, key, detail, parts))
        if not merged and (self.empty_is_absent or changes[-1].content is None or current is None):
            return Merged(None, tuple(conflicts))
        ordered = dict(sorted(merged.items())) if self.sort else merged
        return Merged(self.render(ordered), tuple(conflicts))

    def _records(self, path: str, content: bytes | None) -> Records:
        return {} if content is None else self.parse(path, content)

    def _conflict(self, path: str, clash: Clash) -> KeyConflict:
        layers = tuple(dict.fromkeys(who for who, _ in clash.values))
        key = self.title(clash.key).replace("\x00", " #")
        return KeyConflict(path, key, layers, layers[-1], self.describe(clash))


def _whole_conflict(path: str, key: str, detail: str, parts: Sequence[LayerRecords]) -> KeyConflict:
    layers = tuple(dict.fromkeys(part.layer for part in parts))
    return KeyConflict(path, key, layers, layers[-1], detail)


def shortened(value: bytes, limit: int = 120) -> str:
    """Return bytes as one line of text of at most `limit` characters."""
    text = " ".join(value.decode("utf-8", "replace").split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def keyed(pairs: Sequence[tuple[str, bytes]]) -> Records:
    """Return records by key; a key that comes again gets a number, so that nothing is lost."""
    out: Records = {}
    seen: dict[str, int] = {}
    for key, value in pairs:
        seen[key] = seen.get(key, 0) + 1
        out[key if seen[key] == 1 else f"{key}\x00{seen[key]}"] = value
    return out
