"""dpkg's alternatives: merged by alternative, and the links that follow from the result.

Source: update-alternatives(1), section FILES, and the format that dpkg 1.21 writes.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field

from sekiso.errors import DamagedInputError
from sekiso.guests.edits import FileAccess, TreeEdit, WriteSymlink
from sekiso.guests.linux.records import KeyedMerger, Records

FOLDER = "/var/lib/dpkg/alternatives"
LINKS = "/etc/alternatives"


@dataclass
class Alternatives:
    """One link group.

    Attributes:
        status: `auto` or `manual`.
        link: the link that users see (`/usr/bin/editor`).
        slaves: name → link of the links that follow the master.
        choices: path → (priority, slave name → path).
    """

    status: str
    link: str
    slaves: dict[str, str] = field(default_factory=dict[str, str])
    choices: dict[str, tuple[int, dict[str, str]]] = field(
        default_factory=dict[str, tuple[int, dict[str, str]]]
    )

    def best(self, exists: Sequence[str]) -> str | None:
        """Return the choice of the highest priority among those that exist; the first of equals."""
        known = [p for p in self.choices if p in exists]
        return max(known, key=lambda p: self.choices[p][0], default=None)


def parse_alternatives(path: str, content: bytes) -> Alternatives:
    """Read one file of `/var/lib/dpkg/alternatives`.

    Raises:
        DamagedInputError: it is cut off or holds a priority that is no number.
    """
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    try:
        group = Alternatives(lines[0], lines[1])
        at = 2
        while lines[at]:
            group.slaves[lines[at]] = lines[at + 1]
            at += 2
        at += 1
        while lines[at]:
            paths = lines[at + 2 : at + 2 + len(group.slaves)]
            if len(paths) != len(group.slaves):
                raise IndexError  # noqa: TRY301 (one place says what is wrong)
            group.choices[lines[at]] = (int(lines[at + 1]), dict(zip(group.slaves, paths, strict=True)))
            at += 2 + len(group.slaves)
    except (IndexError, ValueError):
        reason = "The list of alternatives is cut off or malformed."
        raise DamagedInputError(path=path, offset=len(content), reason=reason) from None
    return group


def render_alternatives(group: Alternatives) -> bytes:
    """Return the file that holds a link group."""
    lines = [group.status, group.link]
    for name, link in group.slaves.items():
        lines += [name, link]
    lines.append("")
    for path, (priority, slaves) in group.choices.items():
        lines += [path, str(priority), *(slaves.get(name, "") for name in group.slaves)]
    lines.append("")
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


class AlternativesMerger(KeyedMerger):
    """Merges one link group: every choice and every slave link is a record of its own."""

    name = "dpkg-alternatives"
    empty_is_absent = True

    def claims(self, path: str) -> bool:
        """Whether the path is a file of the alternatives database."""
        return posixpath.dirname(path) == FOLDER

    def parse(self, path: str, content: bytes) -> Records:
        """Return status, link, slave links and choices as records."""
        group = parse_alternatives(path, content)
        out = {"mode": group.status, "link": group.link}
        out |= {f"slave {name}": link for name, link in group.slaves.items()}
        for choice, (priority, slaves) in group.choices.items():
            out[f"choice {choice}"] = str(priority)
            out |= {f"slave {name} of\x00{choice}": to for name, to in slaves.items() if to}
        return {key: value.encode("utf-8", "surrogateescape") for key, value in out.items()}

    def render(self, records: Records) -> bytes:
        """Return the file of the merged link group."""
        text = {key: value.decode("utf-8", "surrogateescape") for key, value in records.items()}
        group = Alternatives(text.get("mode", "auto"), text.get("link", ""))
        for key, value in text.items():
            if _is_slave(key):
                group.slaves[key.removeprefix("slave ")] = value
            elif key.startswith("choice "):
                choice = key.removeprefix("choice ")
                slaves = {
                    k.removeprefix("slave ").split(" of\x00")[0]: v
                    for k, v in text.items()
                    if k.endswith(f" of\x00{choice}")
                }
                group.choices[choice] = (int(value), slaves)
        return render_alternatives(group)

    def completed(self, merged: Records, inputs: Sequence[Records]) -> Records:
        """Keep the group's own records while it has a choice, and drop them with its last one."""
        if not any(key.startswith("choice ") for key in merged):
            return {}
        used = {key.split(" of\x00")[0] for key in merged if " of\x00" in key}
        own: Records = {}
        for records in inputs:
            own |= {k: v for k, v in records.items() if k in ("mode", "link") or k in used}
        return own | merged

    def title(self, key: str) -> str:
        """Name the part of the group."""
        return key.replace("\x00", " ")


def _is_slave(key: str) -> bool:
    return key.startswith("slave ") and "\x00" not in key


def link_edits(files: FileAccess) -> tuple[TreeEdit, ...]:
    """Return the links that must change so that every group in automatic mode points to its best choice.

    Raises:
        DamagedInputError: a file of the database is damaged.
    """
    edits: list[TreeEdit] = []
    for name in files.list(FOLDER):
        content = files.read(f"{FOLDER}/{name}")
        if content is not None:
            edits += _group_edits(files, name, parse_alternatives(f"{FOLDER}/{name}", content))
    return tuple(edits)


def _group_edits(files: FileAccess, name: str, group: Alternatives) -> list[TreeEdit]:
    best = group.best([p for p in group.choices if files.exists(p)])
    current = files.link_target(f"{LINKS}/{name}")
    chosen = best if group.status == "auto" or current not in group.choices else current
    if chosen is None or chosen == current:
        return []
    reason = f"The alternative {name} is automatic: {chosen} has the highest priority now."
    edits = _link(files, name, group.link, chosen, reason)
    for slave, target in group.choices[chosen][1].items():
        if target and files.exists(target):
            edits += _link(files, slave, group.slaves[slave], target, reason)
    return edits


def _link(files: FileAccess, name: str, link: str, target: str, reason: str) -> list[TreeEdit]:
    edits: list[TreeEdit] = [WriteSymlink(f"{LINKS}/{name}", target, reason)]
    # A real file in the place of the link was put there by somebody on purpose.
    if not files.exists(link) and files.exists(posixpath.dirname(link)):
        edits.append(WriteSymlink(link, f"{LINKS}/{name}", reason))
    return edits
