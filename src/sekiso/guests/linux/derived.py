"""Files that derive from the whole tree: kept while they can be right, else left out and made again.

The loader's cache (`/etc/ld.so.cache`) is the important one. Without it the loader still searches its default
folders, so nothing that starts early breaks; `sekiso-first-boot.service` runs ldconfig before every other
service. Writing the cache here would mean to repeat what glibc's ldconfig knows about each library.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sekiso.guests.merging import LayerChange, Merged


class DerivedMerger:
    """Keeps a derived file while one layer alone determines it; otherwise it is made again at first boot."""

    def __init__(self, name: str, claims: str) -> None:
        self.name = name
        self._claims = re.compile(claims + r"\Z")

    def claims(self, path: str) -> bool:
        """Whether the path is one of the derived files."""
        return self._claims.match(path) is not None

    def merge(self, path: str, current: bytes | None, changes: Sequence[LayerChange]) -> Merged:
        """Return the one content that fits the merged tree, or none."""
        del path
        wanted = [c for c in changes if c.content != c.base]
        if not wanted:
            return Merged(current)
        if len(wanted) == 1 and wanted[0].base == current:
            return Merged(wanted[0].content)
        return Merged(None)


DERIVED_MERGERS = (
    DerivedMerger("loader-cache", "/etc/ld\\.so\\.cache"),
    DerivedMerger(
        "module-index",
        r"(?:/usr)?/lib/modules/[^/]+/modules\.(?:dep|alias|symbols|devname|softdep)(?:\.bin)?",
    ),
)
