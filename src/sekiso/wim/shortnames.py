"""8.3 names: clashes that arise when folders of several layers are merged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sekiso.wim.names import fold
from sekiso.wim.tree import Node

_MAX_NUMBER = 999_999


def resolve_short_names(folder: Node) -> Iterator[tuple[Node, str, str]]:
    """Give every entry of a folder a short name that no other entry's long or short name equals.

    The first entry that has a short name keeps it, so entries of lower layers do (a registry may refer to
    them by it); a later one gets the next free number. Two equal ones make libwim's apply stop.

    Args:
        folder: changed in place; entries that change are replaced by copies.

    Yields:
        The entry as it was, its old short name and its new one (empty if no number was free).
    """
    children = folder.children or {}
    if not any(kid.short_name for kid in children.values()):
        return
    owner = {fold(name): name for name in children}
    clashes: list[str] = []
    for name, kid in children.items():
        if kid.short_name and owner.setdefault(fold(kid.short_name), name) != name:
            clashes.append(name)
    for name in clashes:
        kid = children[name]
        free = next_short_name(kid.short_name, owner)
        if free:
            owner[fold(free)] = name
        children[name] = replace(kid, short_name=free)
        yield kid, kid.short_name, free


def next_short_name(short_name: str, taken: dict[str, str]) -> str:
    """Return the first free name of the same stem and extension (`PROGRA~2.EXE`), or an empty text.

    Source: [MS-FSA] 2.1.5.1.2 leaves the choice to the file system; NTFS counts up behind the tilde too.

    Args:
        short_name: the 8.3 name that is taken.
        taken: folded names of the folder.
    """
    stem, dot, extension = short_name.partition(".")
    base = stem.rpartition("~")[0] or stem
    for number in range(1, min(_MAX_NUMBER, len(taken) + 1) + 1):
        suffix = f"~{number}"
        name = f"{base[: 8 - len(suffix)]}{suffix}{dot}{extension}"
        if fold(name) not in taken:
            return name
    return ""
