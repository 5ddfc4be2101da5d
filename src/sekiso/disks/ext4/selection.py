"""Which paths of a tree are read, as a tree of names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(slots=True)
class Selection:
    """What to do at one path.

    Attributes:
        everything: read everything below.
        wanted: the path itself was asked for; else it is only on the way.
        below: what to do at entries by name.
    """

    everything: bool
    wanted: bool = True
    below: dict[str, Selection] = field(default_factory=dict[str, "Selection"])

    def enter(self, name: str) -> Selection | None:
        """Return what to do at an entry, None to leave it out."""
        return _ALL if self.everything else self.below.get(name)


_ALL = Selection(everything=True)


def select(only: Collection[str] | None) -> Selection:
    """Return the selection for these paths (absolute, `/`-separated) and the folders above them.

    Args:
        only: paths to read; a folder without what is below it. None for everything.
    """
    if only is None:
        return _ALL
    root = Selection(everything=False)
    for path in only:
        here = root
        for part in path.split("/"):
            if part:
                here = here.below.setdefault(part, Selection(everything=False, wanted=False))
        here.wanted = True
    return root
