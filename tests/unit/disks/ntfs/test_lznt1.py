from __future__ import annotations

import contextlib
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekiso.disks.ntfs.lznt1 import decompress


def compress(data: bytes) -> bytes:
    """A plain LZNT1 compressor, written from [MS-XCA] 2.5 for these tests."""
    out = b""
    for start in range(0, len(data), 4096):
        chunk = data[start : start + 4096]
        packed = _chunk(chunk)
        if len(packed) < len(chunk):
            out += struct.pack("<H", 0xB000 | len(packed) - 1) + packed
        else:
            out += struct.pack("<H", 0x3000 | len(chunk) - 1) + chunk
    return out


def _chunk(chunk: bytes) -> bytes:
    out = b""
    at = 0
    while at < len(chunk):
        flags, body = 0, b""
        for bit in range(8):
            if at >= len(chunk):
                break
            bits = 12
            while at > 0 and (1 << (16 - bits)) < at:
                bits -= 1
            best, where = 0, 0
            for back in range(1, min(at, 1 << (16 - bits)) + 1):
                length = 0
                while length < (1 << bits) + 2 and at + length < len(chunk):
                    if chunk[at + length - back] != chunk[at + length]:
                        break
                    length += 1
                if length > best:
                    best, where = length, back
            if best >= 3:
                flags |= 1 << bit
                body += struct.pack("<H", (where - 1) << bits | best - 3)
                at += best
            else:
                body += chunk[at : at + 1]
                at += 1
        out += bytes([flags]) + body
    return out


def test_example_of_the_specification() -> None:
    """[MS-XCA] 3.3."""
    packed = bytes.fromhex(
        "38b08846232000204720410010a24701a045204400084501507900c04520052413"
        "8805b4024a44ef0358028c091601484500be009e000401189000"
    )
    plain = (
        b"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E "
        b"F# G F# E D E A F# F# G A A G F# E D D E F# E D D\0"
    )
    assert decompress(packed, 4096) == plain


@given(st.binary(max_size=300), st.integers(1, 40), st.binary(max_size=200))
@settings(max_examples=40, deadline=None)
def test_round_trip(head: bytes, times: int, tail: bytes) -> None:
    data = head * times + tail
    assert decompress(compress(data), len(data)) == data


def test_every_position_of_a_chunk() -> None:
    noise = random.Random(3)
    data = b"".join(bytes([noise.randrange(4)]) * noise.randrange(1, 5) for _ in range(3000))[:8000]
    assert decompress(compress(data), 1 << 16) == data


def test_long_run_of_one_byte() -> None:
    assert decompress(compress(b"a" * 4096), 4096) == b"a" * 4096
    assert decompress(compress(b"a" * 4096), 10) == b"a" * 10


def test_short_chunk_is_filled_up() -> None:
    first = struct.pack("<H", 0x3000 | 2) + b"abc"
    assert decompress(first + first, 1 << 16) == b"abc".ljust(4096, b"\0") + b"abc"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x05\xb0\x00a", "cut off"),
        (struct.pack("<H", 0xB000 | 2) + b"\x01\x00\x00", "before its start"),
        (struct.pack("<H", 0xB000 | 2) + b"\x02aa", "within a token"),
        (struct.pack("<H", 0xB000 | 11) + b"\x02a\xfd\x0f\x80" + b"b" * 7 + b"\x00", "more than 4096"),
        (struct.pack("<H", 0xB000 | 5) + b"\x06a\xff\x0f\xff\x0f", "more than 4096"),
    ],
)
def test_broken_data(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decompress(data, 1 << 16)


@given(st.binary(max_size=200), st.integers(0, 5000))
@settings(max_examples=200, deadline=None)
def test_anything_ends_well(data: bytes, limit: int) -> None:
    with contextlib.suppress(ValueError):
        assert len(decompress(data, limit)) <= limit
