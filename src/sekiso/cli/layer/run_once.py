"""Packs the folder of a run-once script for its way to the appliance."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sekiso.errors import NotFoundError, RuleError

#: What the guest tools run.
SCRIPT = "run.sh"
_MOST_BYTES = 2 << 30
_MOST_FILES = 100_000


@contextmanager
def packed(folder: Path) -> Generator[Path]:
    """Make a tar file of a folder; it is removed at the end.

    Owners, links to elsewhere and times are left out: they mean nothing in the guest.

    Raises:
        NotFoundError: the folder has no `run.sh`.
        RuleError: it is too large, or holds something that is neither file nor folder.
    """
    _check(folder)
    with tempfile.TemporaryDirectory(prefix="sekiso-") as scratch:
        file = Path(scratch) / "run-once.tar"
        with tarfile.open(file, "w", format=tarfile.PAX_FORMAT, dereference=True) as archive:
            for path in sorted(folder.rglob("*")):
                archive.add(path, path.relative_to(folder).as_posix(), recursive=False, filter=_plain)
        yield file


def _check(folder: Path) -> None:
    if not (folder / SCRIPT).is_file():
        raise NotFoundError(
            what="The run-once script", name=folder / SCRIPT, remedy="Name a folder that holds it."
        )
    total_bytes = 0
    for files, path in enumerate(folder.rglob("*"), start=1):
        if not (path.is_file() or path.is_dir()):
            raise RuleError(
                field="run-once",
                reason=f"{path} is neither a file nor a folder.",
                remedy="Remove it from the folder.",
            )
        total_bytes += path.stat().st_size if path.is_file() else 0
        if files > _MOST_FILES or total_bytes > _MOST_BYTES:
            raise RuleError(
                field="run-once",
                reason="The folder holds more than 2 GiB or 100,000 files.",
                remedy="Leave some out.",
            )


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o111 else 0o644
    return member
