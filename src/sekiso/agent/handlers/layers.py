"""`layers.*`: the layer files at the storage path (TR-5)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from sekiso.agent.contract import (
    Done,
    FetchLayerParams,
    MissingLayersParams,
    MissingLayersResult,
    Moved,
    RemoveLayersParams,
)
from sekiso.agent.handlers.context import Command
from sekiso.agent.handlers.locks import holding_file
from sekiso.agent.handlers.moving import fetch, task_of
from sekiso.agent.handlers.opening import usable_places
from sekiso.agent.handlers.records import put_in_place, read_record, write_record
from sekiso.agent.places import Places
from sekiso.errors import NotFoundError, SekisoError, VerificationError
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.store.layer_file import LayerFile
from sekiso.transfer.manifest import Manifest, hash_file

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """Content of `Layers/<identity>.json`: what the file holds, and what it looked like when that was seen.

    Attributes:
        identity: identity of the layer.
        size_bytes: length of the file.
        root: root of its manifest.
        family: guest family of the layer.
        modified_ns: its time of modification.
        inode: its number in its file system.
    """

    identity: str
    size_bytes: int
    root: str
    family: str
    modified_ns: int
    inode: int


def missing(command: Command, params: MissingLayersParams) -> MissingLayersResult:
    """Find out which layers have to travel."""
    places = usable_places(params.storage_path)
    lacking = [i for i in params.identities if not is_whole(places, i, progress=command.progress)]
    return MissingLayersResult(tuple(lacking))


def fetch_layer(command: Command, params: FetchLayerParams) -> Moved:
    """Fetch one layer file; it gets its name when it is that layer."""
    places = usable_places(params.storage_path)
    final = places.layer(params.identity)
    places.layers()
    with holding_file(_lock(final), progress=command.progress):
        if is_whole(places, params.identity, progress=command.progress):
            return Moved(0)
        manifest = Manifest.from_dict(params.manifest, path=final.name)
        arrived = places.scratch(task_of(command)) / final.name
        wire_bytes = fetch(command, params.ticket, arrived, manifest)
        keep_layer(places, arrived, params.identity, manifest)
    return Moved(wire_bytes)


def remove(command: Command, params: RemoveLayersParams) -> Done:
    """Forget layers; those that are not there are no fault."""
    places = usable_places(params.storage_path)
    for identity in params.identities:
        final = places.layer(identity)
        if final.parent.is_dir():
            with holding_file(_lock(final), progress=command.progress):
                final.unlink(missing_ok=True)
                places.layer_record(identity).unlink(missing_ok=True)
                _lock(final).unlink(missing_ok=True)
    return Done()


def is_whole(places: Places, identity: str, *, progress: Progress = NO_PROGRESS) -> bool:
    """Whether a layer file is there and holds what it held when it was put there.

    It is read again in full only if it looks changed: by size, time of modification or inode.

    Raises:
        CanceledError: the work was canceled.
    """
    path, record = places.layer(identity), read_record(places.layer_record(identity), LayerRecord)
    try:
        state = path.stat()
    except FileNotFoundError:
        return False
    if record is None or record.identity != identity or state.st_size != record.size_bytes:
        return False
    if (state.st_mtime_ns, state.st_ino) == (record.modified_ns, record.inode):
        return True
    log.warning("the layer file %s looks changed; it is read again", path.name)
    if hash_file(path, progress=progress).root != record.root:
        return False
    write_record(places.layer_record(identity), _record(path, identity, record.root, record.family))
    return True


def keep_layer(places: Places, file: Path, identity: str, manifest: Manifest | None = None) -> None:
    """Put a layer file into `Layers/` once it is certain that it is that layer.

    Args:
        places: the storage path.
        file: the file, in a scratch folder; it is moved.
        identity: what it must be.
        manifest: of the file, where that is known.

    Raises:
        VerificationError: it is another layer.
        DamagedInputError, UnsupportedInputError: it is no layer.
    """
    found, family = layer_identity(file)
    if found != identity:
        file.unlink()
        raise VerificationError(
            what=f"The layer file {identity[:12]}",
            reason=f"It holds the layer {found[:12]}.",
            remedy="Copy the layer again.",
        )
    root = (manifest or hash_file(file)).root
    places.layers()
    # The record first: a file without one counts as missing.
    write_record(places.layer_record(identity), _record(file, identity, root, family))
    put_in_place(file, places.layer(identity))


def layer_identity(file: Path) -> tuple[str, str]:
    """Return the identity of a layer file, and its guest family.

    Raises:
        DamagedInputError, UnsupportedInputError: it is no layer.
    """
    with LayerFile(file) as layer:
        return layer.manifest.identity, layer.manifest.family.value


def layer_files(places: Places, identities: tuple[str, ...]) -> tuple[Path, ...]:
    """Return the files of layers.

    Raises:
        NotFoundError: one is not there.
    """
    paths = tuple(places.layer(identity) for identity in identities)
    for path in paths:
        if not path.is_file():
            raise NotFoundError(
                what="The layer file", name=path.name, remedy="Repeat the task: the layer is copied again."
            )
    return paths


def family_of(places: Places, identities: tuple[str, ...]) -> str:
    """Return the guest family of the first of these layers; empty if it is not here."""
    if not identities:
        return ""
    record = read_record(places.layer_record(identities[0]), LayerRecord)
    if record is not None:
        return record.family
    try:
        return layer_identity(places.layer(identities[0]))[1]
    except SekisoError:
        return ""


def _record(path: Path, identity: str, root: str, family: str) -> LayerRecord:
    state = path.stat()
    return LayerRecord(identity, state.st_size, root, family, state.st_mtime_ns, state.st_ino)


def _lock(final: Path) -> Path:
    """Return the lock of a layer's name, so that two tasks do not fetch the same one."""
    return final.with_name(f".{final.stem}.lock")
