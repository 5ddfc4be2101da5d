from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekiso.disks.ntfs.extents import HOLE, Extent, decode_mapping_pairs


def encode(extents: list[Extent]) -> bytes:
    """Encode extents as short as NTFS does."""
    out, last = b"", 0
    for _, lcn, clusters in extents:
        count = clusters.to_bytes((clusters.bit_length() + 8) // 8, "little", signed=True)
        if lcn == HOLE:
            out += bytes([len(count)]) + count
            continue
        step = lcn - last
        last = lcn
        width = 1
        while not -(1 << 8 * width - 1) <= step < 1 << 8 * width - 1:
            width += 1
        out += bytes([width << 4 | len(count)]) + count + step.to_bytes(width, "little", signed=True)
    return out + b"\0"


@given(
    st.lists(
        st.tuples(st.one_of(st.just(HOLE), st.integers(0, 1 << 30)), st.integers(1, 1 << 20)), max_size=30
    ),
    st.integers(0, 1 << 32),
)
@settings(max_examples=60, deadline=None)
def test_round_trip(items: list[tuple[int, int]], first: int) -> None:
    extents, vcn = list[Extent](), first
    for lcn, clusters in items:
        extents.append(Extent(vcn, lcn, clusters))
        vcn += clusters
    assert decode_mapping_pairs(encode(extents), first, 1 << 31) == extents


def test_example() -> None:
    """Linux-NTFS documentation, "Data runs", example 4 (compressed file): with holes and a step back."""
    pairs = bytes.fromhex("113060 21100001 1120e0 0000".replace(" ", ""))
    assert decode_mapping_pairs(pairs, 0, 1 << 20) == [
        Extent(0, 0x60, 0x30),
        Extent(0x30, 0x160, 0x10),
        Extent(0x40, 0x140, 0x20),
    ]


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ("11", "cut off"),
        ("1130", "cut off"),
        ("1000", "impossible length"),
        ("99" + "01" * 18, "impossible length"),
        ("110001", "0 clusters"),
        ("1180" + "01", "-128 clusters"),
        ("11107f" + "110a80" + "110aff", "outside the volume"),
        ("210100f0", "outside the volume"),
    ],
)
def test_broken(pairs: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_mapping_pairs(bytes.fromhex(pairs), 0, 100)
