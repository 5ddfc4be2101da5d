"""`storage.probe`, `storage.probe-same-place` and `task.clean-up`."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sekiso.agent.contract import (
    CleanUpParams,
    Done,
    SamePlaceParams,
    SamePlaceResult,
    StorageProbeParams,
    StorageProbeResult,
)
from sekiso.agent.handlers.context import Command
from sekiso.agent.handlers.hardware import sweep_machines
from sekiso.agent.handlers.moving import give_up_uploads
from sekiso.agent.handlers.opening import account_name, unusable, usable_places
from sekiso.agent.handlers.records import remove_folder
from sekiso.agent.places import parsed_path

PROBE_PREFIX = ".sekiso-probe-"


def probe(command: Command, params: StorageProbeParams) -> StorageProbeResult:
    """Write, read and delete a file at the storage path (CC-5)."""
    root = usable_places(params.storage_path).root
    try:
        with _probe_file(root) as (file, content):
            same = file.read_bytes() == content
        state = os.statvfs(root)
    except OSError as error:
        raise unusable(root, error) from error
    if not same:
        raise unusable(root, OSError(errno.EIO, "What was written was not read back", str(root)))
    return StorageProbeResult(account_name(), state.f_bavail * state.f_frsize)


def probe_same_place(command: Command, params: SamePlaceParams) -> SamePlaceResult:
    """Write through one path and look through the other (CC-5)."""
    written = parsed_path(params.question.written.text)
    read = parsed_path(params.question.read.text)
    try:
        with _probe_file(written) as (file, content):
            return SamePlaceResult(_found(read / file.name) == content)
    except OSError as error:
        raise unusable(written, error) from error


def _found(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unusable(file.parent, error) from error


def clean_up(command: Command, params: CleanUpParams) -> Done:
    """Remove the scratch of a task, the machines that a cut-off boot test left there included."""
    scratch = usable_places(params.storage_path).task(params.task_id)
    give_up_uploads(command.host, scratch)
    if scratch.is_dir():
        sweep_machines(command.host.driver, scratch)
        remove_folder(scratch)
    return Done()


@contextmanager
def _probe_file(folder: Path) -> Generator[tuple[Path, bytes]]:
    """Give a file with random content in a folder; it is removed whatever happens."""
    file, content = folder / f"{PROBE_PREFIX}{secrets.token_hex(8)}", secrets.token_bytes(4096)
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as stream:  # noqa: PTH123 - a descriptor, for its flags
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        yield file, content
    finally:
        file.unlink(missing_ok=True)
