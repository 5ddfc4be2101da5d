from __future__ import annotations

import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekiso.errors import DamagedInputError, UnsupportedInputError
from sekiso.wim.metadata import MAX_DEPTH, parse_metadata, serialize_metadata
from sekiso.wim.tree import (
    DIRECTORY,
    ENCRYPTED,
    NO_BLOB,
    REPARSE_POINT,
    REPARSE_TAG_MOUNT_POINT,
    REPARSE_TAG_SYMLINK,
    Node,
    Reparse,
    UnixData,
    find,
    new_root,
    walk,
)

from .model import EDITS, FileSystem, edit, everything

A, B, C = bytes([1]) * 20, bytes([2]) * 20, bytes([3]) * 20
_CHARS = st.characters(exclude_characters="\0/", codec=None)
_NAMES = st.text(_CHARS, min_size=1, max_size=12).filter(lambda n: n not in (".", ".."))
_HASHES = st.sampled_from([NO_BLOB, A, B, C])
_TIMES = st.integers(0, 2**64 - 1)


@st.composite
def _leaves(draw: st.DrawFn) -> Node:
    node = Node(draw(_NAMES), draw(st.sampled_from([0, 0x20, 0x80, 0x800])))
    node.creation_time, node.access_time, node.write_time = draw(_TIMES), draw(_TIMES), draw(_TIMES)
    node.security = draw(st.sampled_from([None, b"sd one", b"sd number two"]))
    node.short_name = draw(st.sampled_from(["", "SHORT~1.TXT"]))
    streams = draw(st.dictionaries(_NAMES, _HASHES, max_size=3))
    node.named_streams = tuple(sorted(streams.items()))
    if draw(st.booleans()):
        node.reparse = Reparse(
            draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 2**32 - 1)), draw(_HASHES)
        )
        node.attributes |= REPARSE_POINT
    if draw(st.booleans()):
        numbers = st.integers(0, 2**32 - 1)
        node.unix = UnixData(draw(numbers), draw(numbers), draw(numbers), draw(numbers))
    xattrs = draw(
        st.dictionaries(st.text("user.xyz", min_size=1, max_size=9), st.binary(max_size=20), max_size=3)
    )
    node.xattrs = tuple(sorted(xattrs.items()))
    node.object_id = draw(st.sampled_from([None, bytes(range(16)), bytes(range(64))]))
    node.extra = draw(st.sampled_from([b"", struct.pack("<II", 77, 8) + b"whatever"]))
    return node


@st.composite
def trees(draw: st.DrawFn) -> Node:
    root = new_root()
    folders = [root]
    for node in draw(st.lists(_leaves(), max_size=8)):
        if draw(st.booleans()):
            node.attributes |= DIRECTORY
            node.children = {}
        else:
            node.data = draw(_HASHES)
        folder = draw(st.sampled_from(folders))
        assert folder.children is not None
        if _normal(node.name) in folder.children:
            continue
        node.name = _normal(node.name)
        folder.children[node.name] = node
        if node.children is not None:
            folders.append(node)
    return root


def _normal(name: str) -> str:
    """Two lone surrogates in a row are one character to UTF-16."""
    return name.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


@given(trees())
@settings(max_examples=80, deadline=None)
def test_trees_come_back_as_they_were(tree: Node) -> None:
    raw = serialize_metadata(tree)
    back = parse_metadata(raw, source="test")
    expected, found = everything(tree), everything(back)
    for node, _, _ in expected.values():
        assert isinstance(node, Node)
        node.named_streams = tuple(sorted({_normal(n): h for n, h in node.named_streams}.items()))
    assert found == expected
    assert serialize_metadata(back) == raw


@given(EDITS, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_bytes_do_not_depend_on_order_or_numbers(edits: list[tuple[object, ...]], random: object) -> None:
    tree = edit(FileSystem(), edits).tree()
    raw = serialize_metadata(tree)
    for _, node in [("", tree), *walk(tree)]:
        node.link_group *= 7
        if node.children:
            items = list(node.children.items())
            random.shuffle(items)  # type: ignore[attr-defined]
            node.children = dict(items)
    assert serialize_metadata(tree) == raw
    assert everything(parse_metadata(raw, source="test")) == everything(tree)


def _one(node: Node) -> Node:
    root = new_root()
    assert root.children is not None
    root.children[node.name] = node
    found = find(parse_metadata(serialize_metadata(root), source="test"), node.name)
    assert found is not None
    return found


def test_a_file_with_data_and_reparse_data_keeps_both() -> None:
    wof = Node("a.dll", 0x420, data=A, reparse=Reparse(0x80000017, 0, B), named_streams=(("WofData", C),))
    back = _one(wof)
    assert (back.data, back.reparse, back.named_streams) == (A, wof.reparse, wof.named_streams)


def test_a_symbolic_link_has_no_data() -> None:
    back = _one(Node("link", REPARSE_POINT, reparse=Reparse(REPARSE_TAG_SYMLINK, 0x10000, B)))
    assert (back.data, back.reparse) == (NO_BLOB, Reparse(REPARSE_TAG_SYMLINK, 0x10000, B))


def test_a_junction_is_a_folder_with_reparse_data() -> None:
    junction = Node("j", DIRECTORY, reparse=Reparse(REPARSE_TAG_MOUNT_POINT, 0, B), children={})
    back = _one(junction)
    assert back.is_directory
    assert back.attributes == DIRECTORY | REPARSE_POINT
    assert back.reparse == junction.reparse
    assert back.data == NO_BLOB


def test_an_encrypted_file_keeps_its_raw_stream() -> None:
    assert _one(Node("e", ENCRYPTED | 0x20, data=A)).data == A


def test_names_with_lone_surrogates_come_back() -> None:
    for name in ("\ud800", "x\udc80y", "\udfff\ud800", "\U0001f600"):
        assert _one(Node(name)).name == name


def test_a_group_of_one_is_no_group_and_content_separates_groups() -> None:
    root = new_root()
    root.children = {
        "a": Node("a", data=A, link_group=5),
        "b": Node("b", data=A, link_group=5),
        "c": Node("c", data=B, link_group=5),
        "d": Node("d", data=B, link_group=9),
    }
    back = parse_metadata(serialize_metadata(root), source="test")
    assert back.children is not None
    assert {n: k.link_group for n, k in back.children.items()} == {"a": 1, "b": 1, "c": 0, "d": 0}


def test_equal_descriptors_are_stored_once() -> None:
    root = new_root()
    root.children = {str(n): Node(str(n), security=b"same descriptor") for n in range(50)}
    raw = serialize_metadata(root)
    assert struct.unpack_from("<I", raw, 4) == (1,)
    assert raw.count(b"same descriptor") == 1


# --- what is refused


def _entry(name: str, *, attributes: int = 0x20, subdir: int = 0, streams: int = 0) -> bytes:
    raw = name.encode("utf-16-le", "surrogatepass")
    tail = raw + b"\0\0" if raw else b""
    length = (102 + len(tail) + 7) & ~7
    fixed = struct.pack(
        "<QIiQ16xQQQ20s4xQHHH", length, attributes, -1, subdir, 0, 0, 0, bytes(20), 0, streams, 0, len(raw)
    )
    return (fixed + tail).ljust(length, b"\0")


def _resource(*entries: bytes, root: bytes | None = None) -> bytes:
    head = struct.pack("<II", 8, 0)
    root = root or _entry("", attributes=DIRECTORY, subdir=8 + 104 + 8)
    return head + root + bytes(8) + b"".join(entries) + bytes(8)


FIRST = 8 + 104 + 8  # offset of the first entry of the root's list


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "security table"),
        (struct.pack("<II", 8, 0), "directory entry"),
        (struct.pack("<II", 0xFFFFFFF0, 1) + bytes(200), "security table"),
        (struct.pack("<II", 16, 2**31) + bytes(200), "security table"),
        (struct.pack("<IIQ", 16, 1, 2**63) + bytes(200), "security descriptor 0"),
        (_resource(root=_entry("", attributes=0x20)), "not a folder"),
        (_resource(_entry("x"), _entry("x")), "twice"),
        (_resource(_entry("a/b")), "cannot be a file name"),
        (_resource(_entry("..")), "cannot be a file name"),
        (_resource(_entry(".")), "cannot be a file name"),
        (_resource(_entry("a\0b")), "cannot be a file name"),
        (_resource(_entry("")), "cannot be a file name"),
        (_resource(_entry("x", subdir=FIRST)), "list of entries"),
        (_resource(_entry("x", attributes=DIRECTORY, subdir=FIRST)), "contain each other"),
        (_resource(_entry("x", attributes=DIRECTORY, subdir=2**63)), "past the end"),
        (_resource(_entry("x"))[:-8], "past the end"),
        (_resource(_entry("x", streams=65535)), "stream entry"),
        (_resource(struct.pack("<Q", 96) + _entry("x")[8:]), "cannot hold"),
        (_resource(struct.pack("<Q", 2**64 - 8) + _entry("x")[8:]), "cannot hold"),
        (_resource(_entry("x")[:100] + struct.pack("<H", 65534) + b"x\0"), "cannot hold"),
        (_resource(_entry("xy")[:100] + struct.pack("<H", 3) + b"x\0y\0"), "half a character"),
    ],
)
def test_damage_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(DamagedInputError) as caught:
        parse_metadata(data, source="bad.wim")
    assert reason in str(caught.value)
    assert "bad.wim" in str(caught.value)


def test_many_folders_with_one_list_are_refused_at_once() -> None:
    entries = [_entry(f"{n:05}", attributes=DIRECTORY, subdir=FIRST) for n in range(3000)]
    started = time.monotonic()
    with pytest.raises(DamagedInputError, match="contain each other"):
        parse_metadata(_resource(*entries), source="bad.wim")
    assert time.monotonic() - started < 2


def test_deep_trees_are_refused_without_recursion() -> None:
    root = new_root()
    folder = root
    for _ in range(MAX_DEPTH + 5):
        kid = Node("d", DIRECTORY, children={})
        assert folder.children is not None
        folder.children["d"] = kid
        folder = kid
    raw = serialize_metadata(root)
    with pytest.raises(DamagedInputError, match="deep"):
        parse_metadata(raw, source="bad.wim")


def test_paths_that_add_up_to_far_more_than_the_file_are_refused() -> None:
    root = new_root()
    folder = root
    for _ in range(100):
        name = "n" * 10_000
        kid = Node(name, DIRECTORY, children={})
        assert folder.children is not None
        folder.children[name] = kid
        folder = kid
    folder.children = {str(n): Node(str(n)) for n in range(2000)}
    raw = serialize_metadata(root)
    with pytest.raises(DamagedInputError, match="deep"):
        parse_metadata(raw, source="bad.wim")


@pytest.mark.parametrize("name", ["a/b", "a\0b", "..", ".", "", "x" * 20000])
def test_names_that_wim_cannot_keep_are_refused(name: str) -> None:
    root = new_root()
    root.children = {name: Node(name)}
    with pytest.raises(UnsupportedInputError):
        serialize_metadata(root)


def test_a_name_that_differs_from_its_key_is_a_mistake_of_the_caller() -> None:
    root = new_root()
    root.children = {"x": Node("y")}
    with pytest.raises(ValueError, match="listed as"):
        serialize_metadata(root)


def test_twenty_thousand_entries_take_well_under_a_second_each_way() -> None:
    root = new_root()
    for number in range(20):
        kids = {f"file {n}.dll": Node(f"file {n}.dll", data=A, security=b"x" * 80) for n in range(1000)}
        assert root.children is not None
        root.children[f"folder {number}"] = Node(f"folder {number}", DIRECTORY, children=kids)
    started = time.process_time()
    raw = serialize_metadata(root)
    parse_metadata(raw, source="test")
    assert time.process_time() - started < 2
