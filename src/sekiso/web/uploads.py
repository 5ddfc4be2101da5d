"""Files that users upload: whole and on disk, or not there at all."""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

from fastapi.concurrency import run_in_threadpool

from sekiso.agent.run_once import SCRIPT
from sekiso.errors import NoSpaceError
from sekiso.tasks.flows.uploads import MAX_BYTES, MAX_MEMBERS
from sekiso.web.errors import UploadRefusedError
from sekiso.wim.writer import sync_folder

_BLOCK = 512
_RESERVE_BYTES = 64 << 20
#: Of what the format lets precede a member: long names and attributes.
_MAX_EXTENSION_BYTES = 64 << 10
_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_MAX_NAME_CHARS = 1000
_NO_TAR = "It is no tar file, or a damaged one."
_PACK_AGAIN = "Upload a tar file, not compressed, with run.sh and what it needs."


async def receive_run_once(body: AsyncIterator[bytes], folder: Path, length_bytes: int) -> str:
    """Take a tar file with a run-once script into a folder, and return its identifier there.

    Args:
        body: its content.
        folder: the folder.
        length_bytes: how long it says it is; 0 = it does not say.

    Raises:
        NoSpaceError: there is no room for it.
        UploadRefusedError: it is no tar file of plain files and folders with a `run.sh`.
    """
    upload_id = str(uuid.uuid4())
    part = folder / f".{upload_id}.part"
    await run_in_threadpool(_prepare, folder, length_bytes)
    try:
        with part.open("xb") as stream:
            part.chmod(0o600)
            async for piece in body:
                await run_in_threadpool(_write, stream, piece)
            await run_in_threadpool(_finish, stream)
        await run_in_threadpool(check_run_once, part)
        await run_in_threadpool(_publish, part, folder / f"{upload_id}.tar")
    finally:
        part.unlink(missing_ok=True)
    return upload_id


def _prepare(folder: Path, length_bytes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    free_bytes = shutil.disk_usage(folder).free
    if length_bytes + _RESERVE_BYTES > free_bytes:
        raise NoSpaceError(
            path=folder.name, needed_bytes=length_bytes + _RESERVE_BYTES, free_bytes=free_bytes
        )


def _write(stream: BinaryIO, piece: bytes) -> None:
    try:
        stream.write(piece)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoSpaceError(path="uploads", needed_bytes=len(piece), free_bytes=0) from error


def _finish(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _publish(part: Path, final: Path) -> None:
    part.rename(final)
    sync_folder(final.parent)


def check_run_once(path: Path) -> None:
    """Look through a tar file without unpacking it.

    Raises:
        UploadRefusedError: it is no tar file of plain files and folders with a `run.sh`.
    """
    try:
        with path.open("rb") as stream:
            _check_blocks(stream, path.stat().st_size)
        with tarfile.open(path, mode="r:") as archive:
            _check_members(archive)
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
        raise UploadRefusedError(reason=_NO_TAR, remedy=_PACK_AGAIN) from error


def _check_blocks(stream: BinaryIO, size_bytes: int) -> None:
    """Refuse what would make the library read much into memory, or many members."""
    place, members = 0, 0
    while block := stream.read(_BLOCK):
        if not block.strip(b"\0"):
            return
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise UploadRefusedError(reason=_NO_TAR, remedy=_PACK_AGAIN)
        if header.type in _EXTENSIONS and header.size > _MAX_EXTENSION_BYTES:
            raise UploadRefusedError(
                reason="A name or an attribute in it is too long.", remedy="Rename the file."
            )
        members += 1
        content_bytes = (
            0 if header.type in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE) else header.size
        )
        place += _BLOCK + -(-content_bytes // _BLOCK) * _BLOCK
        if header.size < 0 or place > size_bytes:
            raise UploadRefusedError(reason=_NO_TAR, remedy=_PACK_AGAIN)
        if members > 3 * MAX_MEMBERS:
            raise _too_much()
        stream.seek(place)


def _check_members(archive: tarfile.TarFile) -> None:
    kept: Any = archive
    total_bytes, members, has_script = 0, 0, False
    while (member := archive.next()) is not None:
        kept.members.clear()  # all that were read
        members += 1
        total_bytes += member.size
        if members > MAX_MEMBERS or total_bytes > MAX_BYTES:
            raise _too_much()
        _check_member(member)
        has_script |= member.isreg() and member.name.removeprefix("./") == SCRIPT
    if not has_script:
        raise UploadRefusedError(reason="There is no run.sh in it.", remedy=_PACK_AGAIN)


def _check_member(member: tarfile.TarInfo) -> None:
    name = member.name
    parts = name.split("/")
    shown = name[:200].encode("utf-8", "replace").decode()
    if member.size < 0:
        raise UploadRefusedError(reason=_NO_TAR, remedy=_PACK_AGAIN)
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise UploadRefusedError(
            reason=f"{shown} in it is neither a file nor a folder.", remedy="Leave links and devices out."
        )
    if (
        name.startswith("/")
        or ".." in parts
        or "\\" in name
        or len(name) > _MAX_NAME_CHARS
        or not name.isprintable()
    ):
        raise UploadRefusedError(reason=f"The name {shown} in it cannot be used.", remedy="Rename the file.")


def _too_much() -> UploadRefusedError:
    return UploadRefusedError(reason="It holds more than 2 GiB or 100,000 files.", remedy="Leave some out.")
