"""Makes the disk that carries a run-once script and its files into a packaging machine."""

from __future__ import annotations

import secrets
from pathlib import Path

from sekiso.disks.fat import copy_tree_into_fat, format_fat
from sekiso.errors import NotFoundError, RuleError

LABEL = "SEKISO-RUN"
SCRIPT = "run.sh"
_MIB = 1 << 20
_LARGEST_BYTES = 2 << 30


def make_run_once_disk(folder: Path, out: Path) -> Path:
    """Make a raw disk with the files of a folder; the guest tools run its `run.sh` once.

    Args:
        folder: holds `run.sh` and what it needs; a file named `finalize` asks for finalization afterwards.
        out: the disk file to make.

    Raises:
        NotFoundError: there is no such folder, or no `run.sh` in it.
        RuleError: its files are too large.
    """
    if not (folder / SCRIPT).is_file():
        raise NotFoundError(
            what="The run-once script", name=folder / SCRIPT, remedy="Name a folder that holds it."
        )
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if total > _LARGEST_BYTES:
        raise RuleError(
            field="run-once",
            reason=f"The files add up to {total} bytes; 2 GiB is the limit.",
            remedy="Leave some out.",
        )
    size = (total + total // 10) // _MIB * _MIB + 40 * _MIB
    with out.open("wb") as file:
        file.truncate(size)
    # A serial number of its own: the guest tools run the script of each disk once.
    place = format_fat(out, offset_bytes=0, size_bytes=size, label=LABEL, volume_id=secrets.randbits(32))
    copy_tree_into_fat(place, folder)
    return out
