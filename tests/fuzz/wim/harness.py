"""Hostile WIM files: seeds, mutations, and what must hold for every input."""

from __future__ import annotations

import hashlib
import random
import resource
import struct
import time
from collections import Counter
from pathlib import Path

from sekiso.errors import SekisoError
from sekiso.wim import libwim
from sekiso.wim.diff import diff
from sekiso.wim.file import WimFile
from sekiso.wim.header import HEADER_BYTES, unpack_resource
from sekiso.wim.merge import LayerTree, merge
from sekiso.wim.metadata import parse_metadata, serialize_metadata
from sekiso.wim.tree import DIRECTORY, NO_BLOB, REPARSE_TAG_MOUNT_POINT, Node, Reparse, UnixData, new_root
from sekiso.wim.writer import WimWriter

CPU_LIMIT_S = 5.0
WALL_LIMIT_S = 60.0  # generous: the machine may be busy
#: Python objects take this many times the bytes of the resource they come from, at most.
MEMORY_FACTOR = 60
MEMORY_BASE_BYTES = 64 << 20
_INTERESTING = (
    0,
    1,
    2,
    7,
    8,
    0x10,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
    2**64 - 1,
)


def seed_tree() -> Node:
    """A tree with every kind of field in it."""
    root = new_root()
    root.security = b"descriptor of the root"
    sha1 = hashlib.sha1(b"one").digest()

    def put(folder: Node, node: Node) -> Node:
        assert folder.children is not None
        folder.children[node.name] = node
        return node

    for number in range(4):
        folder = put(
            root, Node(f"folder {number}", DIRECTORY, 1, 2, 3, b"descriptor", f"FOLDER~{number}", children={})
        )
        put(folder, Node("plain", 0x20, 1, 2, 3, b"another", data=sha1))
        put(folder, Node("linked", data=sha1, link_group=7))
        put(folder, Node("streams", data=sha1, named_streams=(("a", sha1), ("b\ud800", NO_BLOB))))
        put(folder, Node("both", data=sha1, reparse=Reparse(0x80000017, 0, sha1)))
        put(
            folder,
            Node("junction", DIRECTORY, reparse=Reparse(REPARSE_TAG_MOUNT_POINT, 0, sha1), children={}),
        )
        put(
            folder,
            Node(
                "unix", unix=UnixData(1, 2, 0o100644), xattrs=(("user.a", b"b"),), object_id=bytes(range(16))
            ),
        )
        put(put(folder, Node("deep", DIRECTORY, children={})), Node("deeper", 0x4020, data=sha1))
    return root


def seed_wims(folder: Path) -> list[bytes]:
    """WIM files of every compression, with two images and blobs of several chunks."""
    plain = folder / "plain.wim"
    with WimWriter(plain) as writer:
        for blob in (b"one", bytes(range(256)) * 300, b"text " * 20_000):
            writer.add_bytes(blob)
        writer.add_image(seed_tree(), name="one", properties={"SEKISO/MANIFEST": "{}", "X/Y": "z"})
        writer.add_image(seed_tree(), name="two")
        writer.commit()
    seeds = [plain.read_bytes()]
    for compression in ("xpress", "lzx", "solid"):
        packed = folder / f"{compression}.wim"
        libwim.export(plain, packed, compression)
        seeds.append(packed.read_bytes())
    return seeds


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flip, overwrite, insert, remove, repeat or cut a few times."""
    raw = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not raw:
            break
        at = rng.randrange(len(raw))
        kind = rng.randrange(8)
        if kind == 0:
            raw[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            raw[at] = rng.randrange(256)
        elif kind in (2, 3):
            width, code = rng.choice(((2, "<H"), (4, "<I"), (8, "<Q")))
            at &= ~(width - 1) if kind == 2 else -1
            value = rng.choice((*_INTERESTING, rng.randrange(len(raw)), len(raw))) & (256**width - 1)
            raw[at : at + width] = struct.pack(code, value)
        elif kind == 4:
            raw[at:at] = rng.randbytes(rng.choice((1, 2, 8, 102)))
        elif kind == 5:
            del raw[at : at + rng.choice((1, 2, 8, 104))]
        elif kind == 6:
            length = rng.choice((8, 104, 512))
            other = rng.randrange(len(raw))
            raw[at : at + length] = raw[other : other + length]
        elif rng.random() < 0.3:
            del raw[at:]
    return bytes(raw)


def with_right_hashes(data: bytes, rng: random.Random) -> bytes:
    """Mutate inside the metadata of an uncompressed WIM and make the blob table agree with it."""
    table = unpack_resource(data[:HEADER_BYTES], 0x30)
    raw = bytearray(data)
    for at in range(table.offset, table.offset + table.stored_bytes, 50):
        entry = unpack_resource(bytes(raw), at)
        if entry.flags & 2:
            old = bytes(raw[entry.offset : entry.offset + entry.stored_bytes])
            new = mutate(old, rng)[: len(old)].ljust(len(old), b"\0")
            raw[entry.offset : entry.offset + len(old)] = new
            raw[at + 30 : at + 50] = hashlib.sha1(new).digest()
    return bytes(raw)


def mutate_structure(data: bytes, rng: random.Random) -> bytes:
    """Mutate where a WIM file says how it is built: header, blob table, XML data, starts of resources."""
    header = data[:HEADER_BYTES]
    table, xml = unpack_resource(header, 0x30), unpack_resource(header, 0x48)
    regions = [(0, HEADER_BYTES), (table.offset, table.stored_bytes), (xml.offset, xml.stored_bytes)]
    for at in range(table.offset, table.offset + table.stored_bytes, 50):
        entry = unpack_resource(data, at)
        regions.append((entry.offset, min(48, entry.stored_bytes)))
    start, length = rng.choice(regions)
    part = mutate(data[start : start + length], rng)
    return data[:start] + part + data[start + length :]


class Judge:
    """Runs inputs and counts what became of them; whatever is neither success nor a SekisoError gets out."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "input.wim"
        self.outcomes: Counter[str] = Counter()
        self.slowest_s: dict[str, float] = {}

    def metadata(self, data: bytes) -> None:
        """Parse a metadata resource; a tree that comes out must survive everything we do with trees."""
        self._run("metadata", lambda: use_tree(parse_metadata(data, source="fuzz")), len(data))

    def wim(self, data: bytes, *, with_libwim: bool = False) -> None:
        """Open a WIM file and read all of it."""
        self.path.write_bytes(data)
        self._run("wim", lambda: read_all(self.path), len(data))
        if with_libwim:
            self._run("libwim", lambda: libwim.verify(self.path), len(data))

    def _run(self, kind: str, action: object, size_bytes: int) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        started, cpu = time.monotonic(), time.process_time()
        try:
            action()  # type: ignore[operator]
            self.outcomes[f"{kind}: accepted"] += 1
        except SekisoError as exc:
            assert str(exc)
            self.outcomes[f"{kind}: {exc.code}"] += 1
        took = time.monotonic() - started
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before
        self.slowest_s[kind] = max(self.slowest_s.get(kind, 0.0), took)
        assert took < WALL_LIMIT_S, f"{kind} took {took:.1f} s"
        assert time.process_time() - cpu < CPU_LIMIT_S, f"{kind} took too much of the processor"
        assert grown < MEMORY_BASE_BYTES + MEMORY_FACTOR * size_bytes, f"{kind} grew by {grown} bytes"


def use_tree(tree: Node) -> None:
    raw = serialize_metadata(tree)
    again = parse_metadata(raw, source="again")
    assert serialize_metadata(again) == raw
    assert not diff(tree, again, case_sensitive=True, ignore=())
    for case_sensitive in (True, False):
        merged = merge([LayerTree("a", tree), LayerTree("b", again)], case_sensitive=case_sensitive)
        serialize_metadata(merged.root)


def read_all(path: Path) -> None:
    with WimFile.open(path) as wim:
        for image in range(1, wim.image_count + 1):
            wim.properties(image)
            try:
                use_tree(wim.read_tree(image))
            except SekisoError as exc:
                assert str(exc)
        for sha1 in wim.blobs:
            try:
                wim.read_blob(sha1, limit_bytes=8 << 20)
            except SekisoError as exc:
                assert str(exc)
