"""Proves that a layer or an image is what it must be, by reading every byte of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sekiso.compositing.disk_reading import open_contents
from sekiso.compositing.execute import record_path
from sekiso.compositing.families import support_for
from sekiso.compositing.plan import ComposePlan, plan_from_dict
from sekiso.compositing.sparse import without_sparseness
from sekiso.errors import DamagedInputError, NotFoundError, VerificationError
from sekiso.guests.booting import PartitionScheme
from sekiso.model.layer import GuestFamily
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled
from sekiso.store.layer_file import LayerFile, tree_digest
from sekiso.wim import libwim
from sekiso.wim.blobs import HashSink
from sekiso.wim.diff import diff
from sekiso.wim.tree import Node, blobs_of, nodes, walk

_SHOWN_DIFFERENCES = 20


@dataclass(frozen=True, slots=True)
class Verified:
    """What was checked and found right.

    Attributes:
        what: `layer` or `image`.
        identity: identity of the layer, or SHA-256 of the image's tree.
        entries: entries read.
        content_bytes: content read and hashed.
    """

    what: str
    identity: str
    entries: int
    content_bytes: int


def verify_layer(path: Path, *, progress: Progress = NO_PROGRESS) -> Verified:
    """Check a layer file: structure, manifest, tree, and the hash of every blob.

    Raises:
        DamagedInputError: it is damaged.
        VerificationError: content that its tree names is missing.
    """
    with LayerFile(path) as layer:
        root = layer.tree()
        summary = layer.summary()
        missing = [p for p, node in walk(root) if any(sha1 not in layer.wim.blobs for sha1 in blobs_of(node))]
    if missing:
        raise VerificationError(
            what=path,
            reason=f"Content of {len(missing)} files is missing, {missing[0]} first.",
            remedy="Capture it again.",
        )
    progress.step("Hashing content", total=100)
    libwim.verify(path, progress=progress)
    return Verified("layer", summary.identity, sum(1 for _ in nodes(root)), summary.content_bytes)


def read_record(image: Path) -> ComposePlan:
    """Return the plan an image was made by; it is kept beside it.

    Raises:
        NotFoundError: there is none.
        DamagedInputError: it is no plan.
    """
    path = record_path(image)
    try:
        return plan_from_dict(json.loads(path.read_bytes())["plan"])
    except FileNotFoundError as exc:
        raise NotFoundError(
            what="The record of the image",
            name=path,
            remedy="It is written beside each image when it is composed.",
        ) from exc
    except (ValueError, KeyError, TypeError, msgspec.ValidationError) as exc:
        raise DamagedInputError(
            path=path, offset=0, reason=f"It is not the record of an image: {exc}"
        ) from exc


def verify_image(
    image: Path,
    plan: ComposePlan,
    *,
    expected: Callable[[], Node] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Verified:
    """Read an image back and compare it with its plan, every byte of every file included.

    Args:
        image: the disk file.
        plan: the plan it was made by.
        expected: returns the planned tree, so that differences can be named; needs the layers.
        progress: counts bytes.

    Raises:
        DamagedInputError: the disk or its file system is damaged.
        VerificationError: it is not what was planned; the first differences are named.
    """
    sink = _CountingSink()
    progress.step("Reading the image back", total=plan.content_bytes)
    with open_contents(image) as contents:
        if contents.scheme not in (PartitionScheme.MBR, PartitionScheme.GPT):
            raise VerificationError(
                what=image, reason="It has no partition table.", remedy="Compose it again."
            )
        wanted = support_for(plan.family).root_filesystems
        volume = next(
            (v.volume for v in contents.volumes if v.signature in wanted and v.volume is not None), None
        )
        if volume is None:
            problems = " ".join(v.problem for v in contents.volumes if v.problem)
            raise VerificationError(
                what=image,
                reason=f"It has no readable root volume. {problems}".strip(),
                remedy="Compose it again.",
            )
        root = without_sparseness(volume.tree(sink, progress=progress))
        check_canceled(progress)
    if tree_digest(root) != plan.tree:
        raise VerificationError(
            what=image, reason=_differences(root, expected, plan.family), remedy="Compose it again."
        )
    return Verified("image", plan.tree, sum(1 for _ in nodes(root)), sink.bytes)


class _CountingSink(HashSink):
    def __init__(self) -> None:
        self.bytes = 0

    def add(self, chunks: object, size_bytes: int) -> bytes:
        self.bytes += size_bytes
        return super().add(chunks, size_bytes)  # type: ignore[arg-type]


def _differences(root: Node, expected: Callable[[], Node] | None, family: GuestFamily) -> str:
    if expected is None:
        return "Its content is not what the plan says. Give the layers to learn which files differ."
    found = diff(without_sparseness(expected()), root, case_sensitive=family is not GuestFamily.WINDOWS)
    lines = [f"{change.path} ({', '.join(change.reasons)})" for change in found.changed]
    lines += [f"{path} (missing)" for path in found.deleted] + [
        f"{path} (not planned)" for path in found.added
    ]
    shown = "; ".join(lines[:_SHOWN_DIFFERENCES])
    return f"{len(lines)} entries differ from the plan: {shown}"
