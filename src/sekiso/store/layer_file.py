"""The layer file: one standard WIM that carries a layer's content and its manifest.

Image 1 is the layer's tree (only what differs from the base, and the folders above it). The manifest is
canonical JSON in the WIM's XML data, property `SEKISO/MANIFEST` of image 1. Image 2, `sekiso-base`, is there
when the layer changes files that are merged by content: it holds those files as the base had them.
The format is documented in docs/formats/layer.md.
"""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from sekiso.errors import AlreadyExistsError, DamagedInputError, NotFoundError, UnsupportedInputError
from sekiso.model.layer import MANIFEST_FORMAT, MANIFEST_VERSION, LayerManifest
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.wim import libwim
from sekiso.wim.file import WimFile
from sekiso.wim.metadata import parse_metadata, serialize_metadata
from sekiso.wim.tree import DIRECTORY, NO_BLOB, Node, find, new_root
from sekiso.wim.writer import WimWriter

MANIFEST_PROPERTY = "SEKISO/MANIFEST"
BASE_IMAGE_NAME = "sekiso-base"
_MERGED_FILE_LIMIT_BYTES = 256 << 20


class Compression(enum.StrEnum):
    """How the content of a layer is stored.

    `NONE` for hot OS layers (applied fastest), `XPRESS` for app layers (small and still quick),
    `LZX` and `SOLID` for layers that travel or rest (DESIGN: 163 and 571 s against 9 s for 833 MB).
    """

    NONE = "none"
    XPRESS = "xpress"
    LZX = "lzx"
    SOLID = "solid"


def tree_digest(root: Node) -> str:
    """Return the SHA-256 of the tree's canonical WIM metadata, lower-case hexadecimal."""
    return sha256(serialize_metadata(root)).hexdigest()


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """What can be said of a layer file without reading its tree.

    Attributes:
        path: the file.
        manifest: its manifest.
        identity: its content-addressed identity.
        file_bytes: size of the file.
        content_bytes: size of its blobs, unpacked.
        blobs: number of its blobs.
    """

    path: Path
    manifest: LayerManifest
    identity: str
    file_bytes: int
    content_bytes: int
    blobs: int


class LayerFile:
    """A layer opened for reading. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open a layer file.

        Raises:
            NotFoundError: there is no such file.
            DamagedInputError: the WIM or its manifest is damaged.
            UnsupportedInputError: it is a WIM but no layer, or a layer of a later format.
        """
        self.path = path
        try:
            self.wim = WimFile.open(path, check_table=False)
        except FileNotFoundError as exc:
            raise NotFoundError(what="The layer file", name=path, remedy="Check the path.") from exc
        try:
            self.manifest = _read_manifest(self.wim, path)
        except BaseException:
            self.wim.close()
            raise
        self._base: Node | None = None

    @property
    def name(self) -> str:
        """What people call it: name and version of the layer."""
        return f"{self.manifest.name} {self.manifest.layer_version}"

    def tree(self) -> Node:
        """Read the layer's tree.

        Raises:
            DamagedInputError: the metadata is damaged, or is not the tree the manifest names.
        """
        raw = self.wim.read_metadata(1)
        root = parse_metadata(raw, source=str(self.path))
        # A file that another tool wrote anew may say the same tree in other bytes.
        if sha256(raw).hexdigest() != self.manifest.tree and tree_digest(root) != self.manifest.tree:
            raise DamagedInputError(
                path=self.path, offset=0, reason="The tree is not the one that the layer's manifest names."
            )
        return root

    def base_content(self, path: str) -> bytes | None:
        """Return a file merged by content as the layer's base had it; None if the base had none."""
        if path not in self.manifest.structured:
            return None
        if self._base is None:
            self._base = self.wim.read_tree(2) if len(self.wim.images) > 1 else new_root()
        node = find(self._base, path)
        if node is None:
            return None
        return (
            b""
            if node.data == NO_BLOB
            else self.wim.read_blob(node.data, limit_bytes=_MERGED_FILE_LIMIT_BYTES)
        )

    def summary(self) -> LayerSummary:
        """Return what can be said without reading the tree."""
        sizes = [location.size_bytes for location in self.wim.blobs.values()]
        return LayerSummary(
            path=self.path,
            manifest=self.manifest,
            identity=self.manifest.identity,
            file_bytes=self.path.stat().st_size,
            content_bytes=sum(sizes),
            blobs=len(sizes),
        )

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        self.wim.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class LayerWriter:
    """Writes a layer file: content first (`wim` is the sink), then `finish`. Left early, nothing remains."""

    def __init__(
        self, path: Path, compression: Compression = Compression.NONE, *, references: Sequence[Path] = ()
    ) -> None:
        """Begin a layer file.

        Args:
            path: the file.
            compression: how its content is stored.
            references: WIM files with content of the tree that `wim` is not given; what they have stored
                in the same way is copied as it is.

        Raises:
            AlreadyExistsError: there is a file of that name.
            NotFoundError: there is no such folder.
        """
        if path.exists():
            raise AlreadyExistsError(what="The layer file", name=path, remedy="Choose another name.")
        if not path.parent.is_dir():
            raise NotFoundError(what="The folder", name=path.parent, remedy="Check the path.")
        self.path = path
        self._compression = compression
        self._references = tuple(references)
        plain = compression is Compression.NONE and not self._references
        self._plain = path if plain else path.with_name(f".{path.name}.{os.getpid()}.plain")
        self.wim = WimWriter(self._plain)

    def finish(
        self,
        manifest: LayerManifest,
        root: Node,
        bases: Mapping[str, bytes | None] | None = None,
        *,
        sizes: Mapping[bytes, int] | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> LayerManifest:
        """Write metadata and manifest, make the file durable and give it its name.

        Args:
            manifest: everything but `tree` and `structured`, which are filled in here.
            root: the layer's tree; every blob it names was given to `wim`, or lies in the references.
            bases: files merged by content, as the base had them (None: the base had none).
            sizes: lengths of the blobs in the references.
            progress: counts bytes while the content is compressed.

        Returns:
            The manifest as written.
        """
        held = dict(bases or {})
        done = replace(manifest, tree=tree_digest(root), structured=tuple(sorted(held)))
        base_root = self._base_tree(held)
        self.wim.add_image(
            root,
            name=f"{done.name} {done.layer_version}",
            properties={MANIFEST_PROPERTY: _manifest_text(done)},
            sizes=sizes,
        )
        if base_root.children:
            self.wim.add_image(base_root, name=BASE_IMAGE_NAME, properties={})
        self.wim.commit()
        if self._plain != self.path:
            self._store_otherwise(progress)
        return done

    def _store_otherwise(self, progress: Progress) -> None:
        progress.step("Joining content" if self._references else "Compressing")
        libwim.export(
            self._plain,
            self.path,
            compression=self._compression.value,
            progress=progress,
            references=self._references,
            recompress=not self._references or self._compression is Compression.SOLID,
        )

    def _base_tree(self, bases: Mapping[str, bytes | None]) -> Node:
        root = new_root()
        for path, content in sorted(bases.items()):
            if content is None:
                continue
            folder = root
            *parents, name = path.strip("/").split("/")
            for part in parents:
                kids = folder.children if folder.children is not None else {}
                folder = kids.setdefault(part, Node(name=part, attributes=DIRECTORY, children={}))
            sha1 = self.wim.add([content], len(content))
            (folder.children if folder.children is not None else {})[name] = Node(name=name, data=sha1)
        return root

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.wim.abandon()
        if self._plain != self.path:
            self._plain.unlink(missing_ok=True)


def _manifest_text(manifest: LayerManifest) -> str:
    # ASCII with escapes: XML cannot carry the lone surrogates that paths may hold.
    return json.dumps(msgspec.to_builtins(manifest), sort_keys=True, separators=(",", ":"))


def _read_manifest(wim: WimFile, path: Path) -> LayerManifest:
    text = wim.properties(1).get(MANIFEST_PROPERTY) if wim.images else None
    if text is None:
        raise UnsupportedInputError(
            path=path,
            reason="It is a WIM file, but not a layer: it has no Sekiso manifest.",
            remedy="Import it as an operating system instead.",
        )
    try:
        data = json.loads(text)
        if not isinstance(data, dict):
            raise DamagedInputError(path=path, offset=0, reason="The layer's manifest is not a JSON object.")
        _refuse_foreign(data, path)  # pyright: ignore[reportUnknownArgumentType]
        return msgspec.convert(data, LayerManifest)
    except (ValueError, RecursionError, msgspec.ValidationError) as exc:
        raise DamagedInputError(
            path=path, offset=0, reason=f"The layer's manifest is not valid: {exc}"
        ) from exc


def _refuse_foreign(data: Mapping[str, object], path: Path) -> None:
    if data.get("format") != MANIFEST_FORMAT:
        raise DamagedInputError(path=path, offset=0, reason="The layer's manifest names another format.")
    version = data.get("version")
    if not isinstance(version, int) or version < 1:
        raise DamagedInputError(path=path, offset=0, reason="The layer's manifest has no version.")
    if version > MANIFEST_VERSION:
        raise UnsupportedInputError(
            path=path,
            reason=f"It is a layer of format version {version}; this Sekiso reads up to {MANIFEST_VERSION}.",
            remedy="Update Sekiso.",
        )
