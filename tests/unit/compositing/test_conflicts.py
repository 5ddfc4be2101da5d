from __future__ import annotations

from sekiso.compositing.conflicts import path_conflicts
from sekiso.compositing.plan import ConflictKind
from sekiso.wim.merge import LayerTree, merge
from sekiso.wim.tree import Node

from .builders import Content, layer, put, tree

CONTENT = Content()


def base() -> Node:
    root = tree(CONTENT)
    put(root, CONTENT, "/etc/motd", b"base")
    put(root, CONTENT, "/opt/tool/a", b"a")
    put(root, CONTENT, "/opt/tool/b", b"b")
    return root


def app(**files: bytes) -> Node:
    root = tree(CONTENT)
    for path, data in files.items():
        put(root, CONTENT, path.replace("__", "/"), data)
    return root


def conflicts(*layers: LayerTree, merged_by_content: tuple[str, ...] = ()) -> list[tuple[str, str, str]]:
    stack = (layer("os", base()), *layers)
    touched = merge(stack, case_sensitive=True).touched
    found = path_conflicts(stack, touched, lambda path: path in merged_by_content)
    return [(c.path, c.kind, c.winner) for c in found]


def test_different_content_is_a_conflict_and_the_higher_layer_wins() -> None:
    one, two = app(etc__motd=b"one"), app(etc__motd=b"two")
    assert conflicts(layer("one", one), layer("two", two)) == [("/etc/motd", ConflictKind.FILE, "two")]


def test_equal_content_is_none() -> None:
    one, two = app(etc__motd=b"same"), app(etc__motd=b"same")
    assert conflicts(layer("one", one), layer("two", two)) == []


def test_a_change_of_the_base_alone_is_none() -> None:
    assert conflicts(layer("one", app(etc__motd=b"one")), layer("two", app(etc__hosts=b"x"))) == []


def test_a_path_merged_by_content_is_left_to_its_merger() -> None:
    one, two = app(etc__motd=b"one"), app(etc__motd=b"two")
    assert conflicts(layer("one", one), layer("two", two), merged_by_content=("/etc/motd",)) == []


def test_deleted_by_one_and_changed_by_the_other() -> None:
    one = layer("one", app(), deleted=("/etc/motd",))
    two = layer("two", app(etc__motd=b"two"))
    assert conflicts(one, two) == [("/etc/motd", ConflictKind.DELETION, "two")]
    assert conflicts(two, one) == [("/etc/motd", ConflictKind.DELETION, "one")]


def test_both_deleting_is_none() -> None:
    one = layer("one", app(), deleted=("/etc/motd",))
    two = layer("two", app(), deleted=("/etc/motd",))
    assert conflicts(one, two) == []


def test_a_folder_deleted_by_one_in_which_the_other_puts_something() -> None:
    one = layer("one", app(), deleted=("/opt/tool",))
    two = layer("two", app(opt__tool__c=b"c"))
    assert conflicts(one, two) == [("/opt/tool/c", ConflictKind.DELETION, "two")]


def test_a_layer_made_on_top_of_another_changes_it_on_purpose() -> None:
    stack = (layer("os", base()), layer("one", app(etc__motd=b"one")), layer("two", app(etc__motd=b"two")))
    touched = merge(stack, case_sensitive=True).touched
    aware = path_conflicts(
        stack, touched, lambda _: False, made_on=lambda upper, lower: (upper, lower) == (2, 1)
    )
    assert aware == ()


def test_the_winner_is_named_even_if_it_is_no_party() -> None:
    three = app(etc__motd=b"three")
    stack = (
        layer("os", base()),
        layer("one", app(etc__motd=b"one")),
        layer("two", app(etc__motd=b"two")),
        layer("three", three),
    )
    touched = merge(stack, case_sensitive=True).touched
    found = path_conflicts(stack, touched, lambda _: False, made_on=lambda upper, _: upper == 3)
    assert [(c.layers, c.winner) for c in found] == [(("one", "two"), "three")]
