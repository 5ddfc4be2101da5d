"""LZNT1, the compression of NTFS.

Source: [MS-XCA] 2.5 (LZNT1 algorithm details).
"""

from __future__ import annotations

CHUNK_BYTES = 4096

# Bits of a token that hold the length, by the position in the chunk. Source: [MS-XCA] 2.5.1.4. The table
# goes on a little: a group of eight literals may pass the end of the chunk before that is noticed.
_LENGTH_BITS = [12 - max(0, (at - 1).bit_length() - 4) if at else 12 for at in range(CHUNK_BYTES + 9)]


def decompress(data: bytes, limit_bytes: int) -> bytes:
    """Decompress a compression unit.

    Every chunk but the last stands for 4096 bytes, so a chunk that yields fewer is filled up with zeros.

    Args:
        data: the compressed bytes; anything after the end mark is ignored.
        limit_bytes: never return more than this.

    Returns:
        At most `limit_bytes` bytes; fewer if the data ends earlier.

    Raises:
        ValueError: the data breaks the format.
    """
    out = bytearray()
    at = 0
    while at + 2 <= len(data) and len(out) < limit_bytes:
        header = data[at] | data[at + 1] << 8
        if header == 0:
            break
        start, end = at + 2, at + 3 + (header & 0xFFF)
        if end > len(data):
            raise ValueError("A compressed chunk is cut off.")
        out += bytes(-len(out) % CHUNK_BYTES)
        out += _decompress_chunk(data, start, end) if header & 0x8000 else data[start:end]
        at = end
    del out[limit_bytes:]
    return bytes(out)


def _decompress_chunk(data: bytes, at: int, end: int) -> bytearray:
    out = bytearray()
    length_bits = _LENGTH_BITS
    while at < end:
        flags = data[at]
        at += 1
        if flags == 0:
            out += data[at : min(at + 8, end)]
            at += 8
        else:
            for bit in range(8):
                if at >= end:
                    break
                if not flags >> bit & 1:
                    out.append(data[at])
                    at += 1
                    continue
                if at + 2 > end:
                    raise ValueError("A compressed chunk ends within a token.")
                token = data[at] | data[at + 1] << 8
                at += 2
                bits = length_bits[len(out)]
                length = (token & (1 << bits) - 1) + 3
                _repeat(out, (token >> bits) + 1, length)
                if len(out) > CHUNK_BYTES:
                    raise ValueError("A compressed chunk yields more than 4096 bytes.")
        if len(out) > CHUNK_BYTES:
            raise ValueError("A compressed chunk yields more than 4096 bytes.")
    return out


def _repeat(out: bytearray, distance: int, length: int) -> None:
    start = len(out) - distance
    if start < 0:
        raise ValueError("A compressed chunk refers to bytes before its start.")
    if distance >= length:
        out += out[start : start + length]
    else:
        pattern = out[start:]
        out += (pattern * (length // distance + 1))[:length]
