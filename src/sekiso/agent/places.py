"""Folders and files below a storage path, and the guard that nothing else is touched (CC-5).

    Layers/<identity>.wim                 layer files, each with `<identity>.json`
    Cache/<key>.<vhd|vhdx>, <key>.json    layer disk cache
    Packaging/<version id>/               boot disk (without cache), packaging disk, machine
    Images/<image name>/                  published disk and its machine
    Tasks/<task id>/                      scratch of a task

Whatever comes over the wire is checked here before it becomes part of a path: identifiers are hexadecimal or
UUIDs, names are made safe for file systems, and paths must lie below the storage path, links resolved.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path

from sekiso.errors import NotFoundError, RuleError
from sekiso.model.machine import DiskFormat
from sekiso.model.storage_path import HostPlatform, StoragePath, parse_storage_path

LAYERS, CACHE, PACKAGING, IMAGES, TASKS = "Layers", "Cache", "Packaging", "Images", "Tasks"
#: Name of the folder of a machine's own files, beside its disks.
MACHINE = "machine"
#: Records of a packaging machine and of an image.
PACKAGING_RECORD, IMAGE_RECORD = "record.json", "image.json"

_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-f]{32,64}", re.ASCII)
_IDENTITY = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FILE_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,119}", re.ASCII)
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]|^\.|[. ]$')
_DEVICE_NAME = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)
#: Of the 255 bytes that a name may have; suffixes are added to it.
_NAME_BYTES = 180


class Places:
    """One storage path, which is there."""

    def __init__(self, root: Path) -> None:
        """Use `open_places`; `root` is absolute and has its links resolved."""
        self.root = root

    def layers(self) -> Path:
        """Return the folder of layer files, which is there afterwards."""
        return self._made(LAYERS)

    def layer(self, identity: str) -> Path:
        """Return the path of a layer file."""
        return self.root / LAYERS / f"{checked_identity(identity)}.wim"

    def layer_record(self, identity: str) -> Path:
        """Return the path of the record of a layer file."""
        return self.root / LAYERS / f"{checked_identity(identity)}.json"

    def cache(self) -> Path:
        """Return the folder of the layer disk cache, which need not be there."""
        return self.root / CACHE

    def packaging(self, version_id: str) -> Path:
        """Return the folder of a packaging machine, which need not be there."""
        return self.root / PACKAGING / checked_id(version_id, "version_id")

    def packagings(self) -> tuple[Path, ...]:
        """Return the folders of all packaging machines."""
        return _folders(self.root / PACKAGING)

    def image(self, name: str) -> Path:
        """Return the folder of an image, which need not be there."""
        return self.root / IMAGES / safe_name(name)

    def task(self, task_id: str) -> Path:
        """Return the scratch folder of a task, which need not be there."""
        return self.root / TASKS / checked_id(task_id, "task_id")

    def scratch(self, task_id: str, *names: str) -> Path:
        """Return a folder in the scratch of a task, which is there afterwards."""
        return make_folder(self.task(task_id).joinpath(*names))

    def below(self, text: str, *, field: str = "path") -> Path:
        """Return a path that came over the wire.

        Raises:
            RuleError: it is not below the storage path, links resolved.
        """
        path = Path(text)
        if "\0" in text or not path.is_absolute():
            raise _outside(text, field)
        # The last name may be missing, or be what a link must not replace.
        real = path.parent.resolve() / path.name
        if path.is_symlink() or path.name in ("", ".", "..") or self.root not in real.parents:
            raise _outside(text, field)
        return real

    def file_below(self, text: str, *, field: str = "path") -> Path:
        """Return a file that came over the wire by its path.

        Raises:
            RuleError: it is not below the storage path.
            NotFoundError: there is no such file.
        """
        path = self.below(text, field=field)
        if not path.is_file():
            raise NotFoundError(what="The file", name=text, remedy="Repeat the step that makes it.")
        return path

    def _made(self, name: str) -> Path:
        return make_folder(self.root / name)


def open_places(storage_path: str) -> Places:
    """Return the places of a storage path; the folder is made if it is absent.

    Raises:
        RuleError: the path breaks the rules for storage paths.
        OSError: it cannot be made.
    """
    return Places(make_folder(parsed_path(storage_path)).resolve())


def parsed_path(text: str) -> Path:
    """Return a storage path as a path of this host.

    Raises:
        RuleError: the path breaks the rules for storage paths.
    """
    found = parse_storage_path(text, HostPlatform.POSIX)
    if not isinstance(found, StoragePath):
        raise RuleError(field=found[0].field, reason=found[0].reason, remedy=found[0].remedy)
    return Path(found.text)


def make_folder(folder: Path) -> Path:
    """Make a folder and those above it, for the agent's account alone, and return it."""
    missing = [folder, *folder.parents]
    for place in reversed([p for p in missing if not p.exists()]):
        place.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(20, os.strerror(20), str(folder))
    return folder


def checked_id(text: str, field: str) -> str:
    """Return an identifier in lower case.

    Raises:
        RuleError: it is neither a UUID nor hexadecimal.
    """
    if not _ID.fullmatch(text):
        raise RuleError(
            field=field,
            reason=f"{text[:80]!r} is no identifier.",
            remedy="Identifiers are UUIDs, or 32 to 64 hexadecimal digits.",
        )
    return text.lower()


def is_id(text: str) -> bool:
    """Whether a text is an identifier."""
    return _ID.fullmatch(text) is not None


def is_identity(text: str) -> bool:
    """Whether a text is the identity of a layer, or the key of a disk."""
    return _IDENTITY.fullmatch(text) is not None


def checked_identity(text: str) -> str:
    """Return the identity of a layer, or the key of a disk.

    Raises:
        RuleError: it is no SHA-256 in lower-case hexadecimal.
    """
    if not is_identity(text):
        raise RuleError(
            field="identity", reason=f"{text[:80]!r} is no identity of a layer.", remedy="It is a SHA-256."
        )
    return text


def checked_file_name(text: str, field: str = "name") -> str:
    """Return the plain name of a file in a scratch folder.

    Raises:
        RuleError: it is none.
    """
    if not _FILE_NAME.fullmatch(text):
        raise RuleError(
            field=field,
            reason=f"{text[:80]!r} is no plain file name.",
            remedy="Use up to 120 letters, digits, dots, hyphens and underscores.",
        )
    return text


def safe_name(text: str) -> str:
    """Return a name that file systems of Linux and Windows take; the same for the same text.

    A text that is such a name already stays as it is. In any other what does not fit is replaced, and a part
    of its hash added, so that two texts never get one name.

    Raises:
        RuleError: the text is empty.
    """
    plain = unicodedata.normalize("NFC", text)
    if not plain.strip():
        raise RuleError(field="name", reason="The name is empty.", remedy="Give a name.")
    fits = len(plain.encode(errors="surrogatepass")) <= _NAME_BYTES
    if plain == text and fits and not _UNSAFE.search(text) and not _is_device(text) and _is_text(text):
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    readable = _UNSAFE.sub("_", plain).encode("ascii" if not _is_text(plain) else "utf-8", "replace")
    shortened = readable[: _NAME_BYTES - 10].decode(errors="ignore").replace("?", "_").rstrip(". ")
    return f"{'_' if _is_device(shortened) else ''}{shortened}-{digest}"


def disk_name(stem: str, disk_format: DiskFormat) -> str:
    """Return the name of a disk file."""
    return f"{stem}.{disk_format.value}"


def is_own_machine(folder: Path) -> bool:
    """Whether the folder of a machine is one that Sekiso makes for packaging machines and images."""
    home = folder.parent
    known = {PACKAGING: PACKAGING_RECORD, IMAGES: IMAGE_RECORD}.get(home.parent.name)
    return folder.name == MACHINE and known is not None and (home / known).is_file()


def _is_device(text: str) -> bool:
    return _DEVICE_NAME.fullmatch(text) is not None


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _folders(place: Path) -> tuple[Path, ...]:
    try:
        return tuple(sorted(p for p in place.iterdir() if is_id(p.name) and p.is_dir()))
    except FileNotFoundError:
        return ()


def _outside(text: str, field: str) -> RuleError:
    return RuleError(
        field=field,
        reason=f"{text[:200]!r} does not lie below the storage path.",
        remedy="Name a file below the storage path of the connector configuration.",
    )
