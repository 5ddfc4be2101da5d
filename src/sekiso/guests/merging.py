"""Files that are merged by their content instead of being overwritten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LayerChange:
    """What one layer did to one structured file.

    Attributes:
        layer: name of the layer version, for conflicts.
        base: the file in the base that the layer was captured against; None = it was not there.
        content: the file as the layer left it; None = the layer removed it.
    """

    layer: str
    base: bytes | None
    content: bytes | None


@dataclass(frozen=True, slots=True)
class KeyConflict:
    r"""One key that two layers (or a layer and the newer OS) hold differently.

    Attributes:
        path: the structured file.
        key: what inside it (`package nginx`, `user web`, `HKLM\Software\X value Y`).
        layers: the layers that disagree, lowest priority first; `OS` stands for the current OS content.
        winner: the one whose content stays (the last of `layers`, unless `detail` says why not).
        detail: what the disagreement is and what follows from it, in plain words.
    """

    path: str
    key: str
    layers: tuple[str, ...]
    winner: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Merged:
    """Result of a structured merge.

    Attributes:
        content: the merged file; None = it is not in the result.
        conflicts: every disagreement, in the order found.
    """

    content: bytes | None
    conflicts: tuple[KeyConflict, ...] = ()


class StructuredMerger(Protocol):
    """Merges one kind of file by its content instead of overwriting it."""

    @property
    def name(self) -> str:
        """Stable short name (`dpkg-status`)."""
        ...

    def claims(self, path: str) -> bool:
        """Whether this merger handles the file at `path`."""
        ...

    def merge(self, path: str, current: bytes | None, changes: Sequence[LayerChange]) -> Merged:
        """Apply each layer's difference (its base → its content) to what the OS layer holds now.

        Args:
            path: path of the file.
            current: its content in the OS layer now; None = not there.
            changes: the layers that have the file, from low to high priority.

        Returns:
            The merged content with every conflict: on a key that two layers change differently the
            later wins. Without changes the result is `current`.

        Raises:
            DamagedInputError: a content breaks its own format so that merging would lose data.
        """
        ...
