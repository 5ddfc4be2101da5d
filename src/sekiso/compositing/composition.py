"""From a stack of layers to the one tree that goes onto the disk: merge, merge by content, edit.

Everything here is decided from the layers and the request alone, so that the appliance and an agent come to
the same tree, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from sekiso.compositing.conflicts import path_conflicts
from sekiso.compositing.edits import TreeEditor
from sekiso.compositing.files import ComposedFiles
from sekiso.compositing.plan import Action, Conflict, ConflictKind, PlannedLayer
from sekiso.compositing.sparse import without_sparseness
from sekiso.compositing.stack import LayerStack
from sekiso.guests.base import GuestFamilySupport
from sekiso.guests.booting import BootPlan, BootRequest, Generalization
from sekiso.guests.merging import KeyConflict, LayerChange, StructuredMerger
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled
from sekiso.store.layer_file import LayerFile, tree_digest
from sekiso.wim.merge import LayerTree, MergedTree, merge
from sekiso.wim.tree import NO_BLOB, Node, find, nodes


@dataclass(frozen=True)
class MergedStack:
    """The layers merged, before anything specific to one image is added.

    Attributes:
        editor: holds the tree and the content made while merging.
        conflicts: what the layers disagree about.
        layers: the layers in merge order.
        notes: facts a person must know.
    """

    editor: TreeEditor
    conflicts: tuple[Conflict, ...]
    layers: tuple[PlannedLayer, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Composition:
    """The finished tree of one image.

    Attributes:
        root: the tree.
        generated: content made by the engine, by SHA-1.
        boot: how the disk boots; None for a data volume.
        actions: what was merged, written and removed, in order.
        conflicts: what the layers disagree about.
        layers: the layers in merge order.
        notes: facts a person must know.
    """

    root: Node
    generated: Mapping[bytes, bytes]
    boot: BootPlan | None
    actions: tuple[Action, ...]
    conflicts: tuple[Conflict, ...]
    layers: tuple[PlannedLayer, ...]
    notes: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the tree's canonical metadata; whether a Linux file is stored sparse is left out."""
        return tree_digest(without_sparseness(self.root))


def merge_stack(
    stack: LayerStack, support: GuestFamilySupport, *, created: int, progress: Progress = NO_PROGRESS
) -> MergedStack:
    """Merge the layers of a stack into one tree.

    Args:
        stack: the layers.
        support: their guest family.
        created: time stamp for what merging makes, Unix seconds.
        progress: a step per stage; counts layers.

    Raises:
        DamagedInputError: a layer is damaged, or a file that is merged by content is.
        CanceledError: the work was canceled.
    """
    progress.step("Reading layers", total=len(stack.layers))
    trees: list[LayerTree] = []
    for index, layer in enumerate(stack.layers):
        check_canceled(progress)
        trees.append(layer_tree(layer))
        progress.advance(index + 1)
    progress.step("Merging layers")
    planned = tuple(_planned(layer, tree) for layer, tree in zip(stack.layers, trees, strict=True))
    merged = merge(trees, case_sensitive=support.case_sensitive)
    mergers = tuple(support.mergers())
    editor = TreeEditor(merged.root, created=created, unix=support.case_sensitive)
    conflicts = list(
        path_conflicts(
            trees,
            merged.touched,
            lambda path: _claimed(mergers, path) is not None,
            made_on=lambda upper, lower: planned[lower].identity in stack.layers[upper].manifest.base,
        )
    )
    for path in sorted(merged.touched):
        merger = _claimed(mergers, path)
        if merger is not None:
            conflicts += _merge_by_content(stack, trees, merged, path, merger, editor)
    return MergedStack(
        editor,
        tuple(conflicts),
        planned,
        (*stack.notes, *(f"{note.path}: {note.text} ({note.layer})" for note in merged.notes)),
    )


def compose_tree(
    stack: LayerStack,
    support: GuestFamilySupport,
    *,
    created: int,
    generalization: Generalization,
    boot_request: BootRequest | None,
    progress: Progress = NO_PROGRESS,
) -> Composition:
    """Work out the tree of an image: the merged layers, and what the guest family adds to them.

    Args:
        stack: the layers.
        support: their guest family.
        created: time stamp for everything the engine makes, Unix seconds.
        generalization: what happens to the machine's identity.
        boot_request: what the image boots as; None for a data volume, to which nothing is added.
        progress: a step per stage.

    Raises:
        DamagedInputError: a layer is damaged.
        UnsupportedInputError: the layers lack what they need to boot.
        CanceledError: the work was canceled.
    """
    merged = merge_stack(stack, support, created=created, progress=progress)
    editor = merged.editor
    boot: BootPlan | None = None
    if boot_request is not None:
        progress.step("Preparing the guest")

        def read_blob(sha1: bytes) -> bytes:
            made = editor.generated.get(sha1)
            return stack.read_blob(sha1) if made is None else made

        files = ComposedFiles(editor.root, read_blob, case_sensitive=support.case_sensitive)
        editor.apply(support.post_merge(files))
        editor.apply(support.generalize(files, generalization))
        boot = support.boot_plan(files, boot_request)
        editor.apply(boot.edits)
    notes = (*merged.notes, *(() if boot is None else boot.warnings))
    return Composition(
        root=editor.root,
        generated=editor.generated,
        boot=boot,
        actions=(*_merge_actions(merged.layers), *editor.actions),
        conflicts=merged.conflicts,
        layers=merged.layers,
        notes=notes,
    )


def layer_tree(layer: LayerFile) -> LayerTree:
    """Read a layer as the merge sees it.

    Raises:
        DamagedInputError: the layer is damaged.
    """
    manifest = layer.manifest
    return LayerTree(
        name=layer.name,
        root=layer.tree(),
        deleted=manifest.deleted,
        changed_directories=manifest.changed_directories,
        replaced=manifest.replaced,
    )


def _planned(layer: LayerFile, tree: LayerTree) -> PlannedLayer:
    entries = sum(1 for _ in nodes(tree.root))
    manifest = layer.manifest
    return PlannedLayer(manifest.identity, manifest.name, manifest.layer_version, manifest.kind, entries)


def _merge_actions(layers: Sequence[PlannedLayer]) -> tuple[Action, ...]:
    reasons = {"os": "the base of the image", "app": "apps by priority", "platform": "platform goes on top"}
    return tuple(
        Action("merge", f"{layer.name} {layer.layer_version}", reasons[layer.kind], digest=layer.identity)
        for layer in layers
    )


def _claimed(mergers: Sequence[StructuredMerger], path: str) -> StructuredMerger | None:
    return next((merger for merger in mergers if merger.claims(path)), None)


def _merge_by_content(
    stack: LayerStack,
    trees: Sequence[LayerTree],
    merged: MergedTree,
    path: str,
    merger: StructuredMerger,
    editor: TreeEditor,
) -> list[Conflict]:
    changes: list[LayerChange] = []
    holder: Node | None = None
    for index in merged.touched[path]:
        if index == 0:
            continue
        node = find(trees[index].root, path)
        content = _content(stack, node)
        if node is not None and content is None:
            return []  # a link or a folder took the file's place: nothing to merge by content
        layer = stack.layers[index]
        changes.append(LayerChange(layer.name, layer.base_content(path), content))
        holder = node or holder
    os_node = find(trees[0].root, path)
    result = merger.merge(path, _content(stack, os_node), changes)
    _place(editor, path, result.content, find(editor.root, path) or holder or os_node)
    return [_key_conflict(item) for item in result.conflicts]


def _content(stack: LayerStack, node: Node | None) -> bytes | None:
    if node is None or node.is_directory or node.reparse is not None:
        return None
    return b"" if node.data == NO_BLOB else stack.read_blob(node.data)


def _place(editor: TreeEditor, path: str, content: bytes | None, node: Node | None) -> None:
    """Put merged content where the merged tree holds one layer's version of the file."""
    if content is None or node is None:
        editor.drop(path)
        return
    placed = node.shallow_copy()
    placed.data = editor.keep(content)
    placed.link_group = 0
    editor.place(path, placed)


def _key_conflict(item: KeyConflict) -> Conflict:
    return Conflict(item.path, ConflictKind.KEY, item.layers, item.winner, key=item.key, detail=item.detail)
