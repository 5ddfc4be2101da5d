"""The layers of one image, opened and in merge order, and the content behind them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from sekiso.errors import DamagedInputError, RuleError
from sekiso.model.layer import GuestFamily, LayerKind
from sekiso.store.layer_file import LayerFile
from sekiso.wim.file import BlobLocation

_READ_LIMIT_BYTES = 1 << 30


class LayerStack:
    """One OS layer, app layers from low to high priority, at most one platform layer (LY-6).

    Attributes:
        layers: the layers in merge order: OS, apps as given, platform.
        family: their guest family.
        notes: facts a person must know, in words.
    """

    def __init__(self, layers: Sequence[LayerFile]) -> None:
        """Put layers in merge order.

        Raises:
            RuleError: there is not exactly one OS layer, there are two platform layers, a layer is there
                twice, or the families differ.
        """
        self.layers = _merge_order(layers)
        self.family: GuestFamily = self.layers[0].manifest.family
        self.notes = _missing_bases(self.layers)
        self._files = ExitStack()

    @classmethod
    def open(cls, paths: Sequence[Path]) -> LayerStack:
        """Open layer files; the stack closes them.

        Raises:
            RuleError: as above.
            DamagedInputError: a file is damaged.
            UnsupportedInputError: a file is no layer.
        """
        with ExitStack() as opening:
            stack = cls([opening.enter_context(LayerFile(path)) for path in paths])
            stack._files = opening.pop_all()
            return stack

    def find_blob(self, sha1: bytes) -> BlobLocation | None:
        """Return where content lies, or None if no layer has it."""
        for layer in reversed(self.layers):
            found = layer.wim.blobs.get(sha1)
            if found is not None:
                return found
        return None

    def read_blob(self, sha1: bytes) -> bytes:
        """Return content by SHA-1.

        Raises:
            DamagedInputError: no layer has it, or it is damaged.
        """
        for layer in reversed(self.layers):
            if sha1 in layer.wim.blobs:
                return layer.wim.read_blob(sha1, limit_bytes=_READ_LIMIT_BYTES)
        raise DamagedInputError(
            path=self.layers[-1].path, offset=0, reason=f"The content {sha1.hex()} is in none of the layers."
        )

    def close(self) -> None:
        """Close the layer files."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def _merge_order(layers: Sequence[LayerFile]) -> tuple[LayerFile, ...]:
    by_kind = {kind: [layer for layer in layers if layer.manifest.kind is kind] for kind in LayerKind}
    if len(by_kind[LayerKind.OS]) != 1:
        names = ", ".join(layer.name for layer in by_kind[LayerKind.OS]) or "none"
        raise RuleError(
            field="layers",
            reason=f"An image has exactly one OS layer; given: {names}.",
            remedy="Name one OS layer.",
        )
    if len(by_kind[LayerKind.PLATFORM]) > 1:
        names = ", ".join(layer.name for layer in by_kind[LayerKind.PLATFORM])
        raise RuleError(
            field="layers",
            reason=f"An image has at most one platform layer; given: {names}.",
            remedy="Name one platform layer, or none.",
        )
    ordered = (*by_kind[LayerKind.OS], *by_kind[LayerKind.APP], *by_kind[LayerKind.PLATFORM])
    _refuse_mixture(ordered)
    return ordered


def _refuse_mixture(layers: Sequence[LayerFile]) -> None:
    seen: set[str] = set()
    for layer in layers:
        if layer.manifest.family is not layers[0].manifest.family:
            raise RuleError(
                field="layers",
                reason=f"{layer.name} is a layer for {layer.manifest.family}, the OS layer {layers[0].name} "
                f"is for {layers[0].manifest.family}.",
                remedy="Use layers of one guest family.",
            )
        if layer.manifest.identity in seen:
            raise RuleError(
                field="layers", reason=f"{layer.name} is named twice.", remedy="Name each layer once."
            )
        seen.add(layer.manifest.identity)


def _missing_bases(layers: Sequence[LayerFile]) -> tuple[str, ...]:
    present = {layer.manifest.identity for layer in layers}
    notes: list[str] = []
    for layer in layers[1:]:
        missing = [base for base in layer.manifest.base if base not in present]
        if missing:
            notes.append(
                f"{layer.name} was captured on layer versions that are not part of this image: "
                + ", ".join(base[:12] for base in missing)
            )
    return tuple(notes)
