"""Foreign programs as judges of disk files."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from pathlib import Path
from typing import Any

from sekiso.model.machine import DiskFormat

MIB = 1 << 20
QEMU_NAMES = {
    DiskFormat.RAW: "raw",
    DiskFormat.VHD: "vpc",
    DiskFormat.VHDX: "vhdx",
    DiskFormat.QCOW2: "qcow2",
}
#: Reads a whole disk with libvhdi (Debian's Python binding) and prints the SHA-256 of its content.
_LIBVHDI = """
import sys, hashlib, pyvhdi
files = []
for path in sys.argv[1:]:
    f = pyvhdi.file(); f.open(path)
    if files: files[-1].set_parent(f)
    files.append(f)
top = files[0]; left = top.get_media_size(); h = hashlib.sha256()
while left:
    part = top.read(min(left, 1 << 20)); h.update(part); left -= len(part)
print(top.get_media_size(), h.hexdigest(), top.get_identifier())
"""


def run(*argv: str | Path, ok: bool = True) -> str:
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    if ok:
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def qemu_info(path: Path, fmt: DiskFormat) -> dict[str, Any]:
    return json.loads(run("qemu-img", "info", "--output=json", "-f", QEMU_NAMES[fmt], path))


def assert_same(raw: Path, other: Path, fmt: DiskFormat) -> None:
    """QEMU reads the same content from both (zeros at the end of the longer one)."""
    assert "identical" in run("qemu-img", "compare", "-f", "raw", "-F", QEMU_NAMES[fmt], raw, other)


def qemu_io(path: Path, fmt: DiskFormat, *commands: str) -> str:
    argv: list[str | Path] = ["qemu-io", "-f", QEMU_NAMES[fmt]]
    for command in commands:
        argv += ["-c", command]
    out = run(*argv, path)
    assert "failed" not in out, out
    return out


def libvhdi(*paths: Path) -> tuple[int, str, str]:
    """Size, SHA-256 and identifier of a disk as libvhdi reads it; parents follow their child."""
    size, digest, identifier = run("/usr/bin/python3", "-c", _LIBVHDI, *paths).split()
    return int(size), digest, identifier


def sha256(path: Path, size_bytes: int) -> str:
    data = path.read_bytes()
    return hashlib.sha256(data.ljust(size_bytes, b"\0")).hexdigest()


def scattered(
    path: Path, size_bytes: int, *, seed: int = 1, pieces: int = 30, longest: int = 300_000
) -> Path:
    """A raw disk with random data in random places."""
    rng = random.Random(seed)
    with path.open("wb") as stream:
        for _ in range(pieces):
            stream.seek(rng.randrange(max(1, (size_bytes - longest) // 512)) * 512)
            stream.write(rng.randbytes(rng.choice([512, 4096, longest])))
        stream.seek(size_bytes - 512)
        stream.write(rng.randbytes(512))
    return path
