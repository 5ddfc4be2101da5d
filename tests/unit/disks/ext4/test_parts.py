"""The parts of the ext4 code, each against itself the other way round or against known values."""

from __future__ import annotations

import struct
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekiso.disks.blocks import ByteRange
from sekiso.disks.ext4.crc import crc32c, crc32c_rows
from sekiso.disks.ext4.encode import (
    Extent,
    checksum_folders,
    device_block,
    empty_folder_block,
    extent_tree,
    extents_of,
    folder_blocks,
    raw_xattr,
    split_xattrs,
    xattr_block,
)
from sekiso.disks.ext4.folders import MalformedFolderError, parent_of, parse_entries
from sekiso.disks.ext4.htree import indexed_blocks, name_hashes
from sekiso.disks.ext4.selection import select
from sekiso.disks.ext4.suspects import merge_ranges
from sekiso.disks.ext4.times import from_filetime, to_filetime
from sekiso.disks.ext4.xattrs import (
    MalformedXattrError,
    acl_from_wire,
    acl_to_wire,
    full_name,
    parse_block,
    parse_inode_area,
    wire_value,
)


def no_value(number: int, size: int) -> bytes:
    raise AssertionError((number, size))


def test_crc32c_of_known_input() -> None:
    """Source: RFC 3720, B.4 (there with a final inversion)."""
    assert crc32c(bytes(32)) ^ 0xFFFFFFFF == 0x8A9136AA
    assert crc32c(bytes(range(32))) ^ 0xFFFFFFFF == 0x46DD794E
    assert crc32c(b"123456789") ^ 0xFFFFFFFF == 0xE3069283


@given(st.lists(st.binary(min_size=10, max_size=10), min_size=1, max_size=5), st.integers(0, 0xFFFFFFFF))
def test_crc32c_of_rows_is_that_of_each(rows: list[bytes], seed: int) -> None:
    table = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 10)
    assert crc32c_rows(table, seed).tolist() == [crc32c(row, seed) for row in rows]


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_crc32c_continues(one: bytes, two: bytes) -> None:
    if len(one) % 2 == 0:
        assert crc32c(two, crc32c(one)) == crc32c(one + two)


@given(st.integers(116_444_736_000_000_000 - (1 << 31) * 10**7, 116_444_736_000_000_000 + 14 * 10**16))
def test_times_come_back(filetime: int) -> None:
    assert to_filetime(*from_filetime(filetime)) == filetime


def test_times_that_ext4_cannot_hold_become_the_nearest() -> None:
    assert to_filetime(*from_filetime(0)) == 116_444_736_000_000_000 - (1 << 31) * 10**7
    assert from_filetime(1 << 63) == (0x7FFFFFFF, 3 | 999_999_900 << 2)
    assert to_filetime(0, 0xFFFFFFFF) == (3 * (1 << 32) + 11_644_473_600) * 10**7 + 9_999_999


NAMES = st.lists(
    st.binary(min_size=1, max_size=255).filter(lambda n: n not in (b".", b"..")), max_size=40, unique=True
)


@given(NAMES, st.sampled_from([1024, 4096, 65536]))
@settings(max_examples=15)
def test_folders_come_back(names: list[bytes], block_size: int) -> None:
    entries = [(b".", 2, 2), (b"..", 2, 2), *((name, 12 + i, 1 + i % 7) for i, name in enumerate(names))]
    blocks = [*folder_blocks(entries, block_size), empty_folder_block(block_size)]
    checksum_folders([(block, 5) for block in blocks], block_size)
    assert all(len(block) == block_size for block in blocks)
    assert int.from_bytes(blocks[0][-4:], "little") == crc32c(blocks[0][:-12], 5)
    data = b"".join(blocks)
    found = [tuple(e) for e in parse_entries(data, block_size, filetype=True)]
    assert found == entries[2:]
    assert parent_of(data) == 2


@given(st.binary(max_size=200))
def test_any_bytes_as_a_folder(data: bytes) -> None:
    try:
        for entry in parse_entries(data, 64, filetype=True):
            assert 0 < len(entry.name) <= 255
    except MalformedFolderError:
        pass


def test_extents_are_cut_at_the_longest_length() -> None:
    assert extents_of([(100, 40_000), (200_000, 5)]) == [
        Extent(0, 100, 32_768),
        Extent(32_768, 32_868, 7_232),
        Extent(40_000, 200_000, 5),
    ]


@pytest.mark.parametrize(("count", "depth", "nodes"), [(0, 0, 0), (4, 0, 0), (5, 1, 1), (84 * 4 + 1, 2, 6)])
def test_extent_trees_grow_level_by_level(count: int, depth: int, nodes: int) -> None:
    numbers = iter(range(5000, 6000))
    extents = [Extent(2 * i, 100 + 3 * i, 1) for i in range(count)]
    root, blocks = extent_tree(extents, 1024, lambda: next(numbers), lambda: 7)
    assert len(root) == 60
    assert struct.unpack_from("<HHHH", root) == (0xF30A, root[2], 4, depth)
    assert len(blocks) == nodes
    for _, block in blocks:
        assert len(block) == 1024
        assert crc32c(block[: 12 + 84 * 12], 7) == int.from_bytes(block[12 + 84 * 12 :][:4], "little")


ACL = bytes.fromhex("0200000001000600ffffffff02000700e803000004000400ffffffff20000400ffffffff")


def test_access_lists_come_back() -> None:
    stored = acl_from_wire(ACL)
    assert stored == bytes.fromhex("010000000100060002000700e80300000400040020000400")
    assert acl_to_wire(stored) == ACL
    for broken in (b"", b"\1", stored[:-1], stored[:10], b"\1\0\0\0\3\0\0\0"):
        with pytest.raises(MalformedXattrError):
            acl_to_wire(broken)
    for broken in (b"", ACL[:-1], b"\1" + ACL[1:], b"\2\0\0\0" + bytes(8)):
        with pytest.raises(MalformedXattrError):
            acl_from_wire(broken)


ATTRIBUTES = st.dictionaries(
    st.sampled_from(["user.", "trusted.", "security."]).flatmap(
        lambda p: st.binary(min_size=1, max_size=20).map(lambda b: p + b.decode("utf-8", "surrogateescape"))
    ),
    st.binary(max_size=60),
    max_size=8,
)


@given(ATTRIBUTES)
@settings(max_examples=30)
def test_attributes_come_back(attributes: dict[str, bytes]) -> None:
    items = [raw_xattr(name, value) for name, value in sorted(attributes.items())]
    inside, rest = split_xattrs(items, 96)
    assert len(inside) in (0, 96)
    found = parse_inode_area(inside, no_value)
    block = xattr_block(rest, 4096, 77, 99)
    assert block is not None
    assert len(block) == 4096
    found += parse_block(block, no_value)
    assert {full_name(i): wire_value(i) for i in found} == attributes
    summed = block[:16] + bytes(4) + block[20:]
    assert crc32c(summed, crc32c((77).to_bytes(8, "little"), 99)) == int.from_bytes(block[16:20], "little")


def test_attributes_that_do_not_fit() -> None:
    assert xattr_block([raw_xattr("user.x", bytes(5000))], 4096, 1, 1) is None
    for name in ("user.", "other.x", "x", "system.posix_acl_access"):
        with pytest.raises(MalformedXattrError):
            raw_xattr(name, b"")


@given(st.binary(max_size=300))
def test_any_bytes_as_attributes(data: bytes) -> None:
    header = struct.pack("<III20x", 0xEA020000, 1, 1)
    for parse in (parse_inode_area, parse_block):
        try:
            for item in parse(header + data, lambda number, size: b""):
                assert len(item.value) <= 400
        except MalformedXattrError:
            pass


@pytest.mark.parametrize(
    ("rdev", "fields"),
    [(0x103, (0x103, 0)), (0x0709, (0x709, 0)), (0x11212C70, (0, 0x11212C70)), (0x00100001, (0, 0x00100001))],
)
def test_device_numbers(rdev: int, fields: tuple[int, int]) -> None:
    assert struct.unpack_from("<II", device_block(rdev)) == fields


def test_selection() -> None:
    everything = select(None)
    assert everything.enter("x") is everything
    some = select(["/a/b", "/c"])
    a = some.enter("a")
    assert a is not None
    assert (a.wanted, a.everything) == (False, False)
    b = a.enter("b")
    assert b is not None
    assert b.wanted
    assert b.enter("x") is None
    assert some.enter("x") is None


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=8),
    st.integers(0, 70),
    st.integers(0, 9),
)
def test_touched_ranges(ranges: list[tuple[int, int]], start: int, length: int) -> None:
    touched = merge_ranges([ByteRange(*r) for r in ranges])
    known = {b for s, n in ranges for b in range(s, s + n)}
    asked = set(range(start, start + length))
    parts = {b for s, e in touched.parts(start, start + length) for b in range(s, e)}
    assert parts == known & asked
    if length:
        assert touched.overlaps(start, start + length) == bool(known & asked)


def test_hashes_of_names() -> None:
    """Source: debugfs, `dx_hash -h half_md4 -s 11111111-2222-3333-4444-555555555555`."""
    seed = struct.unpack("<4I", UUID("11111111-2222-3333-4444-555555555555").bytes)
    known = {
        "a": 0x61AB28CE,
        "hello": 0xE4A977AA,
        "x" * 31: 0x749417AE,
        "x" * 32: 0x39E50EA2,
        "x" * 33: 0x45A511B2,
        "日本語": 0x7AAF1F1C,
    }
    assert name_hashes([n.encode() for n in known], seed, signed=True).tolist() == list(known.values())


def test_names_with_one_hash_go_on_in_the_next_block() -> None:
    names = [(b"%0200d" % n, 20 + n, 1) for n in range(40)]
    hashes = np.full(40, 0x1000, np.uint32)
    found = indexed_blocks([(b".", 12, 2), (b"..", 2, 2), *names], 1024, hashes, 3)
    assert found is not None
    blocks, leaves = found
    pairs = struct.iter_unpack("<II", blocks[0][40 : 32 + 8 * len(leaves)])
    assert [(value, block) for value, block in pairs] == [(0x1001, n) for n in leaves[1:]]
    assert [e.inode for e in parse_entries(b"".join(blocks), 1024, filetype=True)] == list(range(20, 60))
