"""CRC-32C (Castagnoli), which VHDX puts on its headers, region tables and log entries.

Source: RFC 3720 appendix B.4 (reflected polynomial 0x82F63B78, start and final value 0xFFFFFFFF).

The checksum is linear, so a block of fixed length is the exclusive-or of one table entry per byte and
position: that is one numpy gather per kilobyte instead of a loop over bytes.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

_POLYNOMIAL = 0x82F63B78
_BLOCK = 1024

Table = npt.NDArray[np.uint32]


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """Return the CRC-32C of `data`."""
    values = np.frombuffer(data, dtype=np.uint8)
    whole = len(values) // _BLOCK
    crc = 0xFFFFFFFF
    if whole:
        crc = _whole_blocks(values[: whole * _BLOCK].reshape(whole, _BLOCK), crc)
    table = _byte_table_list()
    value: int
    for value in values[whole * _BLOCK :].tolist():
        crc = table[(crc ^ value) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _whole_blocks(blocks: npt.NDArray[np.uint8], crc: int) -> int:
    table = _position_table()
    rows = np.arange(_BLOCK)
    shift = _shift_tables()
    for block in blocks:
        own = int(np.bitwise_xor.reduce(table[rows, block]))
        crc = (
            shift[0][crc & 0xFF]
            ^ shift[1][(crc >> 8) & 0xFF]
            ^ shift[2][(crc >> 16) & 0xFF]
            ^ shift[3][crc >> 24]
            ^ own
        )
    return crc


@cache
def _byte_table() -> Table:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1).astype(np.uint32)
    return table


@cache
def _byte_table_list() -> list[int]:
    return [int(v) for v in _byte_table()]


def _one_more_zero(table: Table) -> Table:
    base = _byte_table()
    return (base[table & 0xFF] ^ (table >> np.uint32(8))).astype(np.uint32)


@cache
def _position_table() -> Table:
    """Row i: effect of each byte value at position i of a block that ends _BLOCK - 1 - i bytes later."""
    table = np.empty((_BLOCK, 256), dtype=np.uint32)
    table[_BLOCK - 1] = _byte_table()
    for row in range(_BLOCK - 2, -1, -1):
        table[row] = _one_more_zero(table[row + 1])
    return table


@cache
def _shift_tables() -> tuple[list[int], list[int], list[int], list[int]]:
    """Effect of each byte of the running value after _BLOCK zero bytes.

    Byte k of the register meets position k of the block, so the first four rows are the answer.
    """
    table = _position_table()
    a, b, c, d = ([int(v) for v in table[row]] for row in range(4))
    return a, b, c, d
