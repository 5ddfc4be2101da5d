"""Debian version numbers in order.

Source: deb-version(7), section "Sorting algorithm".
"""

from __future__ import annotations

import re

_DIGITS = re.compile(r"\d*")
_OTHERS = re.compile(r"\D*")


def compare_versions(left: str, right: str) -> int:
    """Compare two versions: negative where `left` is the older, 0 where they are equal, else positive."""
    (epoch_l, left), (epoch_r, right) = _epoch(left), _epoch(right)
    if epoch_l != epoch_r:
        return epoch_l - epoch_r
    (up_l, rev_l), (up_r, rev_r) = _revision(left), _revision(right)
    return _compare(up_l, up_r) or _compare(rev_l, rev_r)


def _epoch(version: str) -> tuple[int, str]:
    epoch, colon, rest = version.partition(":")
    return (int(epoch), rest) if colon and epoch.isdecimal() and len(epoch) < 10 else (0, version)


def _revision(version: str) -> tuple[str, str]:
    upstream, hyphen, revision = version.rpartition("-")
    return (upstream, revision) if hyphen else (version, "")


def _compare(left: str, right: str) -> int:
    at_l = at_r = 0
    while at_l < len(left) or at_r < len(right):
        text_l, text_r = _at(_OTHERS, left, at_l), _at(_OTHERS, right, at_r)
        order = _order(text_l, text_r)
        if order:
            return order
        at_l, at_r = at_l + len(text_l), at_r + len(text_r)
        number_l, number_r = _at(_DIGITS, left, at_l), _at(_DIGITS, right, at_r)
        at_l, at_r = at_l + len(number_l), at_r + len(number_r)
        short_l, short_r = number_l.lstrip("0"), number_r.lstrip("0")
        if (len(short_l), short_l) != (len(short_r), short_r):
            return 1 if (len(short_l), short_l) > (len(short_r), short_r) else -1
    return 0


def _at(pattern: re.Pattern[str], text: str, position: int) -> str:
    found = pattern.match(text, position)
    return found.group() if found else ""


def _order(left: str, right: str) -> int:
    """Compare parts without digits: `~` before the end, the end before letters, letters before the rest."""
    for index in range(max(len(left), len(right))):
        a = _weight(left[index : index + 1])
        b = _weight(right[index : index + 1])
        if a != b:
            return a - b
    return 0


def _weight(char: str) -> int:
    if char == "~":
        return -1
    if not char:
        return 0
    return ord(char) if char.isascii() and char.isalpha() else ord(char) + 0x110000
