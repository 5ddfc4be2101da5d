from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekiso.disks.blocks import ByteRange
from sekiso.disks.ntfs import open_ntfs
from sekiso.disks.ntfs.changes import changes_between
from sekiso.disks.ntfs.compare import TouchedClusters
from sekiso.disks.ntfs.security import descriptor_hash, trim_descriptor
from sekiso.errors import DamagedInputError, DirtyVolumeError, UnsupportedInputError
from sekiso.wim.blobs import HashSink
from sekiso.wim.tree import walk

from .builder import (
    CLUSTER,
    ROOT,
    Blocks,
    data,
    file_name,
    nonresident,
    pair,
    record,
    resident,
    standard,
    volume,
)
from .test_lznt1 import compress


def paths(blocks: Blocks) -> list[str]:
    return [path for path, _ in walk(open_ntfs(blocks).tree(HashSink()))]


def folder(number: int, parent: int, name: str, **options: int) -> bytes:
    return record(number, standard(), file_name(parent, name, **options), folder=True)


def file(number: int, parent: int, name: str, content: bytes = b"x") -> bytes:
    return record(number, standard(), file_name(parent, name), data(content))


def test_small_tree() -> None:
    blocks = volume({30: folder(30, ROOT, "a"), 31: file(31, 30, "b", b"hello")})
    opened = open_ntfs(blocks)
    tree = dict(walk(opened.tree(HashSink())))
    assert list(tree) == ["/a", "/a/b"]
    node = tree["/a/b"]
    assert node.data == hashlib.sha1(b"hello").digest()
    assert (node.creation_time, node.write_time, node.access_time) == (1, 2, 4)
    assert (opened.facts.uuid, opened.facts.label) == ("0123456789ABCDEF", "Built")
    assert opened.read_file("/A/B") == b"hello"


def test_short_name_goes_with_the_first_win32_name() -> None:
    names = [
        file_name(ROOT, "posix", namespace=0),
        file_name(ROOT, "long name one", namespace=1),
        file_name(ROOT, "LONGNA~1", namespace=2),
        file_name(ROOT, "long name two", namespace=1),
    ]
    blocks = volume({30: record(30, standard(), *names, data(b"")), 31: file(31, ROOT, "UPPER.TXT")})
    tree = dict(walk(open_ntfs(blocks).tree(HashSink())))
    assert {path: node.short_name for path, node in tree.items()} == {
        "/posix": "",
        "/long name one": "LONGNA~1",
        "/long name two": "",
        "/UPPER.TXT": "",
    }
    assert len({tree[p].link_group for p in ("/posix", "/long name one", "/long name two")}) == 1


def test_name_in_both_name_spaces_is_its_own_short_name() -> None:
    blocks = volume({30: record(30, standard(), file_name(ROOT, "A.TXT", namespace=3), data(b""))})
    assert next(iter(walk(open_ntfs(blocks).tree(HashSink()))))[1].short_name == "A.TXT"


def test_orphans_and_loops_are_reported_and_left_out() -> None:
    blocks = volume(
        {
            30: folder(30, 31, "loop a"),
            31: folder(31, 30, "loop b"),
            32: file(32, 30, "in the loop"),
            33: record(33, standard(), file_name(ROOT, "stale", sequence=9), data(b"")),
            34: file(34, 60, "no parent"),
            35: record(35, standard(), data(b"no name")),
            36: file(36, ROOT, "fine"),
            37: file(37, 36, "in a file"),
        }
    )
    opened = open_ntfs(blocks)
    assert [path for path, _ in walk(opened.tree(HashSink()))] == ["/fine"]
    assert [line.split(":")[0] for line in opened.dropped] == [
        "file record 30 (loop a)",
        "file record 31 (loop b)",
        "file record 32 (in the loop)",
        "file record 33 (stale)",
        "file record 34 (no parent)",
        "file record 35",
        "file record 37 (in a file)",
    ]


def test_files_of_the_file_system_are_left_out_silently() -> None:
    blocks = volume({11: folder(11, ROOT, "$Extend"), 24: file(24, 11, "$ObjId"), 30: file(30, ROOT, "kept")})
    opened = open_ntfs(blocks)
    assert [path for path, _ in walk(opened.tree(HashSink()))] == ["/kept"]
    assert opened.dropped == ()


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ({30: file(30, ROOT, "a"), 31: file(31, ROOT, "a")}, "two files with the name 'a'"),
        ({30: file(30, ROOT, "a/b")}, "impossible name"),
        ({30: file(30, ROOT, "..")}, "impossible name"),
        (
            {
                29: folder(29, ROOT, "f"),
                30: record(30, standard(), file_name(ROOT, "a"), file_name(29, "b"), folder=True),
            },
            "several names",
        ),
        ({30: record(30, standard(), resident(0x30, bytes(70)), data(b""))}, "broken names"),
        ({30: record(30, standard(), file_name(ROOT, "a"), b"\x80\0\0\0\x07\0\0\0")}, "broken attributes"),
        ({30: record(30, standard(), file_name(ROOT, "a"), data(b"1"), data(b"2"))}, "there twice"),
        ({30: record(30, standard(0x420), file_name(ROOT, "a"), data(b""))}, "marked as a reparse point"),
        (
            {30: record(30, standard(security=500), file_name(ROOT, "a"), data(b""))},
            "descriptor 500 is missing",
        ),
        (
            {30: record(30, standard(), file_name(ROOT, "a"), nonresident(0x80, pair(4, 250), 4096, 4))},
            None,
        ),
        (
            {30: record(30, standard(), file_name(ROOT, "a"), nonresident(0x80, pair(4, 254), 4096, 4))},
            "outside the volume",
        ),
        (
            {30: record(30, standard(), file_name(ROOT, "a"), nonresident(0x80, pair(4, 200), 4097, 4))},
            "longer than its clusters",
        ),
        (
            {30: record(30, standard(), file_name(ROOT, "a"), nonresident(0x80, pair(4, None), 4096, 4))},
            "not sparse has a hole",
        ),
        (
            {
                30: record(
                    30, standard(), file_name(ROOT, "a"), nonresident(0x80, pair(4, 200), 9, 4, lowest=3)
                )
            },
            "gap between its extents",
        ),
        (
            {
                30: record(30, standard(), file_name(ROOT, "a"), data(b"")),
                31: record(31, data(b"", "more"), base=30),
            },
            "disagree about record 31",
        ),
    ],
)
def test_broken_structures(records: dict[int, bytes], reason: str | None) -> None:
    if reason is None:
        assert paths(volume(records)) == ["/a"]
        return
    with pytest.raises(DamagedInputError, match=reason):
        paths(volume(records))


def test_extension_record_with_its_list() -> None:
    entry = struct.pack("<IHBBQQH", 0x80, 40, 4, 26, 0, 31 | 31 << 48, 0) + "more".encode("utf-16-le")
    listed = resident(0x20, entry.ljust(40, b"\0"))
    blocks = volume(
        {
            30: record(30, standard(), listed, file_name(ROOT, "a"), data(b"")),
            31: record(31, data(b"stream", "more"), base=30),
        }
    )
    node = next(iter(walk(open_ntfs(blocks).tree(HashSink()))))[1]
    assert node.named_streams == (("more", hashlib.sha1(b"stream").digest()),)


def test_sparse_compressed_and_uninitialized_content() -> None:
    unit = 16 * CLUSTER
    text = (b"sixteen clusters of text " * 1000)[:unit]
    packed = compress(text)
    clusters = -(-len(packed) // CLUSTER)
    noise = bytes(np.random.default_rng(1).integers(0, 256, unit, np.uint8))
    pairs = pair(clusters, 100) + pair(16 - clusters, None) + pair(16, None) + pair(16, 200) + pair(32, None)
    size = 5 * unit - 100
    made = {
        30: record(
            30,
            standard(0x820),
            file_name(ROOT, "packed"),
            nonresident(0x80, pairs, size, 80, flags=1, unit=4),
        ),
        31: record(
            31,
            standard(0x220),
            file_name(ROOT, "sparse"),
            nonresident(0x80, pair(2, None) + pair(2, 120), 4000, 4, flags=0x8000),
        ),
        32: record(
            32,
            standard(),
            file_name(ROOT, "short"),
            nonresident(0x80, pair(4, 130), 4000, 4, initialized=1500),
        ),
    }
    blocks = volume(made, content={100: packed, 120: b"s" * 2048, 130: b"i" * 4096, 300: noise}, clusters=400)
    opened = open_ntfs(blocks)
    assert opened.read_file("/packed") == (text + bytes(unit) + noise + bytes(2 * unit))[:size]
    assert opened.read_file("/sparse") == bytes(2048) + b"s" * 1952
    assert opened.read_file("/short") == b"i" * 1500 + bytes(2500)


def test_content_of_impossible_length_is_refused() -> None:
    huge = 1 << 45
    attribute = nonresident(
        0x80, b"\x06" + (huge // CLUSTER).to_bytes(6, "little"), huge, huge // CLUSTER, flags=0x8000
    )
    blocks = volume({30: record(30, standard(0x220), file_name(ROOT, "huge"), attribute)})
    with pytest.raises(UnsupportedInputError, match="more than Sekiso handles"):
        paths(blocks)


def test_encrypted_file_is_refused_unless_left_out() -> None:
    blocks = volume(
        {30: record(30, standard(0x4020), file_name(ROOT, "secret"), data(b"")), 31: file(31, ROOT, "b")}
    )
    with pytest.raises(UnsupportedInputError, match=r"/secret cannot be used(.|\n)*EFS"):
        paths(blocks)
    left = open_ntfs(blocks).tree(HashSink(), exclude=["/secret"])
    assert [path for path, _ in walk(left)] == ["/b"]


def test_case_sensitive_folder_is_reported() -> None:
    blocks = volume({30: record(30, standard(version=1), file_name(ROOT, "cs"), folder=True)})
    opened = open_ntfs(blocks)
    opened.tree(HashSink())
    assert len(opened.dropped) == 1
    assert "/cs" in opened.dropped[0]


def test_names_that_no_unicode_has() -> None:
    blocks = volume({30: record(30, standard(), _odd_name("a\udc00"), data(b""))})
    assert paths(blocks) == ["/a\udc00"]


def _odd_name(name: str) -> bytes:
    raw = name.encode("utf-16-le", "surrogatepass")
    body = struct.pack("<Q", ROOT | ROOT << 48) + bytes(56) + bytes([len(raw) // 2, 0]) + raw
    return resident(0x30, body)


def test_dirty_mark() -> None:
    dirty = record(3, standard(6), resident(0x70, bytes(8) + b"\x03\x01\x01\0"))
    with pytest.raises(DirtyVolumeError, match="marked as dirty"):
        open_ntfs(volume({3: dirty}))


def test_deep_folders_are_refused() -> None:
    records = {30 + i: folder(30 + i, 29 + i if i else ROOT, "n" * 200) for i in range(180)}
    with pytest.raises(DamagedInputError, match="too deep"):
        paths(volume(records, clusters=600))


# --- changes ---


def test_descriptor_under_a_known_id_changes() -> None:
    def sds(body: bytes) -> dict[int, bytes]:
        entry = struct.pack("<IIQI", descriptor_hash(body), 256, 0, 20 + len(body)) + body
        return {60: entry.ljust(64 << 10, b"\0")}

    made = {
        9: record(9, standard(6), nonresident(0x80, pair(64, 160), 65536, 64, name="$SDS")),
        30: record(30, standard(security=256), file_name(ROOT, "a"), data(b"")),
    }
    first = struct.pack("<BBHIIII", 1, 0, 0x8004, 20, 0, 0, 0) + struct.pack(
        "<BB6sI", 1, 1, b"\0\0\0\0\0\5", 18
    )
    second = first[:-4] + struct.pack("<I", 19)
    ours = volume(made, content={160: sds(first)[60]})
    theirs = volume(made, content={160: sds(second)[60]})
    base, modified = open_ntfs(ours), open_ntfs(theirs)
    assert next(iter(walk(base.tree(HashSink()))))[1].security == first
    assert changes_between(base, modified, []).changed == ("/a",)


def test_bookkeeping_is_no_change() -> None:
    one = record(30, standard(0x20, times=(1, 2, 3, 4)), file_name(ROOT, "a"), data(b"x"))
    two = record(30, standard(0x00, times=(1, 2, 9, 8)), file_name(ROOT, "a"), data(b"x"))
    two = two[:8] + b"\x99" * 8 + two[16:]
    base, modified = open_ntfs(volume({30: one})), open_ntfs(volume({30: two}))
    assert changes_between(base, modified, None).changed == ()
    assert changes_between(base, modified, [ByteRange(0, 1 << 20)]).changed == ()


def test_records_outside_the_touched_clusters_are_not_looked_at() -> None:
    base, modified = (open_ntfs(volume({30: file(30, ROOT, "a", text)})) for text in (b"1", b"2"))
    place = modified.table.offset_of(30)
    assert changes_between(base, modified, [ByteRange(place, 1)]).changed == ("/a",)
    assert changes_between(base, modified, [ByteRange(0, 1024)]).changed == ()


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=12),
    st.integers(0, 70),
    st.integers(1, 9),
)
@settings(max_examples=100, deadline=None)
def test_touched_clusters(items: list[tuple[int, int]], first: int, count: int) -> None:
    touched = TouchedClusters(
        np.array([a for a, _ in items], np.int64), np.array([a + n for a, n in items], np.int64)
    )
    covered = {c for a, n in items for c in range(a, a + n)}
    wanted = covered & set(range(first, first + count))
    assert bool(touched.hit(np.array([first]), np.array([count]))[0]) == bool(wanted)
    assert {c for a, b in touched.parts(first, count) for c in range(a, b)} == wanted


# --- security descriptors ---


def test_trim_descriptor() -> None:
    sid = struct.pack("<BB6sI", 1, 1, b"\0\0\0\0\0\5", 18)
    good = struct.pack("<BBHIIII", 1, 0, 0x8004, 20, 32, 0, 0) + sid + sid
    assert trim_descriptor(good + b"waste") == good
    for broken in (
        b"",
        good[:30],
        b"\x02" + good[1:],
        good[:2] + b"\0\0" + good[4:],
        good[:4] + b"\xff" * 4 + good[8:],
    ):
        assert trim_descriptor(broken) is None
