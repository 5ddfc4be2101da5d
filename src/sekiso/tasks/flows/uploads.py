"""Files that a user has uploaded for a task: a run-once script with what it needs, as a tar file."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

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
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise UnsupportedInputError(
            path=upload.name,
            reason=f"It is no tar file that can be unpacked: {error}.",
            remedy="Upload a tar file with run.sh and what it needs.",
        ) from error
    return folder


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
