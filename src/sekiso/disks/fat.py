"""Make a FAT file system inside a raw disk file and put files into it, without mounting it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sekiso import process
from sekiso.disks.blocks import FileBlocks
from sekiso.disks.fat_reader import FatVolume
from sekiso.errors import RuleError
from sekiso.model.progress import NO_PROGRESS, Progress

_SECTOR = 512
MIB = 1 << 20
#: FAT32 needs 65,525 clusters; with one sector each that is about 33 MiB.
FAT32_MIN_BYTES = 34 * MIB
#: Largest size for each number of sectors per cluster of a FAT32.
#: Source: Microsoft, "FAT: General Overview of On-Disk Format" 1.03, DskTableFAT32.
_FAT32_CLUSTERS = ((260 * MIB, 1), (8 << 30, 8), (16 << 30, 16), (32 << 30, 32), (1 << 41, 64))
_FAT16_CLUSTERS = (
    (8 * MIB, 1),
    (16 * MIB, 2),
    (128 * MIB, 4),
    (256 * MIB, 8),
    (512 * MIB, 16),
    (1 << 30, 32),
    (1 << 31, 64),
)
_LABEL_BAD = set('"*+,./:;<=>?[\\]|')


@dataclass(frozen=True, slots=True)
class FatPlace:
    """A FAT file system in a raw file.

    Attributes:
        path: the raw file.
        offset_bytes: where the file system begins.
        size_bytes: its size.
    """

    path: Path
    offset_bytes: int
    size_bytes: int

    @property
    def mtools_image(self) -> str:
        """How mtools names it."""
        return f"{self.path}@@{self.offset_bytes}"


def format_fat(
    path: Path,
    *,
    offset_bytes: int,
    size_bytes: int,
    volume_id: int,
    label: str = "",
    fat_bits: int | None = None,
) -> FatPlace:
    """Make an empty FAT file system at an offset of a raw disk file.

    The result depends on the arguments only: no time of day, no random serial number.

    Args:
        path: the raw file; long enough already.
        offset_bytes: start of the partition; whole sectors of 512 bytes, also written as hidden sectors.
        size_bytes: size of the partition, whole KiB.
        volume_id: serial number, 32 bits.
        label: up to 11 characters, upper case; empty for none.
        fat_bits: 16 or 32; 32 where it fits when left out.

    Raises:
        RuleError: size, offset or label are not allowed.
        ToolMissingError: mkfs.vfat is not installed.
        ToolFailedError: it failed.
    """
    bits = fat_bits or (32 if size_bytes >= FAT32_MIN_BYTES else 16)
    _check_place(path, offset_bytes, size_bytes)
    _check_label(label)
    first = offset_bytes // _SECTOR
    argv: list[str | Path] = [
        "mkfs.vfat", "-F", str(bits), "-s", str(_sectors_per_cluster(bits, size_bytes)),
        "-h", str(first), "-g", "255/63", "--invariant", "-i", f"{volume_id & 0xFFFFFFFF:08x}",
        "--offset", str(first),
    ]  # fmt: skip
    if label:
        argv += ["-n", label]
    process.run([*argv, path, str(size_bytes // 1024)])
    return FatPlace(path, offset_bytes, size_bytes)


def _check_place(path: Path, offset_bytes: int, size_bytes: int) -> None:
    if offset_bytes % _SECTOR or size_bytes % 1024 or size_bytes < MIB:
        raise RuleError(
            field="size_bytes",
            reason="A FAT file system begins on a sector of 512 bytes and has whole KiB, one MiB at least.",
            remedy="Align the partition to 1 MiB.",
        )
    if offset_bytes + size_bytes > path.stat().st_size:
        raise RuleError(field="size_bytes", reason="The partition ends after the disk file.", remedy="")


def _check_label(label: str) -> None:
    if len(label) > 11 or not label.isascii() or label != label.upper() or _LABEL_BAD & set(label):
        raise RuleError(
            field="label",
            reason="A FAT label has at most 11 ASCII characters, in upper case and without punctuation.",
            remedy="",
        )


def _sectors_per_cluster(bits: int, size_bytes: int) -> int:
    if bits == 32 and size_bytes < FAT32_MIN_BYTES:
        raise RuleError(field="size_bytes", reason="FAT32 needs at least 34 MiB.", remedy="Use FAT16.")
    for limit, sectors in _FAT32_CLUSTERS if bits == 32 else _FAT16_CLUSTERS:
        if size_bytes <= limit:
            return sectors
    raise RuleError(field="size_bytes", reason=f"FAT{bits} holds less than that.", remedy="Use FAT32.")


def copy_tree_into_fat(place: FatPlace, tree: Path, *, progress: Progress = NO_PROGRESS) -> None:
    """Copy what is in a folder into the root of a FAT file system, times of modification kept (UTC).

    Only regular files and folders are copied. The order is that of the names, so equal trees with equal
    times give equal file systems.

    Raises:
        RuleError: the tree holds something else than files and folders.
        ToolMissingError: mtools is not installed.
        ToolFailedError: a file does not fit or its name is not allowed on FAT.
        CanceledError: the work was canceled.
    """
    folders, files = _list_tree(tree)
    env = {
        "MTOOLS_SKIP_CHECK": "1",
        "MTOOLSRC": os.devnull,
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
        "SOURCE_DATE_EPOCH": "315532800",
    }
    if folders:
        names = [f"::/{f}" for f in folders]
        process.run(["mmd", "-i", place.mtools_image, *names], env=env, progress=progress)
    for folder in ("", *folders):
        here = [str(tree / f) for f in files if f.rpartition("/")[0] == folder]
        if here:
            argv = ["mcopy", "-m", "-Q", "-i", place.mtools_image, *here, f"::/{folder}"]
            process.run(argv, env=env, progress=progress)


def _list_tree(tree: Path) -> tuple[list[str], list[str]]:
    """Return folders and files by their paths in the tree, sorted; parents before children."""
    folders: list[str] = []
    files: list[str] = []
    for path in sorted(tree.rglob("*")):
        name = path.relative_to(tree).as_posix()
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise RuleError(
                field="tree",
                reason=f"{name} is neither a file nor a folder; FAT holds nothing else.",
                remedy="",
            )
        (folders if path.is_dir() else files).append(name)
    return folders, files


def open_fat(place: FatPlace) -> tuple[FileBlocks, FatVolume]:
    """Open a FAT file system in a raw file for reading; the first result must be closed.

    Raises:
        DamagedInputError: it is broken.
    """
    blocks = FileBlocks(place.path, offset=place.offset_bytes, size_bytes=place.size_bytes)
    try:
        return blocks, FatVolume(blocks)
    except BaseException:
        blocks.close()
        raise
