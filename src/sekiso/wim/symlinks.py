r"""Symbolic links of Linux trees as the reparse points that libwim keeps them as.

A WIM has no notion of a Linux link: libwim stores a Windows symbolic link whose target swaps `/` and `\`,
and whose absolute targets lie on a drive `C:`.

Source: [MS-FSCC] 2.1.2.4 (the buffer); the swapping and the drive as libwim captures and applies them.
"""

from __future__ import annotations

import struct

from sekiso.wim.tree import REPARSE_TAG_SYMLINK

#: Beside the tag WIM keeps "do not rewrite absolute targets when applied". Source: captures by libwim.
NOT_FIXED = 0x10000
_RELATIVE = 1
_HEADER = struct.Struct("<HHHHI")
_NT_PREFIX = "\\??\\"
_DRIVE = "C:"
_SWAP = str.maketrans("/\\", "\\/")


def symlink_reparse(target: str) -> tuple[int, int, bytes]:
    """Return reparse tag, flags and data of a Linux symbolic link.

    Args:
        target: what the link holds; bytes that are not UTF-8 as `surrogateescape` gives them.
    """
    shown = target.translate(_SWAP)
    absolute = target.startswith("/")
    shown = _DRIVE + shown if absolute else shown
    print_name = shown.encode("utf-16-le", "surrogatepass")
    substitute = (_NT_PREFIX + shown).encode("utf-16-le", "surrogatepass") if absolute else print_name
    header = _HEADER.pack(
        0, len(substitute), len(substitute) + 2, len(print_name), 0 if absolute else _RELATIVE
    )
    return REPARSE_TAG_SYMLINK, NOT_FIXED, header + substitute + b"\0\0" + print_name + b"\0\0"


def symlink_target(tag: int, data: bytes) -> str | None:
    """Return what a Linux symbolic link holds; None if the reparse point is none, or is damaged."""
    if tag != REPARSE_TAG_SYMLINK or len(data) < _HEADER.size:
        return None
    start, length, _, _, flags = _HEADER.unpack_from(data)
    raw = data[_HEADER.size + start : _HEADER.size + start + length]
    if len(raw) != length or length % 2:
        return None
    text = raw.decode("utf-16-le", "surrogatepass")
    if not flags & _RELATIVE:
        text = text.removeprefix(_NT_PREFIX)
        text = text[len(_DRIVE) :] if text[1:2] == ":" else text
    return text.translate(_SWAP)
