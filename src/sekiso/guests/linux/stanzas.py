"""Files of stanzas (`Field: value` paragraphs): dpkg's package database, debconf's, and APT's.

Source: dpkg-query(1); debconf's DebConf::Format::822.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sekiso.errors import DamagedInputError
from sekiso.guests.linux.deb822 import field, fields, split_stanzas
from sekiso.guests.linux.dpkg import unmet
from sekiso.guests.linux.records import Clash, Combined, KeyedMerger, Records, keyed

T = TypeVar("T")


class StanzaMerger(KeyedMerger):
    """Merges by stanza; the key is one field, or two."""

    key_fields: tuple[str, ...] = ("Name",)
    noun = "entry"

    def parse(self, path: str, content: bytes) -> Records:
        """Return the stanzas by key."""
        pairs: list[tuple[str, bytes]] = []
        for offset, raw in split_stanzas(content):
            names = [field(raw, name) for name in self.key_fields]
            if not names[0]:
                reason = f"A paragraph has no field {self.key_fields[0]}."
                raise DamagedInputError(path=path, offset=offset, reason=reason)
            pairs.append((":".join(n for n in names if n), raw))
        return keyed(pairs)

    def render(self, records: Records) -> bytes:
        """Return the stanzas, each followed by an empty line."""
        return b"".join(raw + b"\n\n" for raw in records.values())

    def title(self, key: str) -> str:
        """Name the entry."""
        return f"{self.noun} {key}"


class PackageMerger(StanzaMerger):
    """The package database of dpkg: one stanza per package and architecture."""

    name = "dpkg-status"
    paths = ("/var/lib/dpkg/status", "/var/lib/dpkg/available")
    key_fields = ("Package", "Architecture")
    noun = "package"
    sort = True

    def outline(self, value: bytes | None) -> str:
        """Say version and state."""
        if value is None:
            return "removed"
        state = field(value, "Status").split()
        words = [field(value, "Version") or "no version"]
        if state and state[-1] != "installed":
            words.append(f"({state[-1]})")
        return " ".join(words)

    def check(self, path: str, inputs: Sequence[Records], merged: Records) -> tuple[tuple[str, str], ...]:
        """Find relationships that held in every input and do not hold in the result."""
        if not path.endswith("/status"):
            return ()
        known = {item for records in inputs for item in unmet(self.render(records))}
        broken = [item for item in unmet(self.render(merged)) if item not in known]
        return tuple((f"package {name}", f"{name} {what}.") for name, what in broken)


class AptStatesMerger(StanzaMerger):
    """Which packages APT installed by itself."""

    name = "apt-extended-states"
    paths = ("/var/lib/apt/extended_states",)
    key_fields = ("Package", "Architecture")
    noun = "package"


def combine_questions(base: bytes | None, now: bytes | None, new: bytes | None) -> Combined:
    """Combine two states of one debconf question: owners and flags are united, the rest field by field."""
    if now is None or new is None:
        return Combined(new, clean=False)
    before, here, there = (fields(s) if s else {} for s in (base, now, new))
    out: dict[str, str] = {}
    clean = True
    for name in dict.fromkeys([*here, *there]):
        values = (before.get(name), here.get(name), there.get(name))
        if name in ("Owners", "Flags"):
            value: str | None = united(*values)
        else:
            value, one = three_way(*values)
            clean = clean and one
        if value is not None:
            out[name] = value
    text = "\n".join(f"{name}: {value}".rstrip() for name, value in out.items())
    return Combined(text.encode(), clean)


def united(base: str | None, now: str | None, new: str | None) -> str | None:
    """Merge comma-separated lists: additions of both, removals of both."""
    was, here, there = ([i.strip() for i in (v or "").split(",") if i.strip()] for v in (base, now, new))
    gone = {i for i in was if i not in here or i not in there}
    items = [i for i in dict.fromkeys([*here, *there]) if i not in gone]
    return ", ".join(items) if items else None


def three_way(base: T, now: T, new: T) -> tuple[T, bool]:
    """Return the value that two changes make of one, and whether they agree; the later wins."""
    if now in (base, new):
        return new, True
    return (now, True) if new == base else (new, False)


class DebconfMerger(StanzaMerger):
    """Answers and questions that debconf keeps."""

    name = "debconf"
    paths = (
        "/var/cache/debconf/config.dat",
        "/var/cache/debconf/templates.dat",
        "/var/cache/debconf/passwords.dat",
    )
    noun = "question"
    combine = staticmethod(combine_questions)

    def describe(self, clash: Clash) -> str:
        """Name the fields only: answers may be secret."""
        known = [fields(value) for _, value in clash.values if value is not None]
        names = dict.fromkeys(n for part in known for n in part)
        differing = [n for n in names if len({part.get(n) for part in known}) > 1]
        return "The layers differ in " + (", ".join(differing) or "whether it exists") + "."
