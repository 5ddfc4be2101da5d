"""Building blocks of the tests with real tools: file systems, WIM files, foreign judges."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from sekiso.wim.file import WimFile
from sekiso.wim.tree import Node
from sekiso.wim.writer import WimWriter, write_metadata_wim


def run(*argv: str | Path, ok: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        [str(a) for a in argv], capture_output=True, text=True, errors="replace", check=False
    )
    assert done.returncode in ok, f"{argv}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def make_ntfs(path: Path, size_bytes: int = 64 << 20) -> Path:
    with path.open("xb") as volume:
        volume.truncate(size_bytes)
    run("mkfs.ntfs", "-F", "-q", "-f", path)
    return path


def blob_wim(path: Path, blobs: Iterable[bytes]) -> Path:
    with WimWriter(path) as writer:
        for blob in blobs:
            writer.add_bytes(blob)
        writer.commit()
    return path


def metadata_wim(path: Path, root: Node, properties: Mapping[str, str] | None = None) -> Path:
    write_metadata_wim(path, root, name="image", properties=properties)
    return path


def read(path: Path, image: int = 1) -> Node:
    with WimFile.open(path) as wim:
        return wim.read_tree(image)


def reparse_buffer(target: str, *, relative: bool) -> bytes:
    """Reparse data of a Windows symbolic link, without the header of eight bytes."""
    shown = target.encode("utf-16-le")
    real = shown if relative else ("\\??\\" + target).encode("utf-16-le")
    head = struct.pack("<HHHHI", 0, len(real), len(real) + 2, len(shown), int(relative))
    return head + real + b"\0\0" + shown + b"\0\0"


def junction_buffer(target: str) -> bytes:
    shown, real = target.encode("utf-16-le"), ("\\??\\" + target).encode("utf-16-le")
    return struct.pack("<HHHH", 0, len(real), len(real) + 2, len(shown)) + real + b"\0\0" + shown + b"\0\0"


def fill_linux(folder: Path) -> None:
    """A folder with all that Linux can say of files, weird names included."""
    (folder / "f").write_bytes(b"hi\n")
    os.link(folder / "f", folder / "hl")
    (folder / "sl").symlink_to("f")
    (folder / "abs").symlink_to("/abs/target")
    (folder / "to folder").symlink_to("d")
    (folder / "d").mkdir(mode=0o1777)
    (folder / "emptydir").mkdir()
    os.mkfifo(folder / "fifo")
    os.mknod(folder / "nullx", 0o020666, os.makedev(1, 3))
    os.mknod(folder / "blk", 0o060600, os.makedev(7, 9))
    os.chown(folder / "f", 1234, 5678)
    (folder / "hl").chmod(0o4755)
    os.setxattr(folder / "f", "user.test", b"val")
    os.setxattr(folder / "f", "trusted.t", bytes(range(256)))
    os.setxattr(folder / "d", "user.empty", b"")
    os.utime(folder / "f", ns=(981_166_506_123_456_700, 981_166_506_123_456_700))
    with (folder / "sparse").open("wb") as sparse:
        sparse.truncate(3 << 20)
        sparse.seek(1 << 20)
        sparse.write(b"x")
    weird = folder / 'weird name: * ? "<>|'
    weird.mkdir()
    (weird / "a\\b").write_bytes(b"z")
    for name in ("Case", "case", "con", "\u6f22\u5b57-\U0001f600", "trailing. "):
        (folder / name).write_bytes(name.encode())
