"""NTFS volumes with rich content, made by mkfs.ntfs and ntfs-3g; and their capture by libwim."""

from __future__ import annotations

import contextlib
import os
import random
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from sekiso.wim.file import WimFile
from sekiso.wim.tree import Node

LONG_TEXT = b"compress me, please: " * 12000


def run(*argv: str | Path) -> str:
    """Run a program of the test and return what it printed."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def make_volume(path: Path, size_mib: int, *options: str) -> Path:
    """Make an empty NTFS volume in a file."""
    with path.open("wb") as stream:
        stream.truncate(size_mib << 20)
    run("mkfs.ntfs", "-F", "-Q", "-q", "-L", "Sekiso test", *options, path)
    return path


@contextlib.contextmanager
def mounted(volume: Path, folder: Path, options: str = "") -> Iterator[Path]:
    """Mount a volume with ntfs-3g (as root)."""
    folder.mkdir(exist_ok=True)
    chosen = f"no_detach,streams_interface=xattr,compression,efs_raw,{options}".rstrip(",")
    driver = subprocess.Popen(["ntfs-3g", "-o", chosen, str(volume), str(folder)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(500):
            if folder.is_mount() or driver.poll() is not None:
                break
            time.sleep(0.01)
        assert folder.is_mount()
        yield folder
    finally:
        if folder.is_mount():
            run("fusermount", "-u", folder)
        driver.wait(60)


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def sid(authority: int, *parts: int) -> bytes:
    head = struct.pack("BB", 1, len(parts)) + authority.to_bytes(6, "big")
    return head + b"".join(struct.pack("<I", part) for part in parts)


SYSTEM, ADMINS, USERS = sid(5, 18), sid(5, 32, 544), sid(5, 32, 545)
INSTALLER = sid(5, 80, 956008885, 3418522649, 1831038044, 1853292631, 2271478464)


def ace(kind: int, flags: int, mask: int, who: bytes) -> bytes:
    return struct.pack("<BBHI", kind, flags, 8 + len(who), mask) + who


def descriptor(owner: bytes, group: bytes, dacl: list[bytes], sacl: list[bytes] | None = None) -> bytes:
    def acl(aces: list[bytes]) -> bytes:
        body = b"".join(aces)
        return struct.pack("<BBHHH", 2, 0, 8 + len(body), len(aces), 0) + body

    control, at, parts, sacl_at = 0x8404, 20, b"", 0
    if sacl:
        control, sacl_at, parts = control | 0x10, at, acl(sacl)
    dacl_at = at + len(parts)
    parts += acl(dacl)
    owner_at = at + len(parts)
    parts += owner
    group_at = at + len(parts)
    return struct.pack("<BBHIIII", 1, 0, control, owner_at, group_at, sacl_at, dacl_at) + parts + group


def reparse(tag: int, data: bytes) -> bytes:
    guid_bytes = 0 if tag & 0x80000000 else 16  # the length counts no GUID
    return struct.pack("<IHH", tag, len(data) - guid_bytes, 0) + data


def set_attributes(path: Path, bits: int) -> None:
    os.setxattr(path, "system.ntfs_attrib_be", struct.pack(">I", bits))


def junction_data(target: str) -> bytes:
    name, shown = f"\\??\\{target}".encode("utf-16-le"), target.encode("utf-16-le")
    body = struct.pack("<HHHH", 0, len(name), len(name) + 2, len(shown)) + name + b"\0\0" + shown + b"\0\0"
    return reparse(0xA0000003, body)


def symlink_data(target: str) -> bytes:
    name = target.encode("utf-16-le")
    head = struct.pack("<HHHHI", 0, len(name), len(name), len(name), 1)
    return reparse(0xA000000C, head + name + name)


def populate(m: Path, *, seed: int = 1) -> None:
    """Fill a mounted volume with one of everything that a WIM keeps."""
    noise = random.Random(seed)
    dll = write(m, "Windows/System32/a.dll", b"MZ" + noise.randbytes(5000))
    os.setxattr(dll, "system.ntfs_dos_name", b"A.DLL")
    (m / "Windows/WinSxS/x").mkdir(parents=True)
    (m / "Windows/WinSxS/x/a.dll").hardlink_to(dll)
    (m / "Windows/System32/b.dll").hardlink_to(dll)
    tiny = write(m, "Windows/System32/tiny.txt", b"resident")
    write(m, "Windows/System32/empty.txt", b"")
    write(m, "Program Files/Long Directory Name/Some Long File.txt", b"x" * 700)
    exe = write(m, "Users/Public/dl.exe", b"exe" * 1000)
    os.setxattr(exe, "user.Zone.Identifier", b"[ZoneTransfer]\r\nZoneId=3\r\n")
    os.setxattr(exe, "user.big", noise.randbytes(50000))
    os.setxattr(exe, "user.empty", b"")
    os.setxattr(m / "Users", "user.dirstream", b"a stream of a folder")
    os.setxattr(m / "Program Files", "system.ntfs_dos_name", b"PROGRA~1")
    os.setxattr(m / "Program Files/Long Directory Name", "system.ntfs_dos_name", b"LONGDI~1")
    long_file = m / "Program Files/Long Directory Name/Some Long File.txt"
    os.setxattr(long_file, "system.ntfs_dos_name", b"SOMELO~1.TXT")
    _links(m)
    _security(m, dll)
    os.setxattr(exe, "system.ntfs_object_id", bytes(range(16)))
    os.setxattr(write(m, "Users/born.txt", b"b"), "system.ntfs_object_id", bytes(range(100, 164)))
    set_attributes(tiny, 0x1 | 0x2 | 0x4 | 0x20)
    set_attributes(m / "Users/Public", 0x10 | 0x2)
    _layouts(m, noise)
    for name in ("unicode-ß漢字-😀.txt", "caseTest", "CASEtest", "dot.", "space ", ".hidden", "n" * 255):
        write(m, f"names/{name}", name.encode()[:20])


def _links(m: Path) -> None:
    junction = m / "Documents and Settings"
    junction.mkdir()
    os.setxattr(junction, "system.ntfs_reparse_data", junction_data("C:\\Users"))
    link = write(m, "Users/link.txt", b"")
    os.setxattr(link, "system.ntfs_reparse_data", symlink_data("..\\Windows\\System32\\tiny.txt"))
    app = write(m, "Users/appexec.exe", b"")
    data = struct.pack("<I", 3) + "pkg\0app\0C:\\x.exe\0000\0".encode("utf-16-le")
    os.setxattr(app, "system.ntfs_reparse_data", reparse(0x8000001B, data + bytes(-len(data) % 4)))
    foreign = write(m, "Users/foreign.dat", b"content beside a reparse point")
    os.setxattr(foreign, "system.ntfs_reparse_data", reparse(0x00001234, bytes(range(16)) + b"guid tagged"))


def _security(m: Path, dll: Path) -> None:
    entries = [ace(0, 0, 0x1F01FF, INSTALLER), ace(0, 0, 0x1200A9, USERS), ace(0, 0x13, 0x1F01FF, SYSTEM)]
    label = [ace(0x11, 0, 1, sid(16, 12288))]
    os.setxattr(dll, "system.ntfs_acl", descriptor(INSTALLER, INSTALLER, entries, label))
    entries = [ace(0, 3, 0x1F01FF, ADMINS), ace(0, 3, 0x1F01FF, SYSTEM), ace(1, 0, 0x2, USERS)]
    os.setxattr(m / "Program Files", "system.ntfs_acl", descriptor(SYSTEM, ADMINS, entries))
    for number in range(40):
        path = write(m, f"acl/{number}", b"acl")
        entries = [ace(0, 0, 0x1F01FF, sid(5, 21, number, 7, 9, 1000 + number))] * (1 + number)
        os.setxattr(path, "system.ntfs_acl", descriptor(ADMINS, USERS, entries))


def _layouts(m: Path, noise: random.Random) -> None:
    """Compressed, sparse, fragmented content; attribute lists by many names, streams and extents."""
    packed = m / "comp"
    packed.mkdir()
    bits = struct.unpack(">I", os.getxattr(packed, "system.ntfs_attrib_be"))[0]
    set_attributes(packed, bits | 0x800)
    write(m, "comp/text", LONG_TEXT)
    write(m, "comp/noise", noise.randbytes(150_000))
    write(m, "comp/mixed", LONG_TEXT[:70000] + noise.randbytes(70000) + bytes(200_000) + LONG_TEXT[:10])
    write(m, "comp/zeros", bytes(300_000))
    write(m, "comp/tiny", b"tiny")
    with (m / "sparse.bin").open("wb") as stream:
        for at in (0, 3 << 20, 20 << 20):
            stream.seek(at)
            stream.write(noise.randbytes(5000))
        stream.truncate(24 << 20)
    many = write(m, "many/first", b"a file with many names")
    for number in range(120):
        (m / f"many/name number {number:04} of this file").hardlink_to(many)
    streams = write(m, "streams", b"a file with many streams")
    for number in range(120):
        os.setxattr(streams, f"user.stream number {number:04}", b"stream" * (1 + number * 7))
    fragments = [m / f"frag/{number}" for number in range(600)]
    for path in fragments:
        write(m, str(path.relative_to(m)), noise.randbytes(4096))
    for path in fragments[::2]:
        path.unlink()
    for number in range(1000):
        write(m, f"wide/{number:05}.txt", str(number).encode() * (number % 300))
    deep = m
    for number in range(40):
        deep = deep / f"level {number}"
    write(m, str(deep.relative_to(m) / "bottom"), b"deep")


def fragment(m: Path, name: str, pieces: int, noise: random.Random) -> None:
    """Write a file in many extents: another file grows between its pieces."""
    first, other = m / name, m / f"{name}.other"
    with first.open("wb", buffering=0) as a, other.open("wb", buffering=0) as b:
        for _ in range(pieces):
            a.write(noise.randbytes(4096))
            b.write(noise.randbytes(4096))


def libwim_tree(volume: Path, scratch: Path) -> Node:
    """Capture a volume by libwim and return the tree it made: the foreign judge."""
    config = scratch / "nothing-excluded.ini"
    config.write_text("[ExclusionList]\n")
    wim = scratch / f"{volume.stem}.wim"
    wim.unlink(missing_ok=True)
    run("wimlib-imagex", "capture", volume, wim, "--compress=none", "--norpfix", f"--config={config}")
    with WimFile.open(wim) as opened:
        tree = opened.read_tree()
    wim.unlink()
    return tree


def fill_small(m: Path) -> None:
    """Fill a small volume with one of each kind of structure, for fuzzing."""
    noise = random.Random(4)
    file = write(m, "Windows/System32/a.dll", noise.randbytes(20_000))
    (m / "Windows/b.dll").hardlink_to(file)
    write(m, "Windows/System32/tiny.txt", b"resident")
    link = write(m, "Users/link.txt", b"")
    os.setxattr(link, "system.ntfs_reparse_data", symlink_data("..\\Windows\\System32\\tiny.txt"))
    os.setxattr(file, "user.stream", noise.randbytes(3000))
    os.setxattr(file, "system.ntfs_object_id", bytes(range(16)))
    os.setxattr(file, "system.ntfs_acl", descriptor(ADMINS, USERS, [ace(0, 0, 0x1F01FF, SYSTEM)]))
    os.setxattr(m / "Windows", "system.ntfs_dos_name", b"WINDOW~1")
    (m / "comp").mkdir()
    set_attributes(m / "comp", 0x810)
    write(m, "comp/text", LONG_TEXT[:100_000])
    with (m / "sparse.bin").open("wb") as stream:
        stream.seek(1 << 20)
        stream.write(b"end")
    many = write(m, "many/first", b"many names")
    for number in range(30):
        (m / f"many/name number {number:04} of this file").hardlink_to(many)
    fragment(m, "fragmented", 300, noise)
