"""The hash index of large folders, so that the guest finds a name without reading all blocks.

Source: ext4 "Hash Tree Directories"; the half-MD4 hash is MD4 (RFC 1320) with half of its input per round.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sekiso.disks.ext4.crc import crc32c
from sekiso.disks.ext4.encode import folder_blocks
from sekiso.disks.ext4.layout import DIRENT

Words = NDArray[np.uint32]
Entry = tuple[bytes, int, int]

HASH_HALF_MD4 = 1
_INITIAL = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_CHUNK_BYTES = 32
#: Part of a block that is filled, so that the guest can add names without splitting blocks at once.
_FILL_PERCENT = 85
_ROOT_ENTRIES_AT, _NODE_ENTRIES_AT = 32, 8
_ENTRY_SIZE = _TAIL_SIZE = 8
# Per round: constant, and (word, shift) of each step.
_ROUNDS = (
    (0x00000000, ((0, 3), (1, 7), (2, 11), (3, 19), (4, 3), (5, 7), (6, 11), (7, 19))),
    (0x5A827999, ((1, 3), (3, 5), (5, 9), (7, 13), (0, 3), (2, 5), (4, 9), (6, 13))),
    (0x6ED9EBA1, ((3, 3), (7, 9), (2, 11), (6, 15), (1, 3), (5, 9), (0, 11), (4, 15))),
)


def name_hashes(names: Sequence[bytes], seed: Sequence[int], *, signed: bool) -> Words:
    """Return the half-MD4 hash of every name, lowest bit clear.

    Args:
        names: the names.
        seed: four words of the file system; all zero for the seed of MD4.
        signed: whether bytes above 127 count as negative, as the file system says.
    """
    start = tuple(seed) if any(seed) else _INITIAL
    state = [np.full(len(names), value, np.uint32) for value in start]
    lengths = np.array([len(name) for name in names], np.int64)
    for first in range(0, int(lengths.max(initial=1)), _CHUNK_BYTES):
        rows = np.flatnonzero(lengths > first)
        words = _words([names[i][first:] for i in rows.tolist()], signed=signed)
        mixed = _transform([word[rows] for word in state], words)
        for word, value in zip(state, mixed, strict=True):
            word[rows] += value
    hashes = state[1] & np.uint32(0xFFFFFFFE)
    hashes[hashes == 0xFFFFFFFE] = 0xFFFFFFFC  # stands for the end of the folder
    return hashes


def _words(parts: list[bytes], *, signed: bool) -> list[Words]:
    """Return the eight words of input for the rest of each name."""
    lengths = np.array([len(part) for part in parts], np.uint32)
    pad = (lengths & 0xFF) | (lengths & 0xFF) << 8
    pad = (pad | pad << 16).astype(np.uint32)
    raw = b"".join(part[:_CHUNK_BYTES].ljust(_CHUNK_BYTES, b"\0") for part in parts)
    chars = np.frombuffer(raw, np.int8 if signed else np.uint8).reshape(-1, _CHUNK_BYTES)
    wide = chars.astype(np.int64).astype(np.uint32)
    words: list[Words] = []
    for index in range(8):
        value = pad.copy()
        for at in range(4 * index, 4 * index + 4):
            value = np.where(at < lengths, wide[:, at] + (value << np.uint32(8)), value).astype(np.uint32)
        words.append(value)
    return words


def _transform(state: list[Words], words: list[Words]) -> list[Words]:
    a, b, c, d = state
    for number, (constant, steps) in enumerate(_ROUNDS):
        for word, shift in steps:
            mixed = (_mix(number, b, c, d) + a + words[word] + np.uint32(constant)).astype(np.uint32)
            turned = (mixed << np.uint32(shift)) | (mixed >> np.uint32(32 - shift))
            a, b, c, d = d, turned.astype(np.uint32), b, c
    return [a, b, c, d]


def _mix(number: int, x: Words, y: Words, z: Words) -> Words:
    if number == 0:
        return z ^ (x & (y ^ z))
    if number == 1:
        return (x & y) + ((x ^ y) & z)
    return x ^ y ^ z


def indexed_blocks(
    entries: Sequence[Entry], block_size: int, hashes: Words, seed: int
) -> tuple[list[bytearray], list[int]] | None:
    """Lay out a folder with a hash index.

    Args:
        entries: (name, inode number, file type), `.` and `..` first.
        block_size: bytes per block.
        hashes: hash of every name after those two.
        seed: start of the checksums of the inode.

    Returns:
        The blocks of the folder and which of them hold names, whose checksums are still to be written
        (`encode.checksum_folders`); None if the folder is too large for two levels.
    """
    leaves, first_hashes = _leaves(entries[2:], block_size, hashes)
    root_limit = (block_size - _ROOT_ENTRIES_AT - _TAIL_SIZE) // _ENTRY_SIZE
    node_limit = (block_size - _NODE_ENTRIES_AT - _TAIL_SIZE) // _ENTRY_SIZE
    index = [(value, 1 + number) for number, value in enumerate(first_hashes)]
    nodes: list[bytearray] = []
    levels = 0
    if len(index) > root_limit:
        levels = 1
        above: list[tuple[int, int]] = []
        for first in range(0, len(index), node_limit):
            part = index[first : first + node_limit]
            above.append((part[0][0], 1 + len(leaves) + len(nodes)))
            head = DIRENT.pack(0, block_size & 0xFFFF or 0xFFFF, 0, 0)
            nodes.append(_index_block(head, part, node_limit, block_size, seed))
        index = above
        if len(index) > root_limit:
            return None
    root = _index_block(_root_head(entries, block_size, levels), index, root_limit, block_size, seed)
    return [root, *leaves, *nodes], list(range(1, 1 + len(leaves)))


def _leaves(entries: Sequence[Entry], block_size: int, hashes: Words) -> tuple[list[bytearray], list[int]]:
    """Fill blocks with entries in the order of their hashes; returns them and where each begins.

    Where names with the same hash go on in the next block, its lowest bit says so.
    """
    room = (block_size - 12) * _FILL_PERCENT // 100
    order: list[int] = np.argsort(hashes, kind="stable").tolist()
    values: list[int] = hashes.tolist()
    groups: list[list[int]] = [[]]
    used = 0
    for position in order:
        need = 8 + (len(entries[position][0]) + 3 & ~3)
        if used + need > room and groups[-1]:
            groups.append([])
            used = 0
        groups[-1].append(position)
        used += need
    firsts = [values[group[0]] for group in groups]
    for number in range(1, len(groups)):
        firsts[number] |= values[groups[number - 1][-1]] == firsts[number]
    blocks = [folder_blocks([entries[i] for i in group], block_size)[0] for group in groups]
    return blocks, [0, *firsts[1:]]


def _root_head(entries: Sequence[Entry], block_size: int, levels: int) -> bytes:
    """Return the start of the root: `.`, `..` over the rest of the block, and what the index is like."""
    (_, own, kind), (_, parent, _) = entries[0], entries[1]
    dot = DIRENT.pack(own, 12, 1, kind) + b".\0\0\0"
    dots = DIRENT.pack(parent, block_size - 12, 2, kind) + b"..\0\0"
    return dot + dots + struct.pack("<IBBBB", 0, HASH_HALF_MD4, 8, levels, 0)


def _index_block(
    head: bytes, index: Sequence[tuple[int, int]], limit: int, block_size: int, seed: int
) -> bytearray:
    """Return a block of the index; the place of its first hash holds limit and count."""
    pairs = [struct.pack("<HHI", limit, len(index), index[0][1])]
    pairs += [struct.pack("<II", value, block) for value, block in index[1:]]
    used = head + b"".join(pairs)
    checksum = crc32c(used + bytes(8), seed)
    block = bytearray(used.ljust(len(head) + limit * _ENTRY_SIZE, b"\0"))
    block += struct.pack("<II", 0, checksum)
    return block.ljust(block_size, b"\0")
