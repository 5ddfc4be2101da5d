"""Which paths of a tree are read: the paths wanted and the paths left out, as one tree of names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(slots=True)
class Selection:
    """What to do at one folder.

    Attributes:
        everything: read every entry that `below` does not say otherwise about.
        wanted: the path itself was asked for (by name or as part of everything).
        excluded: the path and all below it are left out.
        below: what to do at entries by name.
    """

    everything: bool
    wanted: bool = True
    excluded: bool = False
    below: dict[str, Selection] = field(default_factory=dict[str, "Selection"])

    def enter(self, name: str) -> Selection | None:
        """Return what to do at an entry, None to leave it out."""
        kid = self.below.get(name)
        if kid is None:
            return _ALL if self.everything else None
        return None if kid.excluded else kid


_ALL = Selection(everything=True)


def select(only: Collection[str] | None, exclude: Collection[str]) -> Selection:
    """Return the selection for these paths (absolute, `/`-separated).

    Args:
        only: paths to read, with the folders above them; None for everything.
        exclude: paths to leave out, with all below them.
    """
    root = Selection(everything=only is None)
    for path in only or ():
        _reach(root, path).wanted = True
    for path in exclude:
        if only is None:
            _reach(root, path).excluded = True
        else:
            _exclude_existing(root, path)
    return root


def _reach(root: Selection, path: str) -> Selection:
    here = root
    for part in path.split("/"):
        if part:
            kid = here.below.get(part)
            if kid is None:
                kid = here.below[part] = Selection(everything=here.everything, wanted=here.everything)
            here = kid
    return here


def _exclude_existing(root: Selection, path: str) -> None:
    here = root
    for part in path.split("/"):
        if part:
            if part not in here.below:
                return
            here = here.below[part]
    here.excluded = True
