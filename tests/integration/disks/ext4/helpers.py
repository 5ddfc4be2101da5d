"""Trees of Linux files, kernel mounts as a judge, and snapshots to compare."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sekiso.disks.blocks import FileBlocks
from sekiso.disks.ext4 import BlobPlace, Ext4Volume, open_ext4
from sekiso.wim.symlinks import symlink_target
from sekiso.wim.tree import Node, walk

UUID = "0f0e0d0c-0b0a-4908-8706-050403020100"
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
ACL = bytes.fromhex(
    "0200000001000600ffffffff02000700e803000004000400ffffffff080004002100000010000700ffffffff20000400ffffffff"
)


def tool(*argv: object, ok: tuple[int, ...] = (0,), env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(a) for a in argv],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "LC_ALL": "C", **(env or {})},
    )
    assert done.returncode in ok, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def make_image(path: Path, *options: str, size: str = "64M") -> Path:
    path.unlink(missing_ok=True)
    tool("truncate", "-s", size, path)
    tool("mke2fs", "-q", "-F", "-t", "ext4", "-U", UUID, *options, path)
    return path


def fsck(path: Path, offset_bytes: int = 0) -> str:
    """e2fsck in its own words; fails the test if it finds anything."""
    return tool("e2fsck", "-fn", f"{path}?offset={offset_bytes}" if offset_bytes else path)


@contextmanager
def mounted(image: Path, *options: str, offset_bytes: int = 0) -> Iterator[Path]:
    point = image.with_name(image.name + ".mnt")
    point.mkdir(exist_ok=True)
    joined = ",".join(["loop", f"offset={offset_bytes}", *options])
    tool("mount", "-t", "ext4", "-o", joined, image, point)
    try:
        yield point
    finally:
        tool("umount", point)


@contextmanager
def opened(image: Path, *, offset: int = 0) -> Iterator[Ext4Volume]:
    with FileBlocks(image, offset=offset) as blocks:
        yield open_ext4(blocks)


class Store:
    """A sink that keeps content in one file, as an uncompressed WIM would."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: dict[bytes, BlobPlace] = {}
        self._end = 1000  # so that nothing is aligned by chance
        self._file = path.open("wb")

    def add(self, chunks: Iterable[bytes | memoryview], size_bytes: int) -> bytes:
        digest, start = hashlib.sha1(), self._end
        self._file.seek(start)
        length = 0
        for chunk in chunks:
            digest.update(chunk)
            self._file.write(chunk)
            length += len(chunk)
        assert length == size_bytes
        if not length:
            return bytes(20)
        if digest.digest() not in self.places:
            self.places[digest.digest()] = BlobPlace(self.path, start, length)
            self._end += length
        return digest.digest()

    def close(self) -> None:
        self._file.close()

    def locate(self, sha1: bytes) -> BlobPlace:
        return self.places[sha1]

    def size(self, sha1: bytes) -> int:
        return self.places[sha1].size_bytes

    def content(self, sha1: bytes) -> bytes:
        place = self.places[sha1]
        with self.path.open("rb") as stream:
            stream.seek(place.offset)
            return stream.read(place.size_bytes)


def read_tree(image: Path, store: Path, *, offset: int = 0) -> tuple[Node, Store]:
    sink = Store(store)
    try:
        with opened(image, offset=offset) as volume:
            return volume.tree(sink), sink
    finally:
        sink.close()


def sample_tree(top: Path) -> None:
    """Everything a Linux file can be. As root, on a file system with attributes."""
    (top / "file").write_bytes(b"hello")
    os.link(top / "file", top / "hard link")
    (top / "short link").symlink_to("file")
    (top / "long link").symlink_to("/usr/" + "long/" * 30 + "target")
    (top / "strange link").symlink_to("back\\slash")
    (top / "folder").mkdir(mode=0o700)
    (top / "folder").chmod(0o1777)
    os.mkfifo(top / "fifo", 0o640)
    os.mknod(top / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(top / "block", 0o660 | stat.S_IFBLK, os.makedev(7, 9))
    os.mknod(top / "large numbers", 0o660 | stat.S_IFBLK, os.makedev(300, 70000))
    with socket.socket(socket.AF_UNIX) as sock:
        here = Path.cwd()
        os.chdir(top)
        sock.bind("socket")
        os.chdir(here)
    os.chown(top / "file", 1234, 567890)
    (top / "file").chmod(0o4755)
    (top / "empty").write_bytes(b"")
    (top / "large").write_bytes(bytes(range(256)) * 5000)
    with (top / "sparse").open("wb") as stream:
        stream.truncate(3_000_000)
        stream.seek(1_234_567)
        stream.write(b"in the middle")
    (top / os.fsdecode(b"not \xff utf-8")).write_bytes(b"x")
    (top / ("n" * 255)).write_bytes(b"y")
    (top / "日本語.txt").write_text("積層", encoding="utf-8")
    (top / 'odd: * ? "<>|\\').write_bytes(b"z")
    (top / "Case").write_bytes(b"1")
    (top / "case").write_bytes(b"2")
    deep = top / "folder"
    for level in range(12):
        deep = deep / f"level {level}"
        deep.mkdir()
    (deep / "leaf").write_bytes(b"leaf")
    many = top / "many"
    many.mkdir()
    for number in range(400):
        (many / f"a rather long name, so that the folder needs many blocks {number}").write_bytes(
            b"%d" % number
        )
    attributes(top)
    os.utime(top / "empty", ns=(981_173_106_123_456_700, 981_173_106_987_654_300))
    os.utime(top / "Case", ns=(-1_500_000_000_000_000_000, -1_000_000_000_123_456_700))
    os.utime(top / "case", ns=(7_000_000_000_000_000_100, 7_000_000_000_000_000_200))


def attributes(top: Path) -> None:
    os.setxattr(top / "file", "user.note", b"value")
    os.setxattr(top / "file", "trusted.t", b"")
    os.setxattr(top / "empty", "security.capability", CAPABILITY)
    os.setxattr(top / "large", "system.posix_acl_access", ACL)
    os.setxattr(top / "folder", "system.posix_acl_default", ACL)
    os.setxattr(top / "folder", "user.large", b"v" * 700)
    os.setxattr(top / "folder", "security.selinux", b"system_u:object_r:etc_t:s0\0")
    os.setxattr(top / "long link", "trusted.link", b"on a link", follow_symlinks=False)


def snapshot(top: Path) -> dict[str, object]:
    """What the kernel says of a tree: path → facts."""
    found: dict[str, object] = {"/": kernel_facts(top)}
    inodes: dict[int, list[str]] = {}
    for folder, folders, files in os.walk(top):
        if Path(folder) == top and "lost+found" in folders:
            folders.remove("lost+found")
        for name in [*folders, *files]:
            path = Path(folder) / name
            key = "/" + str(path.relative_to(top))
            found[key] = kernel_facts(path)
            info = path.lstat()
            if info.st_nlink > 1 and not path.is_dir() and not path.is_symlink():
                inodes.setdefault(info.st_ino, []).append(key)
    found["links"] = sorted(sorted(names) for names in inodes.values() if len(names) > 1)
    return found


def kernel_facts(path: Path) -> object:
    info = path.lstat()
    xattrs = tuple(
        (name, os.getxattr(path, name, follow_symlinks=False))
        for name in sorted(os.listxattr(path, follow_symlinks=False))
    )
    content: object = None
    if stat.S_ISREG(info.st_mode):
        content = hashlib.sha1(path.read_bytes()).hexdigest() if info.st_size else ""
    elif stat.S_ISLNK(info.st_mode):
        content = str(path.readlink())
    rdev = info.st_rdev if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode) else 0
    times = (info.st_mtime_ns // 100, info.st_atime_ns // 100)
    return (info.st_mode, info.st_uid, info.st_gid, rdev, times, xattrs, content)


def tree_snapshot(root: Node, store: Store) -> dict[str, object]:
    """The same facts from a tree that our reader made."""
    found: dict[str, object] = {"/": node_facts(root, store)}
    groups: dict[int, list[str]] = {}
    for path, node in walk(root):
        found[path] = node_facts(node, store)
        if node.link_group:
            groups.setdefault(node.link_group, []).append(path)
    found["links"] = sorted(sorted(names) for names in groups.values())
    return found


def node_facts(node: Node, store: Store) -> object:
    assert node.unix is not None
    content: object = None
    if stat.S_ISREG(node.unix.mode):
        content = node.data.hex() if node.data != bytes(20) else ""
    elif node.reparse is not None:
        content = symlink_target(node.reparse.tag, store.content(node.reparse.data))
    epoch = 116_444_736_000_000_000
    times = (node.write_time - epoch, node.access_time - epoch)
    return (node.unix.mode, node.unix.uid, node.unix.gid, node.unix.rdev, times, node.xattrs, content)


def differences(one: dict[str, object], other: dict[str, object]) -> list[object]:
    keys = sorted(one.keys() | other.keys())
    return [(key, one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)]
