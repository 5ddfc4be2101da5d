r"""Symbolic links of Linux as WIM keeps them: reparse data of a Windows symbolic link.

The same translation as wimlib makes when it captures Linux folders, so that its `wimapply --unix-data`
gives the right links: `/` and `\` change places, an absolute target gets the prefix `\??\C:`.

Source: [MS-FSCC] 2.1.2.4 "Symbolic Link Reparse Data Buffer".
"""

from __future__ import annotations

import struct

from sekiso.wim.tree import REPARSE_TAG_SYMLINK, Reparse

#: What WIM keeps beside the tag: 16 reserved bits, then flags: 1 = the target was not rewritten.
NOT_FIXED = 1 << 16
_RELATIVE = 1
_HEADER = struct.Struct("<HHHHI")
_MAX_SIZE = 16384 - 8
_PREFIX = "\\??\\C:"
_SWAP = str.maketrans("/\\", "\\/")


def reparse_of(data_sha1: bytes) -> Reparse:
    """Return the reparse point of a Linux symbolic link whose data has the hash `data_sha1`."""
    return Reparse(tag=REPARSE_TAG_SYMLINK, flags=NOT_FIXED, data=data_sha1)


def encode_target(target: bytes) -> bytes | None:
    """Return the reparse data of a link to `target`, None if it is too long for a reparse point."""
    text = target.decode("utf-8", "surrogateescape").translate(_SWAP)
    absolute = text.startswith("\\") or not text
    substitute = (_PREFIX + text if absolute else text).encode("utf-16-le", "surrogatepass")
    shown = substitute[8:] if absolute else substitute
    if _HEADER.size + len(substitute) + len(shown) + 4 > _MAX_SIZE:
        return None
    head = _HEADER.pack(0, len(substitute), len(substitute) + 2, len(shown), 0 if absolute else _RELATIVE)
    return head + substitute + b"\0\0" + shown + b"\0\0"


def decode_target(data: bytes) -> bytes | None:
    """Return the target of the link with this reparse data, None if the data is malformed."""
    if len(data) < _HEADER.size:
        return None
    offset, length, _, _, flags = _HEADER.unpack_from(data)
    start = _HEADER.size + offset
    if length & 1 or start + length > len(data):
        return None
    text = data[start : start + length].decode("utf-16-le", "surrogatepass")
    if not flags & _RELATIVE:
        for prefix in ("\\??\\", "\\DosDevices\\", "\\Device\\"):
            if text.startswith(prefix):
                rest = text[len(prefix) :].lstrip("\\")
                text = rest[rest.index("\\") :] if "\\" in rest else ""
                break
    try:
        return text.translate(_SWAP).encode("utf-8", "surrogateescape") or b"/"
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte: not a Linux name
        return None
