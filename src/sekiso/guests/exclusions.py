"""What is left out of a layer: patterns, each with its reason and its source."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Something that is left out of a layer.

    Attributes:
        pattern: absolute path; `*` and `?` match within one name, `**` matches any number of names. A
            matched folder is left out with all below it; `/tmp/**` keeps the folder and drops its content.
        reason: why, a full sentence.
        source: which rule says so (`FHS 3.0, 3.18`, `systemd.machine-id`, …).
    """

    pattern: str
    reason: str
    source: str


class ExclusionMatcher:
    """Answers whether a path is excluded, and by which rule."""

    def __init__(self, exclusions: Iterable[Exclusion], *, case_sensitive: bool = True) -> None:
        self.exclusions = tuple(exclusions)
        self._flags = 0 if case_sensitive else re.IGNORECASE

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        parts = [f"({_glob(item.pattern)})" for item in self.exclusions]
        return re.compile(
            "(?:" + "|".join(parts) + r")(?:/.*)?\Z" if parts else r"\Zx", self._flags | re.DOTALL
        )

    def __contains__(self, path: object) -> bool:
        """Whether a path is left out."""
        return isinstance(path, str) and self.match(path) is not None

    def match(self, path: str) -> Exclusion | None:
        """Return the rule that leaves `path` out (itself or a folder above it), or None."""
        found = self._pattern.match(path)
        if found is None or found.lastindex is None:
            return None
        return self.exclusions[found.lastindex - 1]


def _glob(pattern: str) -> str:
    out = ""
    for token in re.split(r"(\*\*|\*|\?)", pattern):
        out += {"**": ".+", "*": "[^/]*", "?": "[^/]"}.get(token, re.escape(token))
    return out
