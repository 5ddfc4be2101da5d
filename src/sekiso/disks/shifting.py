"""Make room inside a file, or take some out, without copying what follows: the file system moves its extents.

Only ext4 and XFS on Linux can do it, in units of their blocks. Everything here has a slower way elsewhere.

Source: fallocate(2), FALLOC_FL_INSERT_RANGE and FALLOC_FL_COLLAPSE_RANGE.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Callable

_COLLAPSE_RANGE = 0x08
_INSERT_RANGE = 0x20
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM)


def insert_range(fd: int, offset: int, length: int) -> bool:
    """Insert a hole; what lies at and after `offset` moves up.

    Returns:
        False if the file system cannot do it, or not in these units; the file is unchanged then.

    Raises:
        OSError: it failed otherwise.
    """
    return _fallocate(fd, _INSERT_RANGE, offset, length)


def collapse_range(fd: int, offset: int, length: int) -> bool:
    """Take a range out; what lies after it moves down. It must end before the end of the file.

    Returns:
        False if the file system cannot do it, or not in these units; the file is unchanged then.

    Raises:
        OSError: it failed otherwise.
    """
    return _fallocate(fd, _COLLAPSE_RANGE, offset, length)


def _fallocate(fd: int, mode: int, offset: int, length: int) -> bool:
    call = _libc_fallocate()
    if call is None:
        return False
    if call(fd, mode, offset, length) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number))


@functools.cache
def _libc_fallocate() -> Callable[[int, int, int, int], int] | None:
    """Return the C library's call: Python offers only posix_fallocate, which knows no modes."""
    if os.name != "posix":
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if function is None:
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    function.restype = ctypes.c_int
    return function
