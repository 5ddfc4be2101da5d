"""What libwim does for Sekiso: apply and capture, write with another compression, verify.

Each call runs in a worker process of its own; see `sekiso.wim.client`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sekiso.errors import AlreadyExistsError, NoSpaceError, ToolFailedError, UnsupportedInputError
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.wim.client import Worker
from sekiso.wim.file import WimFile
from sekiso.wim.rawnames import restore_raw_names
from sekiso.wim.writer import sync_folder

_NO_SPACE = os.strerror(errno.ENOSPC)

Compression = Literal["none", "xpress", "lzx", "lzx20", "solid"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What libwim said while it worked.

    Attributes:
        warnings: its warnings, one line each: things it left out or could not set.
        version: its version, such as `1.13.6`.
    """

    warnings: tuple[str, ...]
    version: str


def _run(operation: str, arguments: Mapping[str, Any], progress: Progress) -> Outcome:
    try:
        with Worker() as worker:
            result = worker.call(operation, arguments, progress)
    except ToolFailedError as exc:
        if _NO_SPACE not in str(exc) or arguments.get("ntfs"):
            raise
        folder = Path(arguments.get("out") or arguments.get("target") or "/").parent
        free_bytes = shutil.disk_usage(folder).free
        raise NoSpaceError(path=folder, needed_bytes="More", free_bytes=free_bytes) from exc
    return Outcome(tuple(result.get("warnings", ())), result.get("version", ""))


def _names(paths: Sequence[Path]) -> list[str]:
    return [str(p.absolute()) for p in paths]


@contextlib.contextmanager
def _new_file(path: Path) -> Generator[Path, None, None]:
    """Give a name beside `path` to write to; it becomes `path` when all went well."""
    _refuse_existing(path)
    temporary = path.absolute().parent / f".{path.name[:64]}.{os.urandom(8).hex()}.part"
    try:
        yield temporary
        _refuse_existing(path)
        temporary.replace(path)
        sync_folder(path.absolute().parent)
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise AlreadyExistsError(what="The file", name=path, remedy="Choose another name or remove it.")


def apply_ntfs(
    wim: Path,
    references: Sequence[Path],
    volume_file: Path,
    progress: Progress = NO_PROGRESS,
    *,
    image: int = 1,
) -> Outcome:
    """Write an image to an empty NTFS volume, with all that NTFS keeps; needs no root and no mount.

    Args:
        wim: WIM file with the image.
        references: WIM files that hold blobs which `wim` lacks.
        volume_file: plain file (or device) with the NTFS at offset 0.
        progress: counts bytes of content; asked for cancellation.
        image: number of the image.

    Raises:
        DamagedInputError: a WIM file is damaged.
        NotFoundError: none of the files has some content of the image.
        ToolFailedError: the volume could not be written, is not empty, or is full.
        ToolMissingError: libwim is not installed.
        CanceledError: canceled; the volume is half written then.
    """
    arguments = {"wim": str(wim.absolute()), "references": _names(references), "image": image}
    return _run("apply", {**arguments, "target": str(volume_file.absolute()), "ntfs": True}, progress)


def apply_folder(
    wim: Path,
    references: Sequence[Path],
    folder: Path,
    progress: Progress = NO_PROGRESS,
    *,
    image: int = 1,
) -> Outcome:
    """Write an image to an empty folder, with owners, modes, devices and extended attributes (as root).

    Args and Raises as `apply_ntfs`, and:
        AlreadyExistsError: the folder is not empty.
    """
    folder.mkdir(exist_ok=True)
    if any(folder.iterdir()):
        raise AlreadyExistsError(what="Content in", name=folder, remedy="Use an empty folder.")
    arguments = {"wim": str(wim.absolute()), "references": _names(references), "image": image}
    outcome = _run("apply", {**arguments, "target": str(folder.absolute()), "ntfs": False}, progress)
    with WimFile.open(wim) as opened:
        restore_raw_names(folder, opened.read_tree(image))
    return outcome


def capture_ntfs(
    volume_file: Path,
    out_wim: Path,
    progress: Progress = NO_PROGRESS,
    *,
    name: str = "image",
    compression: Compression = "none",
) -> Outcome:
    """Capture a whole NTFS volume into a new WIM file.

    The caller has checked that the volume is clean: libwim captures a dirty one without a word.

    Args:
        volume_file: plain file (or device) with the NTFS at offset 0; only read.
        out_wim: the file to make.
        progress: counts bytes of content; asked for cancellation.
        name: name of the image.
        compression: how to compress.

    Raises:
        AlreadyExistsError: `out_wim` exists.
        ToolFailedError: the volume cannot be read.
        ToolMissingError: libwim is not installed.
        CanceledError: canceled; nothing is left.
    """
    return _capture(volume_file, out_wim, progress, name=name, compression=compression, ntfs=True)


def capture_folder(
    folder: Path,
    out_wim: Path,
    progress: Progress = NO_PROGRESS,
    *,
    name: str = "image",
    compression: Compression = "none",
) -> Outcome:
    """Capture a Linux folder, with owners, modes, devices and extended attributes, into a new WIM file.

    Args and Raises as `capture_ntfs`, and:
        UnsupportedInputError: a file name is not UTF-8, which libwim cannot capture.
    """
    _refuse_raw_names(folder)
    return _capture(folder, out_wim, progress, name=name, compression=compression, ntfs=False)


def _capture(
    source: Path, out_wim: Path, progress: Progress, *, name: str, compression: Compression, ntfs: bool
) -> Outcome:
    with _new_file(out_wim) as temporary:
        arguments = {"source": str(source.absolute()), "out": str(temporary), "name": name, "ntfs": ntfs}
        return _run("capture", {**arguments, "compression": compression}, progress)


def _refuse_raw_names(folder: Path) -> None:
    for parent, folders, files in os.walk(os.fsencode(folder)):
        for name in (*folders, *files):
            try:
                name.decode()
            except UnicodeDecodeError:
                raise UnsupportedInputError(
                    path=os.fsdecode(os.path.join(parent, name)),  # noqa: PTH118 (bytes)
                    reason="Its name is not UTF-8, which libwim cannot capture from a folder.",
                    remedy="Rename it, or import the file system image instead of the folder.",
                ) from None


def export(
    src: Path,
    dst: Path,
    compression: Compression = "none",
    progress: Progress = NO_PROGRESS,
    *,
    references: Sequence[Path] = (),
    recompress: bool = True,
) -> Outcome:
    """Write a WIM file again with another compression: same images, XML properties and blobs.

    Args:
        src: the file to read.
        dst: the file to make.
        compression: how to compress: `xpress` and `lzx20` (fast LZX) for the wire, `solid` (LZMS) is small.
        progress: counts bytes of content; asked for cancellation.
        references: WIM files with blobs that `src` lacks; they are taken into `dst`.
        recompress: False copies what is compressed in that very way already as it is, its hash not checked.

    Raises:
        AlreadyExistsError: `dst` exists.
        DamagedInputError: `src` is damaged.
        NotFoundError: some content of an image is in none of the files.
        ToolMissingError: libwim is not installed.
        CanceledError: canceled; nothing is left.
    """
    with _new_file(dst) as temporary:
        arguments = {"wim": str(src.absolute()), "references": _names(references), "out": str(temporary)}
        how = {"compression": compression, "recompress": recompress}
        return _run("export", {**arguments, **how}, progress)


def verify(wim: Path, progress: Progress = NO_PROGRESS, *, references: Sequence[Path] = ()) -> Outcome:
    """Let libwim read every image and every blob of a WIM file and check every hash.

    Raises:
        DamagedInputError: something is damaged.
        NotFoundError: some content of an image is in none of the files.
        ToolMissingError: libwim is not installed.
        CanceledError: canceled.
    """
    return _run("verify", {"wim": str(wim.absolute()), "references": _names(references)}, progress)


def version() -> str:
    """Return the version of libwim.

    Raises:
        ToolMissingError: libwim is not installed.
    """
    return _run("version", {}, NO_PROGRESS).version
