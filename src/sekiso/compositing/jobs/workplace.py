"""Where a job works: a folder beside its result, which only the finished files leave.

Whatever happens to the process that does the work, what it leaves behind is in that folder. The folder is
locked by who uses it, so that what a killed process has left can be told from what is still being made.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from sekiso.compositing.record_files import record_path
from sekiso.errors import AlreadyExistsError, NotFoundError
from sekiso.wim.writer import sync_folder

_SUFFIX = ".job"


class Workplace:
    """A folder for one result. Use as a context manager: it is gone afterwards.

    Attributes:
        folder: the folder.
        fd: its descriptor, which holds the lock; a process that inherits it holds the lock too.
        out: where the result is made; it has the name that it will have.
    """

    def __init__(self, final: Path) -> None:
        """Make the folder; what killed processes have left of earlier attempts is removed.

        Args:
            final: path that the result will have.

        Raises:
            AlreadyExistsError: there is a file of that name.
            NotFoundError: there is no such folder.
        """
        self._final = final
        if not final.parent.is_dir():
            raise NotFoundError(what="The folder", name=final.parent, remedy="Check the path.")
        _refuse_existing(final)
        _remove_abandoned(final)
        prefix = f"{_prefix(final)}{os.getpid()}."
        self.folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=_SUFFIX, dir=final.parent))
        self.fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.out = self.folder / final.name

    def deliver(self) -> None:
        """Give the finished file its name, and its record, if it has one.

        Raises:
            AlreadyExistsError: a file of that name has appeared meanwhile.
        """
        _refuse_existing(self._final)
        record = record_path(self.out)
        if record.exists():
            record.replace(record_path(self._final))
        self.out.rename(self._final)
        sync_folder(self._final.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self.fd)


def replace_unfinished(out: Path) -> None:
    """Remove a result of an earlier attempt, its record, and what killed attempts have left beside it.

    For work that is repeated from its start: afterwards the job can be run again.
    """
    if out.parent.is_dir():
        _remove_abandoned(out)
    out.unlink(missing_ok=True)
    record_path(out).unlink(missing_ok=True)


def _refuse_existing(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise AlreadyExistsError(what="The file", name=path, remedy="Choose another name or remove it.")


def _prefix(final: Path) -> str:
    return f".{final.name[:64]}."


def _remove_abandoned(final: Path) -> None:
    for folder in _workplaces(final):
        if _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _workplaces(final: Path) -> Iterator[Path]:
    prefix = _prefix(final)
    with os.scandir(final.parent) as entries:
        for entry in list(entries):
            is_one = entry.name.startswith(prefix) and entry.name.endswith(_SUFFIX)
            if is_one and entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)


def _is_abandoned(folder: Path) -> bool:
    """Whether nobody holds the lock of a workplace."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # gone meanwhile, or of another user
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
