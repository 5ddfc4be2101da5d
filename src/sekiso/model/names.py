"""When two names count as the same."""

from __future__ import annotations

import unicodedata


def comparable_name(name: str) -> str:
    """Return what two names must differ in: case, width and runs of spaces do not count."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
