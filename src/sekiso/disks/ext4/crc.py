"""CRC-32C (Castagnoli), the checksum of ext4's metadata, for one buffer and for many rows at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78


def _byte_table() -> NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1).astype(np.uint32)
    return table


_BYTE = _byte_table()


def _word_table() -> NDArray[np.uint32]:
    """Return the table that takes 16 bits of input in one step."""
    word = np.arange(65536, dtype=np.uint32)
    for _ in range(2):
        word = (_BYTE[word & 0xFF] ^ (word >> np.uint32(8))).astype(np.uint32)
    return word


_WORD = _word_table()
_BYTES: list[int] = _BYTE.tolist()
_WORDS: list[int] = _WORD.tolist()


def crc32c(data: bytes | bytearray | memoryview, seed: int = 0xFFFFFFFF) -> int:
    """Return the CRC-32C of `data` continued from `seed`, without a final inversion (as ext4 keeps it).

    Source: ext4 on-disk format, "Checksums" (docs.kernel.org/filesystems/ext4/).
    """
    words = _WORDS
    even = len(data) & ~1
    for word in memoryview(data)[:even].cast("B").cast("H").tolist() if even else ():
        seed = words[(seed ^ word) & 0xFFFF] ^ (seed >> 16)
    if len(data) & 1:
        seed = _BYTES[(seed ^ data[-1]) & 0xFF] ^ (seed >> 8)
    return seed


def crc32c_rows(rows: NDArray[np.uint8], seeds: NDArray[np.uint32] | int) -> NDArray[np.uint32]:
    """Return the CRC-32C of every row.

    Args:
        rows: array of shape (n, m), m even.
        seeds: start value of each row, shape (n,), or one for all.

    Returns:
        Array of shape (n,).
    """
    crc = np.broadcast_to(np.asarray(seeds, dtype=np.uint32), (len(rows),)).copy()
    columns = np.ascontiguousarray(np.ascontiguousarray(rows).view("<u2").T)
    for column in columns:
        crc = _WORD[(crc ^ column) & 0xFFFF] ^ (crc >> np.uint32(16))
    return crc
