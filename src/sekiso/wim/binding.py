"""The part of libwim's C interface that the worker uses. Only the worker imports this.

Source: wimlib.h of libwim 1.13.6; 1.14 has the same interface (soname libwim.so.15).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint, c_uint32, c_uint64, c_void_p
from typing import Any

from sekiso.errors import ToolMissingError

Handle = c_void_p
ALL_IMAGES = -1

ADD_NTFS, ADD_UNIX_DATA, ADD_NORPFIX = 0x1, 0x10, 0x200
EXTRACT_NTFS, EXTRACT_UNIX_DATA = 0x1, 0x20
EXTRACT_STRICT_ACLS, EXTRACT_NORPFIX = 0x80, 0x200
EXTRACT_STRICT_TIMESTAMPS, EXTRACT_STRICT_SHORT_NAMES, EXTRACT_STRICT_SYMLINKS = 0x2000, 0x4000, 0x8000
OPEN_CHECK_INTEGRITY, OPEN_ERROR_IF_SPLIT = 0x1, 0x2
WRITE_RECOMPRESS, WRITE_FSYNC, WRITE_STREAMS_OK, WRITE_SOLID = 0x10, 0x20, 0x400, 0x1000
_INIT_ASSUME_UTF8 = 0x1

MESSAGE_EXTRACT_FILE_STRUCTURE, MESSAGE_EXTRACT_STREAMS = 3, 4
MESSAGE_SCAN_BEGIN, MESSAGE_SCAN_DENTRY = 9, 10
MESSAGE_WRITE_STREAMS, MESSAGE_VERIFY_STREAMS = 12, 29

COMPRESSION_NUMBERS = {"none": 0, "xpress": 1, "lzx": 2, "lzx20": 2, "lzms": 3, "solid": 3}
LZX_FAST_LEVEL = 20


class ExtractInfo(ctypes.Structure):
    """Progress of an extraction."""

    _fields_ = (
        ("image", c_uint32),
        ("extract_flags", c_uint32),
        ("wimfile_name", c_char_p),
        ("image_name", c_char_p),
        ("target", c_char_p),
        ("reserved", c_char_p),
        ("total_bytes", c_uint64),
        ("completed_bytes", c_uint64),
        ("total_streams", c_uint64),
        ("completed_streams", c_uint64),
        ("part_number", c_uint32),
        ("total_parts", c_uint32),
        ("guid", ctypes.c_uint8 * 16),
        ("current_file_count", c_uint64),
        ("end_file_count", c_uint64),
    )


class WriteInfo(ctypes.Structure):
    """Progress of writing blobs (its first fields)."""

    _fields_ = (
        ("total_bytes", c_uint64),
        ("total_streams", c_uint64),
        ("completed_bytes", c_uint64),
        ("completed_streams", c_uint64),
    )


class VerifyInfo(ctypes.Structure):
    """Progress of verifying blobs."""

    _fields_ = (
        ("wimfile", c_char_p),
        ("total_streams", c_uint64),
        ("total_bytes", c_uint64),
        ("completed_streams", c_uint64),
        ("completed_bytes", c_uint64),
    )


ProgressFunction = ctypes.CFUNCTYPE(c_int, c_int, c_void_p, c_void_p)

_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "wimlib_global_init": (c_int,),
    "wimlib_set_print_errors": (ctypes.c_bool,),
    "wimlib_open_wim": (c_char_p, c_int, POINTER(Handle)),
    "wimlib_free": (Handle,),
    "wimlib_create_new_wim": (c_int, POINTER(Handle)),
    "wimlib_register_progress_function": (Handle, ProgressFunction, c_void_p),
    "wimlib_reference_resource_files": (Handle, POINTER(c_char_p), c_uint, c_int, c_int),
    "wimlib_extract_image": (Handle, c_int, c_char_p, c_int),
    "wimlib_add_image": (Handle, c_char_p, c_char_p, c_char_p, c_int),
    "wimlib_set_output_compression_type": (Handle, c_int),
    "wimlib_set_output_pack_compression_type": (Handle, c_int),
    "wimlib_set_default_compression_level": (c_int, c_uint),
    "wimlib_write": (Handle, c_char_p, c_int, c_int, c_uint),
    "wimlib_verify_wim": (Handle, c_int),
    "wimlib_create_decompressor": (c_int, c_size_t, POINTER(c_void_p)),
    "wimlib_decompress": (c_void_p, c_size_t, c_void_p, c_size_t, c_void_p),
    "wimlib_free_decompressor": (c_void_p,),
    "wimlib_get_version": (),
    "wimlib_get_error_string": (c_int,),
}


def load() -> ctypes.CDLL:
    """Load libwim (the file named by LIBWIM, else the system's) and declare its functions.

    Raises:
        ToolMissingError: it is not installed.
    """
    library = _find()
    for name, arguments in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = c_int
    library.wimlib_free.restype = None
    library.wimlib_free_decompressor.restype = None
    library.wimlib_register_progress_function.restype = None
    library.wimlib_get_error_string.restype = c_char_p
    library.wimlib_get_version.restype = c_uint32
    library.wimlib_global_init(_INIT_ASSUME_UTF8)
    library.wimlib_set_print_errors(True)  # noqa: FBT003 (C function)
    return library


def _find() -> ctypes.CDLL:
    candidates: list[Callable[[], str | None]] = [
        lambda: os.environ.get("LIBWIM"),
        lambda: "libwim.so.15",
        lambda: ctypes.util.find_library("wim"),
    ]
    for candidate in candidates:
        name = candidate()
        if name:
            try:
                return ctypes.CDLL(name)
            except OSError:
                if os.environ.get("LIBWIM"):
                    break
    raise ToolMissingError(tool=os.environ.get("LIBWIM") or "libwim", package="libwim15")
