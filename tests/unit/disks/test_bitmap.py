from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sekiso.disks.bitmap import SectorBits


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=40), st.sampled_from(["big", "little"]), st.integers(0, 319))
def test_equals_bit_by_bit(raw: bytes, order: str, limit: int) -> None:
    shifts = range(7, -1, -1) if order == "big" else range(8)
    wanted = [bool(byte >> s & 1) for byte in raw for s in shifts]
    bits = SectorBits(raw, bitorder=order)  # pyright: ignore[reportArgumentType]
    for sector, bit in enumerate(wanted):
        here, end = bits.run(sector)
        assert here is bit
        assert all(b is bit for b in wanted[sector:end])
        assert end == len(wanted) or wanted[end] is not bit
    limit = min(limit, len(wanted))
    held = [s for start, end in bits.held(limit) for s in range(start, end)]
    assert held == [i for i, b in enumerate(wanted[:limit]) if b] or len(held) == limit


def test_very_many_pieces_count_as_whole() -> None:
    assert list(SectorBits(b"\x55" * 512, bitorder="big").held(4096)) == [(0, 4096)]
