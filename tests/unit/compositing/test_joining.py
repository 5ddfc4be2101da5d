"""Two layers joined give over any base what they give one after the other (LY-3)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekiso.compositing.joining import JoinedTree, join_trees
from sekiso.wim.diff import diff
from sekiso.wim.merge import LayerTree, merge
from sekiso.wim.tree import Node, find, walk

from .builders import Content, put, tree
from .edit_scripts import Disk, captured


def assert_same(one: Node, other: Node, *, windows: bool) -> None:
    found = diff(one, other, case_sensitive=not windows, ignore=())
    assert not found, found
    assert sorted(path for path, _ in walk(one)) == sorted(path for path, _ in walk(other))


def as_layer(joined: JoinedTree, name: str = "joined") -> LayerTree:
    return LayerTree(
        name,
        joined.root,
        tuple(sorted(joined.deleted)),
        tuple(sorted(joined.changed_directories)),
        tuple(sorted(joined.replaced)),
    )


@pytest.mark.parametrize("windows", [False, True], ids=["linux", "windows"])
@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 1 << 32), sizes=st.tuples(*[st.integers(1, 14)] * 4), known=st.booleans())
def test_any_two_layers(*, windows: bool, seed: int, sizes: tuple[int, int, int, int], known: bool) -> None:
    base = Disk(windows=windows, seed=seed)
    base.edit(sizes[0] + 6)
    first = base.copy(seed + 1)
    first.edit(sizes[1])
    one = captured("one", base.root, first.root, windows=windows)
    under = base.root
    for number in (2, 3):  # a version on top of the version before, again and again
        later = first.copy(seed + number)
        later.edit(sizes[number])
        two = captured(f"delta {number}", first.root, later.root, windows=windows)
        wanted = merge((LayerTree("os", under), one, two), case_sensitive=not windows).root
        assert_same(wanted, later.root, windows=windows)
        joined = join_trees(one, two, case_sensitive=not windows, base=under if known else None)
        one = as_layer(joined)
        found = merge((LayerTree("os", under), one), case_sensitive=not windows).root
        assert_same(wanted, found, windows=windows)
        first = later


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 1 << 32), sizes=st.tuples(*[st.integers(1, 14)] * 4), windows=st.booleans())
def test_over_another_base_too(seed: int, sizes: tuple[int, int, int, int], windows: bool) -> None:
    """An image may have another version of the OS, and other layers in between."""
    base = Disk(windows=windows, seed=seed)
    base.edit(sizes[0] + 6)
    first = base.copy(seed + 1)
    first.edit(sizes[1])
    later = first.copy(seed + 2)
    later.edit(sizes[2])
    one = captured("one", base.root, first.root, windows=windows)
    two = captured("two", first.root, later.root, windows=windows)
    newer = base.copy(seed + 3)
    newer.edit(sizes[3])
    under = LayerTree("newer", newer.root)
    wanted = merge((under, one, two), case_sensitive=not windows).root
    joined = as_layer(join_trees(one, two, case_sensitive=not windows))
    assert_same(wanted, merge((under, joined), case_sensitive=not windows).root, windows=windows)


def _join(
    one: LayerTree, two: LayerTree, base: Node | None = None, *, case_sensitive: bool = True
) -> JoinedTree:
    return join_trees(one, two, case_sensitive=case_sensitive, base=base)


def test_what_came_and_went_is_a_deletion_only_while_the_base_is_not_known() -> None:
    content = Content()
    base, one, two = tree(content), tree(content), tree(content)
    put(base, content, "/etc/own", b"base")
    put(one, content, "/etc/new", b"new")
    layers = LayerTree("one", one), LayerTree("two", two, ("/etc/new", "/etc/own"))
    assert _join(*layers).deleted == {"/etc/new", "/etc/own"}
    assert _join(*layers, base).deleted == {"/etc/own"}


def test_below_a_folder_that_the_layer_made_anew_nothing_of_the_base_is_seen() -> None:
    content = Content()
    one, two = tree(content), tree(content)
    put(one, content, "/srv/data/x", b"x")
    put(one, content, "/srv/data/y", b"y")
    before = LayerTree("one", one, (), ("/srv/data",), ("/srv/data",))
    joined = _join(before, LayerTree("two", two, ("/srv/data/x",)))
    assert joined.deleted == set()
    assert joined.replaced == joined.changed_directories == {"/srv/data"}
    assert find(joined.root, "/srv/data/x") is None


def test_a_folder_deleted_and_made_again_hides_the_base() -> None:
    content = Content()
    one, two = tree(content), tree(content)
    put(two, content, "/srv/data/z", b"z")
    joined = _join(LayerTree("one", one, ("/srv/data",)), LayerTree("two", two, (), ("/srv/data",)))
    assert (joined.deleted, joined.replaced) == (set(), {"/srv/data"})


def test_folder_to_file_and_back_hides_the_base() -> None:
    content = Content()
    one, two = tree(content), tree(content)
    put(one, content, "/srv/data", b"a file now")
    put(two, content, "/srv/data/z", b"z")
    joined = _join(LayerTree("one", one), LayerTree("two", two, (), ("/srv/data",)))
    assert joined.replaced == {"/srv/data"}


def test_windows_names_are_folded() -> None:
    content = Content()
    one, two = tree(content), tree(content)
    put(one, content, "/Srv/Data/x", b"x")
    put(two, content, "/SRV/other", b"o")
    before = LayerTree("one", one, ("/Gone/A",), ("/Srv/Data",))
    joined = _join(before, LayerTree("two", two, ("/srv/DATA", "/GONE")), case_sensitive=False)
    assert [path for path, _ in walk(joined.root)] == ["/Srv", "/Srv/other"]
    assert joined.deleted == {"/srv/DATA", "/GONE"}
    assert joined.changed_directories == set()
