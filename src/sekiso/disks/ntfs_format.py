"""Make an empty NTFS file system in a plain partition file."""

from __future__ import annotations

import os
from pathlib import Path

from sekiso import process
from sekiso.disks.fileio import write_all
from sekiso.errors import RuleError, VerificationError

_SECTOR = 512
_SERIAL_OFFSET = 0x48
_MIN_BYTES = 2 << 20
_HEADS = 255
_SECTORS_PER_TRACK = 63


def format_ntfs(
    path: Path,
    *,
    first_lba: int,
    serial: int,
    label: str = "",
    cluster_bytes: int = 4096,
) -> None:
    """Make an empty NTFS in a file that is exactly one partition.

    Args:
        path: the partition file, of the partition's size; holes are welcome.
        first_lba: where the partition begins on its disk (hidden sectors): Windows' boot code needs it.
        serial: volume serial number, 64 bits, chosen by the caller so that a build can be repeated.
        label: up to 128 characters.
        cluster_bytes: unit of allocation, a power of two from 512 to 65,536.

    Raises:
        RuleError: an argument is not allowed.
        ToolMissingError: mkfs.ntfs is not installed.
        ToolFailedError: it failed.
    """
    size = path.stat().st_size
    if size < _MIN_BYTES or size % _SECTOR:
        raise RuleError(
            field="size_bytes", reason="NTFS needs whole sectors of 512 bytes and at least 2 MiB.", remedy=""
        )
    if not 0 <= first_lba < 1 << 32 or len(label) > 128:
        raise RuleError(
            field="first_lba", reason="The start must fit 32 bits and the label 128 characters.", remedy=""
        )
    # -T: times of 1970 instead of now; the same arguments then give nearly the same bytes.
    argv: list[str | Path] = [
        "mkfs.ntfs", "-F", "-Q", "-q", "-T", "-s", str(_SECTOR), "-p", str(first_lba),
        "-H", str(_HEADS), "-S", str(_SECTORS_PER_TRACK), "-c", str(cluster_bytes),
    ]  # fmt: skip
    if label:
        argv += ["-L", label]
    process.run([*argv, path], env={"LC_ALL": "C.UTF-8"})
    _set_serial(path, size, serial)


def _set_serial(path: Path, size_bytes: int, serial: int) -> None:
    """Write the serial number into the boot sector and its copy in the last sector.

    Source: NTFS boot sector, "Volume Serial Number" at 0x48; mkfs.ntfs keeps the copy in the last sector.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        old = os.pread(fd, _SECTOR, 0)
        copy_at = size_bytes - _SECTOR
        if old[3:11] != b"NTFS    " or os.pread(fd, _SECTOR, copy_at) != old:
            raise VerificationError(
                what="The new NTFS", reason="Its boot sector has no copy in its last sector.", remedy=""
            )
        boot = old[:_SERIAL_OFFSET] + serial.to_bytes(8, "little") + old[_SERIAL_OFFSET + 8 :]
        write_all(fd, boot, 0)
        write_all(fd, boot, copy_at)
    finally:
        os.close(fd)
