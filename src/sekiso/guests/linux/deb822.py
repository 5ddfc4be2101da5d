"""Stanzas: paragraphs of `Field: value` lines, separated by empty lines.

Source: deb822(5).
"""

from __future__ import annotations

import re

_FIELD = re.compile(rb"^([^\s:][^:\n]*):[ \t]*(.*(?:\n[ \t].*)*)$", re.MULTILINE)
_GAP = re.compile(rb"\n[ \t]*\n\s*")


def split_stanzas(content: bytes) -> list[tuple[int, bytes]]:
    """Return the stanzas of a file with the offset of each, without the newline at their ends."""
    out: list[tuple[int, bytes]] = []
    start = 0
    for gap in _GAP.finditer(content):
        out.append((start, content[start : gap.start()]))
        start = gap.end()
    out.append((start, content[start:].rstrip(b"\n")))
    return [(offset, raw) for offset, raw in out if raw.strip()]


def fields(stanza: bytes) -> dict[str, str]:
    """Return the fields of a stanza by name; continuation lines keep their newlines."""
    return {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in _FIELD.findall(stanza)
    }


def field(stanza: bytes, name: str) -> str:
    """Return one field of a stanza, empty if absent."""
    found = re.search(rb"^" + name.encode() + rb":[ \t]*(.*)$", stanza, re.MULTILINE)
    return found.group(1).decode("utf-8", "replace").strip() if found else ""
