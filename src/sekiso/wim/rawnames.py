"""Linux file names that are not UTF-8, in folders that libwim wrote.

A WIM holds such a byte as a lone surrogate (U+DC80 to U+DCFF, as Python's `surrogateescape` does), and
libwim writes a lone surrogate as three bytes. This puts the one byte back.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Generator
from pathlib import Path

from sekiso.wim.tree import REPARSE_TAG_SYMLINK, Node, walk

_ESCAPED = re.compile("[\udc80-\udcff]")
_OTHER_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def restore_raw_names(folder: Path, root: Node) -> int:
    """Rename files, and rewrite targets of symbolic links, whose bytes are not UTF-8.

    Args:
        folder: where libwim has applied the tree.
        root: the tree.

    Returns:
        How many names and targets were put right.
    """
    base = os.fsencode(folder)
    todo: list[str] = []
    count = 0
    for path, node in walk(root):
        if node.reparse is not None and node.reparse.tag == REPARSE_TAG_SYMLINK:
            count += _restore_target(base + _as_libwim_writes(path))
        if _ESCAPED.search(node.name) and not _OTHER_SURROGATE.search(node.name):
            todo.append(path)
    for path in reversed(todo):  # what lies in a folder comes before the folder
        above, _, name = path.rpartition("/")
        parent = base + _as_libwim_writes(above)
        with _same_times(parent):
            os.rename(  # noqa: PTH104 (bytes)
                base + _as_libwim_writes(path), parent + b"/" + name.encode("utf-8", "surrogateescape")
            )
    return count + len(todo)


def _as_libwim_writes(path: str) -> bytes:
    return path.encode("utf-8", "surrogatepass")


def _restore_target(link: bytes) -> int:
    if not os.path.islink(link):  # noqa: PTH114 (bytes)
        return 0
    raw = os.readlink(link)  # noqa: PTH115 (bytes)
    target = raw.decode("utf-8", "surrogatepass") if b"\xed" in raw else ""
    if not _ESCAPED.search(target) or _OTHER_SURROGATE.search(target):
        return 0
    status = os.lstat(link)
    xattrs = {name: os.getxattr(link, name, follow_symlinks=False) for name in _xattr_names(link)}
    with _same_times(os.path.dirname(link)):  # noqa: PTH120 (bytes)
        os.unlink(link)  # noqa: PTH108 (bytes)
        os.symlink(target.encode("utf-8", "surrogateescape"), link)  # noqa: PTH211 (bytes)
    os.lchown(link, status.st_uid, status.st_gid)
    for name, value in xattrs.items():
        os.setxattr(link, name, value, follow_symlinks=False)
    os.utime(link, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
    return 1


def _xattr_names(link: bytes) -> list[str]:
    return os.listxattr(link, follow_symlinks=False)


@contextlib.contextmanager
def _same_times(folder: bytes) -> Generator[None, None, None]:
    status = os.stat(folder)  # noqa: PTH116 (bytes)
    yield
    os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))
