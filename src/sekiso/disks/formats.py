"""Tell the format of a disk file from its content; the name of the file is never believed."""

from __future__ import annotations

from pathlib import Path

from sekiso.disks.mapped import SourceFile
from sekiso.disks.vhd import FOOTER_BYTES, FOOTER_COOKIE, VhdType, is_footer
from sekiso.errors import NotFoundError, UnsupportedInputError
from sekiso.model.machine import DiskFormat

#: First bytes of files that are no disk, or a disk of a format that Sekiso does not read.
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"KDMV", "a VMware disk (VMDK)"),
    (b"COWD", "a VMware disk (VMDK)"),
    (b"# Disk DescriptorFile", "the description of a VMware disk (VMDK)"),
    (b"<<< ", "a VirtualBox disk (VDI)"),
    (b"QED\0", "a QED disk"),
    (b"LUKS\xba\xbe", "an encrypted disk (LUKS)"),
    (b"\x1f\x8b", "a compressed file (gzip)"),
    (b"\xfd7zXZ\0", "a compressed file (xz)"),
    (b"\x28\xb5\x2f\xfd", "a compressed file (zstd)"),
    (b"BZh", "a compressed file (bzip2)"),
    (b"PK\x03\x04", "an archive (zip)"),
    (b"MSWIM\0\0\0", "a WIM file"),
)


def open_source(path: Path) -> SourceFile:
    """Open a disk file.

    Raises:
        NotFoundError: it does not exist.
        UnsupportedInputError: it is no regular file.
    """
    try:
        if path.exists() and not path.is_file():
            raise UnsupportedInputError(
                path=str(path), reason="It is not a regular file.", remedy="Give the path of a disk file."
            )
        return SourceFile(path)
    except FileNotFoundError:
        raise NotFoundError(what="The disk file", name=str(path), remedy="Check the path.") from None


def detect_format(path: Path) -> DiskFormat:
    """Return the format of a disk file; what is none of the known formats is raw.

    Raises:
        NotFoundError: it does not exist.
        UnsupportedInputError: it is of a format that Sekiso does not read.
    """
    file = open_source(path)
    try:
        return _detect(file)
    finally:
        file.close()


def _detect(file: SourceFile) -> DiskFormat:
    head = file.read(0, min(FOOTER_BYTES, file.size_bytes))
    if head.startswith(b"vhdxfile"):
        return DiskFormat.VHDX
    if head.startswith(b"QFI\xfb"):
        return DiskFormat.QCOW2
    if file.size_bytes >= FOOTER_BYTES:
        tail = file.read(file.size_bytes - FOOTER_BYTES, FOOTER_BYTES)
        if is_footer(tail) or _is_dynamic_footer(head):
            return DiskFormat.VHD
        if tail.startswith(FOOTER_COOKIE) or head.startswith(FOOTER_COOKIE):
            return DiskFormat.VHD  # broken: the reader says how
    for magic, words in _FOREIGN:
        if head.startswith(magic):
            raise UnsupportedInputError(
                path=str(file.path),
                reason=f"It is {words}.",
                remedy="Convert it to VHDX, VHD, qcow2 or raw first, for example with qemu-img convert.",
            )
    return DiskFormat.RAW


def _is_dynamic_footer(block: bytes) -> bool:
    return is_footer(block) and int.from_bytes(block[60:64], "big") != VhdType.FIXED
