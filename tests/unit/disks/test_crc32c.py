from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sekiso.disks.crc32c import crc32c


def bit_by_bit(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_published_vectors() -> None:
    # RFC 3720 appendix B.4 and the usual check value
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"") == 0


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 2100))
def test_any_length_equals_the_definition(seed: bytes, length: int) -> None:
    data = (seed * (length // max(1, len(seed)) + 1))[:length]
    assert crc32c(data) == bit_by_bit(data)
