from __future__ import annotations

import pytest

from sekiso.wim.names import fold, reject_windows_names, windows_name_problem
from sekiso.wim.tagged import NO_ITEMS, format_items, parse_items
from sekiso.wim.tree import Node, UnixData

from .test_merge import tree


def test_names_fold_as_ntfs_does() -> None:
    assert fold("File.TXT") == fold("fILE.txt")
    assert fold("\u00e4\u00f6\u00fc\u03b1\u0436") == fold("\u00c4\u00d6\u00dc\u0391\u0416")
    for one, other in (
        ("\u00df", "ss"),
        ("\u0131", "i"),
        ("\u017f", "s"),
        ("\u00b5", "\u03bc"),
        ("\u03c2", "\u03c3"),
    ):
        assert fold(one) != fold(other)
    assert fold("\U00010428") != fold("\U00010400"), "NTFS folds single UTF-16 units only"
    assert fold("\ud800") == "\ud800"


@pytest.mark.parametrize(
    "name",
    [
        "CON",
        "nul",
        "aux.txt",
        "Com1.log",
        "LPT\u00b2",
        "con .x",
        "conin$",
        "a.",
        "a ",
        "a:b",
        "a\\b",
        "a?",
        "\x1f",
        "x" * 256,
    ],
)
def test_names_that_windows_cannot_use(name: str) -> None:
    assert windows_name_problem(name)


@pytest.mark.parametrize(
    "name", ["CONS", "COM10", "com", ".x", " x", "a.b.c", "x" * 255, "\u6f22", "nul_", "xcon"]
)
def test_names_that_windows_can_use(name: str) -> None:
    assert windows_name_problem(name) is None


def test_offending_paths_are_named() -> None:
    found = dict(reject_windows_names(tree("/ok/fine", "/ok/CON", "/A", "/a", "/x.")))
    assert set(found) == {"/ok/CON", "/a", "/x."}
    assert "/A" in found["/a"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        bytes(16),
        b"\1\2\3",
        b"\2\0\0\0\xff\xff\xff\xff",
        b"\2\0\0\0\x08\0\0\0\0\0\x05\0abc\0",
        b"\x73\xd8\x7d\x33\x08\0\0\0" + bytes(8),
        b"\2\0\0\0\x07\0\0\0\1\0\1\x80a\0v\0",
    ],
)
def test_unknown_and_malformed_items_are_kept_as_they_are(raw: bytes) -> None:
    unix, xattrs, object_id, extra = parse_items(raw)
    assert (unix, xattrs, object_id) == NO_ITEMS[:3]
    assert extra == (raw.ljust((len(raw) + 7) & ~7, b"\0") if raw.strip(b"\0") else b"")


def test_both_formats_of_attributes_are_read() -> None:
    node = Node("x", unix=UnixData(1, 2, 3, 4), xattrs=(("user.a", b"1"), ("user.\udcff", b"")))
    assert parse_items(format_items(node)) == (node.unix, node.xattrs, None, b"")
    old = b"\6\0\0\0\1\0\0\0user.a1\0" + b"\7\0\0\0\0\0\0\0user.bb\0"
    item = b"\x74\xd8\x7d\x33" + len(old).to_bytes(4, "little") + old
    assert parse_items(item)[1] == (("user.a", b"1"), ("user.bb", b""))


def test_a_second_item_of_a_kind_is_kept_apart() -> None:
    one = format_items(Node("x", unix=UnixData(1, 2, 3)))
    other = format_items(Node("x", unix=UnixData(4, 5, 6)))
    assert parse_items(one + other) == (UnixData(1, 2, 3), (), None, other)
