"""Measures the engine's steps on a generated tree, each against a plain sequential copy of the same bytes.

usage: script/bench [--files N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from sekiso import process
from sekiso.disks.blocks import FileBlocks
from sekiso.disks.convert import convert
from sekiso.disks.ext4.content import BlobPlace
from sekiso.disks.ext4.format import count_inodes_and_blocks, estimate_size_bytes, format_ext4
from sekiso.disks.ext4.reader import open_ext4
from sekiso.disks.ext4.writer import fill_ext4
from sekiso.model.machine import DiskFormat
from sekiso.wim.diff import diff
from sekiso.wim.file import WimFile
from sekiso.wim.merge import LayerTree, merge
from sekiso.wim.tree import Node, new_root
from sekiso.wim.writer import WimWriter

T = TypeVar("T")
PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Row:
    """One measured step."""

    step: str
    seconds: float
    times_copy: float
    note: str


class Table:
    """Runs steps and prints a row for each; the first is the plain copy that the others are held against."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        print(f"{'step':<44}{'seconds':>9}{'× copy':>8}  ")

    def measure(self, step: str, work: Callable[[], T], note: Callable[[T], str] = lambda _: "") -> T:
        began = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - began
        reference = self.rows[0].seconds if self.rows else seconds
        row = Row(step, round(seconds, 3), round(seconds / reference, 2), note(result))
        self.rows.append(row)
        print(f"{row.step:<44}{row.seconds:>9.2f}{row.times_copy:>8.2f}  {row.note}", flush=True)
        return result


class HashOnly:
    """Takes content and keeps only its hash: what reading alone costs."""

    def add(self, chunks: Iterable[bytes | memoryview], size_bytes: int) -> bytes:
        import hashlib  # noqa: PLC0415

        digest, seen = hashlib.sha1(), 0
        for chunk in chunks:
            digest.update(chunk)
            seen += len(chunk)
        if seen != size_bytes:
            raise ValueError(f"{seen} bytes instead of {size_bytes}")
        return digest.digest() if size_bytes else bytes(20)


class Places:
    """Where the content of an uncompressed WIM lies."""

    def __init__(self, wim: WimFile) -> None:
        self._wim = wim

    def locate(self, sha1: bytes) -> BlobPlace:
        found = self._wim.locate_blob(sha1)
        return BlobPlace(found.path, found.offset, found.size_bytes)


def make_tree(folder: Path, files: int) -> int:
    """Write files as large as those of an operating system (median 4 KiB, long tail); return their bytes."""
    chance = random.Random(20260101)
    total = 0
    for index in range(files):
        place = folder / f"d{index % 97:02}" / f"e{index % 13:02}"
        place.mkdir(parents=True, exist_ok=True)
        size = min(int(chance.lognormvariate(8.3, 1.9)), 64 << 20)
        (place / f"file{index:06}").write_bytes(chance.randbytes(size))
        total += size
    return total


def plain_copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, PIECE_BYTES)
        writer.flush()
        os.fsync(writer.fileno())


def capture(disk: Path, layer: Path) -> Node:
    with FileBlocks(disk) as blocks, WimWriter(layer) as wim:
        root = open_ext4(blocks).tree(wim)
        wim.add_image(root, name="bench")
        wim.commit()
    return root


def children(folder: Node) -> dict[str, Node]:
    assert folder.children is not None
    return folder.children


def change_some(root: Node, count: int, layer: Path) -> Node:
    """Return a layer tree that changes `count` files."""
    top = new_root()
    with WimWriter(layer) as wim:
        for index in range(count):
            *folders, name = f"d{index % 97:02}", f"e{index % 13:02}", f"file{index:06}"
            below, above = root, top
            for part in folders:
                below = children(below)[part]
                above = children(above).setdefault(part, below.shallow_copy())
            file = children(below)[name].shallow_copy()
            content = f"changed {index}".encode()
            file.data = wim.add([content], len(content))
            children(above)[name] = file
        wim.add_image(top, name="changes")
        wim.commit()
    return top


def fill(disk: Path, root: Node, wim: WimFile) -> int:
    def sizes(sha1: bytes) -> int:
        return wim.locate_blob(sha1).size_bytes

    size = estimate_size_bytes(root, sizes)
    with disk.open("wb") as stream:
        stream.truncate(size)
    inodes, _ = count_inodes_and_blocks(root, sizes)
    name = str(uuid.UUID(int=1))
    format_ext4(disk, offset_bytes=0, size_bytes=size, uuid=name, label="bench", inodes=inodes + 1024)
    fill_ext4(disk, offset_bytes=0, root=root, blobs=Places(wim))
    return size


def read_back(disk: Path) -> Node:
    with FileBlocks(disk) as blocks:
        return open_ext4(blocks).tree(HashOnly())


def bench(work: Path, files: int) -> list[Row]:
    total = make_tree(work / "tree", files)
    source, layer, target = work / "source.raw", work / "layer.wim", work / "target.raw"
    with source.open("wb") as stream:
        stream.truncate(total + total // 4 + files * 6144 + (64 << 20))
    process.run(["mke2fs", "-q", "-F", "-t", "ext4", "-N", str(files + 4096), "-d", work / "tree", source])
    shutil.rmtree(work / "tree")
    print(f"{files} files, {total / 1e6:.0f} MB, on {os.cpu_count()} processors\n")
    (work / "bytes").write_bytes(os.urandom(total))

    table = Table()
    table.measure("copy the same bytes, flushed to disk", lambda: plain_copy(work / "bytes", work / "copy"))
    (work / "copy").unlink()
    table.measure("read and hash an ext4 volume", lambda: read_back(source))
    root = table.measure(
        "capture it as a layer",
        lambda: capture(source, layer),
        lambda _: f"{layer.stat().st_size / 1e6:.0f} MB",
    )
    changes = change_some(root, 200, work / "changes.wim")
    layers = [LayerTree("os", root), LayerTree("app", changes)]
    table.measure(
        "merge it with a layer of 200 changes",
        lambda: merge(layers, case_sensitive=True),
        lambda merged: f"{len(merged.touched)} paths touched",
    )
    with WimFile.open(layer) as wim:
        table.measure("read the layer's tree", lambda: wim.read_tree(1))
        table.measure("make and fill an ext4 volume", lambda: fill(target, root, wim))
    written = table.measure("read it back, every byte", lambda: read_back(target))
    found = diff(root, written, case_sensitive=True)
    for fmt in (DiskFormat.VHD, DiskFormat.VHDX):
        disk = work / f"disk.{fmt.value}"
        table.measure(
            f"convert it to {fmt.value.upper()}",
            lambda fmt=fmt, disk=disk: convert(target, disk, fmt),
            lambda facts, disk=disk: f"{disk.stat().st_size / 1e6:.0f} MB",
        )
        disk.unlink()
    if found:
        raise SystemExit(f"what was read back differs in {len(found.changed_paths)} entries")
    print("\nwhat was read back is equal to what was captured")
    return table.rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=20000, help="files in the tree (default: 20000)")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sekiso-bench-") as folder:
        rows = bench(Path(folder), options.files)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
