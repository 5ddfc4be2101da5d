from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from sekiso.wim.diff import Change, Reason, diff
from sekiso.wim.tree import DIRECTORY, Node, Reparse, UnixData, new_root

from .model import EDITS, FileSystem, edit, everything, sha1
from .test_merge import tree

A, B = sha1(b"a"), sha1(b"b")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": B}, Reason.CONTENT),
        ({"named_streams": (("s", A),)}, Reason.STREAMS),
        ({"reparse": Reparse(1, 0, A)}, Reason.REPARSE),
        ({"security": b"x"}, Reason.SECURITY),
        ({"attributes": 2}, Reason.ATTRIBUTES),
        ({"write_time": 2}, Reason.TIMES),
        ({"creation_time": 2}, Reason.TIMES),
        ({"access_time": 2}, Reason.ACCESS_TIME),
        ({"short_name": "X"}, Reason.SHORT_NAME),
        ({"unix": UnixData(0, 0, 0o755)}, Reason.UNIX),
        ({"xattrs": (("user.a", b""),)}, Reason.XATTRS),
        ({"object_id": bytes(16)}, Reason.OBJECT_ID),
        ({"extra": b"12345678"}, Reason.EXTRA),
    ],
)
def test_each_difference_has_its_reason(changes: dict[str, object], reason: Reason) -> None:
    old = Node("f", data=A)
    found = diff(tree(old), tree(replace(old, **changes)), case_sensitive=True, ignore=())
    assert found.changed == (Change("/f", (reason,)),)
    assert not diff(
        tree(Node("f", data=A)),
        tree(replace(Node("f", data=A), **changes)),
        case_sensitive=True,
        ignore=[reason],
    )


def test_added_deleted_and_replaced() -> None:
    found = diff(
        tree("/old/x/y", "/old/z", "/to_file/x", "/to_folder", "/same"),
        tree("/new/x/y", "/to_file", "/to_folder/x", "/same"),
        case_sensitive=True,
    )
    assert found.added == ("/new", "/new/x", "/new/x/y", "/to_folder/x")
    assert found.deleted == ("/old",)
    assert found.replaced == ("/to_file", "/to_folder")
    assert found.changed == ()
    assert "/to_file" in found.changed_paths


def test_every_name_of_an_inode_changes_when_a_link_comes_or_goes() -> None:
    two = tree(Node("/a", data=A, link_group=4), Node("/d/b", data=A, link_group=4))
    three = tree(*(Node(p, data=A, link_group=1) for p in ("/a", "/d/b", "/c")))
    found = diff(two, three, case_sensitive=True)
    assert found.changed == (Change("/a", (Reason.LINKS,)), Change("/d/b", (Reason.LINKS,)))
    assert found.added == ("/c",)


def test_numbers_of_link_groups_do_not_matter() -> None:
    one = tree(*(Node(p, data=A, link_group=1) for p in ("/a", "/b")))
    other = tree(*(Node(p, data=A, link_group=7) for p in ("/a", "/b")))
    assert not diff(one, other, case_sensitive=True, ignore=())


def test_case_folding() -> None:
    one, other = tree("/Dir/File"), tree("/dir/FILE")
    found = diff(one, other, case_sensitive=False, ignore={Reason.CONTENT})
    assert found.changed == (Change("/dir", (Reason.NAME,)), Change("/dir/FILE", (Reason.NAME,)))
    assert diff(one, other, case_sensitive=True).deleted == ("/Dir",)


def test_the_root_is_compared_too() -> None:
    other = new_root()
    other.security = b"x"
    other.write_time = 1
    found = diff(new_root(), other, case_sensitive=True)
    assert found.changed == (Change("/", (Reason.SECURITY, Reason.FOLDER_TIMES)),)


def test_attributes_that_follow_from_the_kind_do_not_count() -> None:
    one = tree(Node("d", DIRECTORY, children={}), Node("f", 0x80))
    other = tree(Node("d", 0, children={}), Node("f", 0))
    assert not diff(one, other, case_sensitive=True)


@given(EDITS, EDITS)
@settings(max_examples=80, deadline=None)
def test_a_difference_is_empty_only_between_equal_trees(first: list, second: list) -> None:
    before = edit(FileSystem(), first)
    after = edit(before, second)
    found = diff(before.tree(), after.tree(), case_sensitive=True, ignore=())
    old, new = everything(before.tree()), everything(after.tree())
    assert bool(found) == (old != new)
    assert set(found.added) | set(found.replaced) >= set(new) - set(old)
    gone = set(old) - set(new)
    assert {
        p for p in old if p.startswith(tuple(f"{d}/" for d in found.deleted)) or p in found.deleted
    } <= gone
    for path in set(old) & set(new) - set(found.replaced):
        assert (path in {c.path for c in found.changed}) == (old[path] != new[path])
