"""Files that a user has uploaded for a task: a run-once script with what it needs, as a tar file."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath

from sekiso.errors import NotFoundError, UnsupportedInputError

#: More is refused before anything is unpacked.
MAX_BYTES = 2 << 30
MAX_MEMBERS = 100_000


def unpack_run_once(upload: Path, folder: Path) -> Path:
    """Unpack an uploaded tar file into a fresh folder.

    Raises:
        NotFoundError: the upload is not there (any more).
        UnsupportedInputError: it is no tar file, is too large, or has members that are no plain files and
            folders below it.
    """
    if not upload.is_file():
        raise NotFoundError(what="The upload", name=upload.stem, remedy="Upload the files again.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        with tarfile.open(upload, mode="r:*") as archive:
            _check(archive, upload)
            for member in archive.getmembers():
                _unpack(archive, member, folder)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise UnsupportedInputError(
            path=upload.name,
            reason=f"It is no tar file that can be unpacked: {error}.",
            remedy="Upload a tar file with run.sh and what it needs.",
        ) from error
    return folder


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Unpack one member below the folder; links and devices are no part of what a script needs.

    Not by `extractall`: its filter against names that lead elsewhere is missing in Python 3.11.2 (Debian 12).
    """
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not (member.isdir() or member.isfile()):
        raise ValueError(f"{member.name[:100]} is no plain file or folder below it")
    target = folder.joinpath(*path.parts)
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    source = archive.extractfile(member)
    if source is None:
        raise ValueError(f"{member.name[:100]} has no content")
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("xb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
    target.chmod(0o700 if member.mode & 0o100 else 0o600)


def _check(archive: tarfile.TarFile, upload: Path) -> None:
    total_bytes = 0
    for members, member in enumerate(archive, start=1):
        total_bytes += member.size
        if members > MAX_MEMBERS or total_bytes > MAX_BYTES:
            raise UnsupportedInputError(
                path=upload.name,
                reason="It holds more than 2 GiB or 100,000 files.",
                remedy="Leave some out.",
            )
