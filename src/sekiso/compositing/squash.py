"""Makes one layer of a layer version and the changes captured on top of it: the layer's next version (LY-3).

An app or platform layer stays one over its own base. An OS layer stays a whole system. In either case the
result over any base is what the two give over it one after the other; content is copied as it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sekiso.compositing.composition import layer_tree, merge_stack
from sekiso.compositing.families import support_for
from sekiso.compositing.import_os import provenance
from sekiso.compositing.joining import JoinedTree, join_trees
from sekiso.compositing.squash_merging import join_structured
from sekiso.compositing.stack import LayerStack
from sekiso.errors import RuleError
from sekiso.guests.base import GuestFamilySupport
from sekiso.model.layer import LayerKind, LayerManifest
from sekiso.model.machine import Generation
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled
from sekiso.store.layer_file import Compression, LayerFile, LayerWriter
from sekiso.wim.merge import LayerTree, merge
from sekiso.wim.tree import Node


@dataclass(frozen=True, slots=True)
class SquashRequest:
    """One layer version to be made of another and of changes.

    Attributes:
        previous: layer file of the version before.
        delta: layer file of the changes, captured on top of it.
        out: the layer file to make.
        name: name of the layer.
        layer_version: name of the new version.
        compression: how the layer's content is stored.
        generation: new generation of an OS layer; None = as it was.
        base: the layers below `previous`, lowest first, if at hand: deletions of what none of them has are
            left out then.
    """

    previous: Path
    delta: Path
    out: Path
    name: str
    layer_version: str
    compression: Compression = Compression.XPRESS
    generation: Generation | None = None
    base: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Content:
    """What goes into the new layer, the manifest's own facts apart."""

    tree: JoinedTree
    generated: Mapping[bytes, bytes]
    bases: Mapping[str, bytes | None]


def squash(request: SquashRequest, *, progress: Progress = NO_PROGRESS) -> LayerManifest:
    """Make one layer of a version and the changes on top of it.

    Args:
        request: what to join, and where to.
        progress: counts bytes of content.

    Returns:
        The manifest of the new layer.

    Raises:
        AlreadyExistsError: there is a layer file of that name.
        RuleError: the changes were not made on that version, or the generation of no OS layer is to change.
        DamagedInputError: a layer is damaged.
        CanceledError: the work was canceled; nothing is left behind.
    """
    references = (request.previous, request.delta)
    with (
        LayerFile(request.previous) as previous,
        LayerFile(request.delta) as delta,
        LayerWriter(request.out, request.compression, references=references) as writer,
    ):
        _check(request, previous, delta)
        support = support_for(previous.manifest.family)
        progress.step("Reading layers")
        if previous.manifest.kind is LayerKind.OS:
            content = _next_system(previous, delta, support, progress)
        else:
            content = _next_layer(previous, delta, support, request.base)
        check_canceled(progress)
        for blob in content.generated.values():
            writer.wim.add_bytes(blob)
        sizes = {
            sha1: place.size_bytes for layer in (previous, delta) for sha1, place in layer.wim.blobs.items()
        }
        manifest = _manifest(request, previous, delta, content.tree)
        return writer.finish(manifest, content.tree.root, content.bases, sizes=sizes, progress=progress)


def _check(request: SquashRequest, previous: LayerFile, delta: LayerFile) -> None:
    if previous.manifest.identity not in delta.manifest.base:
        raise RuleError(
            field="delta",
            reason=f"The changes {delta.name} were not made on top of {previous.name}.",
            remedy="Name the version that the packaging machine was made with.",
        )
    if request.generation is not None and previous.manifest.kind is not LayerKind.OS:
        raise RuleError(
            field="generation",
            reason=f"{previous.name} is no OS layer: it has no generation of its own.",
            remedy="Leave the generation out.",
        )


def _next_system(
    previous: LayerFile, delta: LayerFile, support: GuestFamilySupport, progress: Progress
) -> _Content:
    merged = merge_stack(LayerStack((previous, delta)), support, created=0, progress=progress)
    return _Content(JoinedTree(merged.editor.root), merged.editor.generated, {})


def _next_layer(
    previous: LayerFile, delta: LayerFile, support: GuestFamilySupport, base: tuple[Path, ...]
) -> _Content:
    tree = join_trees(
        layer_tree(previous),
        layer_tree(delta),
        case_sensitive=support.case_sensitive,
        base=_merged_base(base, support),
    )
    structured = join_structured(previous, delta, tree, support)
    return _Content(structured.tree, structured.generated, structured.bases)


def _merged_base(paths: tuple[Path, ...], support: GuestFamilySupport) -> Node | None:
    trees: list[LayerTree] = []
    for path in paths:
        with LayerFile(path) as layer:
            trees.append(layer_tree(layer))
    return merge(trees, case_sensitive=support.case_sensitive).root if trees else None


def _manifest(
    request: SquashRequest, previous: LayerFile, delta: LayerFile, tree: JoinedTree
) -> LayerManifest:
    before = previous.manifest
    boot = before.boot
    if boot is not None and request.generation is not None:
        boot = replace(boot, generation=request.generation)
    return LayerManifest(
        name=request.name,
        layer_version=request.layer_version,
        kind=before.kind,
        family=before.family,
        tree="",
        base=before.base,
        deleted=tuple(sorted(tree.deleted)),
        changed_directories=tuple(sorted(tree.changed_directories)),
        replaced=tuple(sorted(tree.replaced)),
        boot=boot,
        notes=tuple(dict.fromkeys((*before.notes, *delta.manifest.notes))),
        provenance=provenance(f"{previous.name} with the changes {delta.name}"),
    )
