"""Damaged volumes: data or a SekisoError, never a crash, a hang or unbounded memory."""

from __future__ import annotations

import random
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.ntfs.harness import exercise, exercise_lznt1, mutate, mutate_lznt1, places

from .builder import ROOT, data, file_name, nonresident, pair, record, resident, standard, volume
from .test_lznt1 import compress

_LIST = struct.pack("<IHBBQQH", 0x80, 40, 4, 26, 0, 33 | 33 << 48, 0) + "more".encode("utf-16-le")
_PACKED = compress(b"sixteen clusters of text " * 600)
_LINK = struct.pack("<HHHHI", 0, 2, 0, 2, 1) + "tt".encode("utf-16-le")
SMALL = volume(
    {
        29: record(29, standard(0x10), file_name(ROOT, "Windows"), folder=True),
        30: record(
            30,
            standard(0x820),
            file_name(ROOT, "packed"),
            nonresident(0x80, pair(3, 100) + pair(13, None), 15000, 16, flags=1, unit=4),
        ),
        31: record(31, standard(), file_name(29, "in clusters"), nonresident(0x80, pair(4, 130), 4000, 4)),
        32: record(
            32,
            standard(),
            resident(0x20, _LIST.ljust(40, b"\0")),
            file_name(ROOT, "t"),
            file_name(29, "t2", namespace=0),
            data(b""),
        ),
        33: record(33, data(b"stream", "more"), base=32),
        34: record(
            34,
            standard(0x420),
            file_name(ROOT, "link"),
            data(b""),
            resident(0xC0, struct.pack("<IHH", 0xA000000C, len(_LINK), 0) + _LINK),
        ),
        35: record(
            35, standard(), file_name(ROOT, "WITHID~1", namespace=2), file_name(ROOT, "with id"), data(b"")
        ),
    },
    content={100: _PACKED, 130: b"c" * 4096},
).data
SPOTS = places(SMALL)


def test_the_small_volume_is_sound() -> None:
    assert exercise(SMALL, SMALL) == "data"
    assert len(SPOTS) == 12


@given(st.integers(0, 1 << 64), st.booleans())
@settings(max_examples=100, deadline=None)
def test_damaged_volume(seed: int, compare: bool) -> None:
    exercise(mutate(SMALL, SPOTS, random.Random(seed)), SMALL if compare else None)


@given(st.binary(max_size=2000))
@settings(max_examples=50, deadline=None)
def test_anything_after_a_boot_sector(content: bytes) -> None:
    exercise(SMALL[:4096] + content)


@given(st.integers(0, 1 << 64))
@settings(max_examples=60, deadline=None)
def test_damaged_compression(seed: int) -> None:
    noise = random.Random(seed)
    exercise_lznt1(mutate_lznt1(noise), noise.choice((1, 4096, 65536)))
