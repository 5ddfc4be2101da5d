"""A small NTFS volume built byte by byte, so that tests can break any rule of the format."""

from __future__ import annotations

import struct

CLUSTER = 1024
RECORD = 1024
MFT_LCN = 4
ROOT, FOLDER = 5, 0x10000000


class Blocks:
    """Bytes in memory as a block reader."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def name(self) -> str:
        return "built.img"

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0:
            raise ValueError("negative")
        return self.data[offset : offset + length]


def resident(kind: int, value: bytes, *, name: str = "", flags: int = 0) -> bytes:
    raw = name.encode("utf-16-le", "surrogatepass")
    value_at = (24 + len(raw) + 7) & ~7
    length = (value_at + len(value) + 7) & ~7
    head = struct.pack("<IIBBHHHIHBB", kind, length, 0, len(name), 24, flags, 0, len(value), value_at, 0, 0)
    return (head + raw).ljust(value_at, b"\0") + value.ljust(length - value_at, b"\0")


def nonresident(
    kind: int,
    pairs: bytes,
    size: int,
    clusters: int,
    *,
    initialized: int | None = None,
    flags: int = 0,
    unit: int = 0,
    lowest: int = 0,
    name: str = "",
) -> bytes:
    raw = name.encode("utf-16-le")
    pairs_at = (72 + len(raw) + 7) & ~7
    length = (pairs_at + len(pairs) + 1 + 7) & ~7
    live = size if initialized is None else initialized
    head = struct.pack("<IIBBHHH", kind, length, 1, len(name), 72, flags, 0)
    head += struct.pack("<QqHHI", lowest, lowest + clusters - 1, pairs_at, unit, 0)
    head += struct.pack("<QQQQ", clusters * CLUSTER, size, live, 0)
    return (head + raw).ljust(pairs_at, b"\0") + pairs.ljust(length - pairs_at, b"\0")


def pair(length: int, step: int | None) -> bytes:
    """One mapping pair; None makes a hole."""
    count = length.to_bytes(4, "little")
    if step is None:
        return b"\x04" + count
    return b"\x44" + count + step.to_bytes(4, "little", signed=True)


def standard(
    attributes: int = 0x20,
    *,
    times: tuple[int, int, int, int] = (1, 2, 3, 4),
    version: int = 0,
    security: int = 0,
) -> bytes:
    value = struct.pack("<QQQQIIII", *times, attributes, 0, version, 0)
    return resident(0x10, value + struct.pack("<IIQQ", 0, security, 0, 0))


def file_name(parent: int, name: str, *, sequence: int | None = None, namespace: int = 1) -> bytes:
    reference = parent | (parent if sequence is None else sequence) << 48
    body = struct.pack("<Q", reference) + bytes(56) + bytes([len(name.encode("utf-16-le")) // 2, namespace])
    return resident(0x30, body + name.encode("utf-16-le", "surrogatepass"))


def data(content: bytes, name: str = "") -> bytes:
    return resident(0x80, content, name=name)


def record(
    number: int, *attributes: bytes, folder: bool = False, in_use: bool = True, base: int = 0
) -> bytes:
    """A file record; the sequence number is the record number (1 for record 0)."""
    flags = (1 if in_use else 0) | (2 if folder else 0)
    body = b"".join(attributes) + struct.pack("<II", 0xFFFFFFFF, 0)
    used = 56 + len(body)
    reference = 0 if base == 0 else base | base << 48
    head = struct.pack(
        "<4sHHQHHHHIIQHHI",
        b"FILE",
        48,
        3,
        77,
        number or 1,
        1,
        56,
        flags,
        used,
        RECORD,
        reference,
        9,
        0,
        number,
    )
    out = bytearray((head.ljust(56, b"\0") + body).ljust(RECORD, b"\0"))
    assert len(out) == RECORD
    out[48:50] = b"\x05\x00"
    for sector in (1, 2):
        end = sector * 512
        out[48 + 2 * sector : 50 + 2 * sector] = out[end - 2 : end]
        out[end - 2 : end] = b"\x05\x00"
    return bytes(out)


def volume(
    records: dict[int, bytes], *, clusters: int = 256, content: dict[int, bytes] | None = None
) -> Blocks:
    """Build a volume.

    Args:
        records: file records by number; the ones a volume must have are added.
        clusters: size of the volume.
        content: bytes by cluster.
    """
    slots = max([64, *(number + 1 for number in records)])
    image = bytearray(clusters * CLUSTER + 512)
    boot = b"\xeb\x52\x90NTFS    " + struct.pack("<HB", 512, CLUSTER // 512)
    image[: len(boot)] = boot
    struct.pack_into("<QQQ", image, 40, clusters * CLUSTER // 512, MFT_LCN, 2)
    struct.pack_into("<bxxxbxxxQ", image, 64, -10, 1, 0x0123456789ABCDEF)
    image[510:512] = b"\x55\xaa"
    needed = {
        0: record(0, standard(6), nonresident(0x80, pair(slots, MFT_LCN), slots * RECORD, slots)),
        2: record(2, standard(6), data(b"")),
        3: record(
            3,
            standard(6),
            resident(0x60, "Built".encode("utf-16-le")),
            resident(0x70, bytes(8) + b"\x03\x01\0\0"),
        ),
        5: record(5, standard(6), file_name(5, ".", namespace=3), folder=True),
    }
    for number, raw in {**needed, **records}.items():
        at = MFT_LCN * CLUSTER + number * RECORD
        image[at : at + RECORD] = raw
    for lcn, raw in (content or {}).items():
        image[lcn * CLUSTER : lcn * CLUSTER + len(raw)] = raw
    return Blocks(bytes(image))
