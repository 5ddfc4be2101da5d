"""Opens the storage path that a command names."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
from pathlib import Path
from typing import Any

from sekiso.agent.handlers.errors import StorageUnusableError
from sekiso.agent.places import Places, open_places
from sekiso.errors import NoSpaceError, SekisoError


def usable_places(storage_path: str) -> Places:
    """Return the places of a storage path, which is made if it is absent.

    Raises:
        RuleError: the path breaks the rules for storage paths.
        StorageUnusableError: it cannot be made or entered.
    """
    try:
        return open_places(storage_path)
    except OSError as error:
        raise unusable(Path(storage_path), error) from error


def unusable(path: Path, error: OSError) -> StorageUnusableError:
    """Return the error for a folder that cannot be used."""
    reason = f"{error.strerror or type(error).__name__}: {error.filename or path}."
    return StorageUnusableError(path=path, account=account_name(), reason=reason)


def storage_error(params: Any, error: OSError) -> SekisoError:
    """Return the error for a file operation that failed in the middle of a command.

    Args:
        params: parameters of the command.
        error: what the operating system said.
    """
    place = Path(getattr(params, "storage_path", "") or "/")
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and place.is_dir():
        free = shutil.disk_usage(place).free
        return NoSpaceError(path=place, needed_bytes=free + 1, free_bytes=free)
    return unusable(place, error)


def account_name() -> str:
    """Return the name of the account that the agent runs as; its number where it has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
