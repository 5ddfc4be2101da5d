from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekiso.wim.diff import diff, holds_content
from sekiso.wim.merge import LayerTree, merge
from sekiso.wim.metadata import serialize_metadata
from sekiso.wim.names import exact, fold
from sekiso.wim.prune import prune
from sekiso.wim.tree import DIRECTORY, REPARSE_TAG_MOUNT_POINT, Node, Reparse, find, new_root, walk

from .model import EDITS, PATHS, FileSystem, edit, everything, layer_of, sha1

A, B, C = sha1(b"a"), sha1(b"b"), sha1(b"c")


def tree(*entries: Node | str) -> Node:
    """A tree of files (`/a/b`: content is the path) and given nodes, whose names are paths."""
    root = new_root()
    for entry in entries:
        node = Node(entry, data=sha1(entry.encode())) if isinstance(entry, str) else entry
        folder = root
        *above, node.name = node.name.strip("/").split("/")
        for part in above:
            assert folder.children is not None
            folder = folder.children.setdefault(part, Node(part, DIRECTORY, children={}))
        assert folder.children is not None
        folder.children[node.name] = node
    return root


def folder(path: str, owner: int = 0) -> Node:
    return Node(path, DIRECTORY, creation_time=owner, children={})


def paths(root: Node) -> list[str]:
    return [path for path, _ in walk(root)]


def united(*layers: LayerTree | Node, case_sensitive: bool = True):
    whole = [one if isinstance(one, LayerTree) else LayerTree(str(n), one) for n, one in enumerate(layers)]
    return merge(whole, case_sensitive=case_sensitive)


# --- the oracle: layers applied one after the other to a dict


@dataclass
class Oracle:
    fold: object
    state: dict[str, tuple[str, Node, object]] = field(default_factory=dict)

    def key(self, path: str) -> str:
        return self.fold(path.rstrip("/"))  # type: ignore[operator]

    def drop_below(self, key: str) -> None:
        for name in [n for n in self.state if n.startswith(f"{key}/")]:
            del self.state[name]

    def apply(self, layer: LayerTree, number: int) -> None:
        for path in layer.deleted:
            self.drop_below(self.key(path))
            self.state.pop(self.key(path), None)
        changed = {self.key(p) for p in (*layer.changed_directories, *layer.replaced)}
        replaced = {self.key(p) for p in layer.replaced}
        for path, node in [("", layer.root), *walk(layer.root)]:
            key = self.key(path)
            before = self.state.get(key)
            merges = before is not None and holds_content(before[1]) and holds_content(node)
            if not merges or key in replaced:
                self.drop_below(key)
            if not merges or key in changed:
                plain = replace(node, children=None if node.children is None else {})
                self.state[key] = (node.name, plain, (number, node.link_group or None))

    def everything(self) -> dict[str, tuple[object, ...]]:
        groups: dict[object, set[str]] = {}
        spelled: dict[str, str] = {"": ""}
        for key in sorted(self.state):
            if key:
                above = key.rpartition("/")[0]
                spelled[key] = f"{spelled[above]}/{self.state[key][0]}"
        for key, (_, _, group) in self.state.items():
            groups.setdefault(group, set()).add(spelled[key])
        out: dict[str, tuple[object, ...]] = {}
        for key, (_, node, group) in self.state.items():
            linked = frozenset(groups[group]) if node.link_group else frozenset()
            plain = replace(node, children=None, link_group=0)
            out[spelled[key] or "/"] = (
                plain,
                node.children is None,
                linked if len(linked) > 1 else frozenset(),
            )
        return out


def _sound(system: FileSystem, *, case_sensitive: bool) -> bool:
    """Whether no two names of a folder are the same to NTFS."""
    folded = {fold(name) for name in system.names}
    return case_sensitive or len(folded) == len(system.names)


@given(EDITS, st.lists(EDITS, min_size=1, max_size=4))
@settings(max_examples=80, deadline=None)
def test_layers_on_each_other_give_the_last_state(start: list[tuple[object, ...]], steps: list) -> None:
    system = edit(FileSystem(), start)
    layers = [LayerTree("os", system.tree())]
    for number, step in enumerate(steps):
        after = edit(system, step)
        layers.append(layer_of(str(number), system.tree(), after.tree()))
        system = after
    before = [serialize_metadata(layer.root) for layer in layers]
    merged = merge(layers, case_sensitive=True)
    assert everything(merged.root) == everything(system.tree())
    assert not diff(system.tree(), merged.root, case_sensitive=True, ignore=())
    assert [serialize_metadata(layer.root) for layer in layers] == before, "the merge changed a layer"


@given(EDITS, st.lists(st.tuples(EDITS, st.lists(PATHS, max_size=2)), min_size=1, max_size=4), st.booleans())
@settings(max_examples=120, deadline=None)
def test_layers_beside_each_other_equal_their_application_in_order(
    start: list[tuple[object, ...]], steps: list, case_sensitive: bool
) -> None:
    base = edit(FileSystem(), start)
    if not _sound(base, case_sensitive=case_sensitive):
        return
    layers = [LayerTree("os", base.tree())]
    for number, (step, replaced) in enumerate(steps):
        after = edit(base, step)
        if not _sound(after, case_sensitive=case_sensitive):
            continue
        layer = layer_of(str(number), base.tree(), after.tree(), case_sensitive=case_sensitive)
        folders = [p for p in replaced if (n := find(layer.root, p)) is not None and n.children is not None]
        layers.append(replace(layer, replaced=tuple(folders)))
    oracle = Oracle(exact if case_sensitive else fold)
    for number, layer in enumerate(layers):
        oracle.apply(layer, number)
    merged = merge(layers, case_sensitive=case_sensitive)
    assert everything(merged.root) == oracle.everything()


# --- the rules, one by one


def test_a_folder_that_only_holds_content_changes_nothing() -> None:
    lower, upper = tree(folder("/d", 1), "/d/a"), tree(folder("/d", 2), "/d/b")
    merged = united(lower, upper)
    assert paths(merged.root) == ["/d", "/d/a", "/d/b"]
    found = find(merged.root, "/d")
    assert found is not None
    assert found.creation_time == 1
    assert merged.touched == {"/d/b": (1,)}


def test_a_changed_folder_keeps_the_children_below() -> None:
    lower, upper = tree(folder("/d", 1), "/d/a"), tree(folder("/d", 2))
    merged = united(lower, LayerTree("up", upper, changed_directories=("/d",)))
    assert paths(merged.root) == ["/d", "/d/a"]
    found = find(merged.root, "/d")
    assert found is not None
    assert found.creation_time == 2
    assert merged.touched == {"/d": (1,)}


def test_the_root_may_change_too() -> None:
    upper = new_root()
    upper.write_time = 9
    merged = united(tree("/a"), LayerTree("up", upper, changed_directories=("/",)))
    assert merged.root.write_time == 9
    assert paths(merged.root) == ["/a"]
    assert merged.touched == {"/": (1,)}


def test_a_replaced_folder_hides_what_is_below() -> None:
    lower, upper = tree("/d/a", "/d/s/b"), tree("/d/c")
    merged = united(lower, LayerTree("up", upper, replaced=("/d",)))
    assert paths(merged.root) == ["/d", "/d/c"]


def test_a_replaced_folder_has_a_say_about_what_upper_layers_had_in_it() -> None:
    layers = [LayerTree("one", tree("/d/x", "/e")), LayerTree("two", tree("/d/y"), replaced=("/d",))]
    merged = united(tree("/d/a"), *layers)
    assert paths(merged.root) == ["/d", "/d/y", "/e"]
    assert merged.touched == {"/d": (2,), "/d/x": (1, 2), "/d/y": (2,), "/e": (1,)}


def test_a_file_takes_the_place_of_a_folder_and_the_other_way_round() -> None:
    merged = united(tree("/x/a", "/y"), tree("/x", "/y/b"))
    assert paths(merged.root) == ["/x", "/y", "/y/b"]
    assert {note.path for note in merged.notes} == {"/x", "/y"}
    assert merged.touched == {"/x": (1,), "/y": (1,), "/y/b": (1,)}


def test_a_junction_is_replaced_by_a_folder_not_filled() -> None:
    junction = Node("/j", DIRECTORY, reparse=Reparse(REPARSE_TAG_MOUNT_POINT, 0, A), children={})
    merged = united(tree(junction), tree("/j/a"), case_sensitive=False)
    found = find(merged.root, "/j")
    assert found is not None
    assert found.reparse is None
    assert paths(merged.root) == ["/j", "/j/a"]


def test_deletions_apply_to_what_is_below_only() -> None:
    layer = LayerTree("up", tree("/d/new"), deleted=("/d", "/gone/before"))
    merged = united(tree("/d/a", "/e"), layer)
    assert paths(merged.root) == ["/d", "/d/new", "/e"]
    assert merged.touched == {"/d": (1,), "/d/new": (1,), "/gone/before": (1,)}


def test_touched_names_every_layer_that_has_a_say() -> None:
    merged = united(
        tree("/d/a", "/f"),
        LayerTree("one", tree("/d/a", "/f")),
        LayerTree("two", new_root(), deleted=("/d",)),
        LayerTree("three", tree("/d/b", "/f")),
    )
    assert merged.touched == {"/d": (2,), "/d/a": (1, 2), "/d/b": (2, 3), "/f": (1, 3)}
    assert paths(merged.root) == ["/d", "/d/b", "/f"]


def test_link_groups_of_layers_are_kept_apart() -> None:
    def linked(content: bytes, *names: str) -> Node:
        return tree(*(Node(name, data=content, link_group=1) for name in names))

    merged = united(linked(A, "/a", "/b", "/c"), linked(B, "/a", "/x"), linked(A, "/y", "/z"))
    raw = {path: node.link_group for path, node in walk(merged.root)}
    assert raw["/a"] == raw["/x"] != raw["/b"]
    assert raw["/b"] == raw["/c"]
    assert raw["/y"] == raw["/z"] not in (raw["/a"], raw["/b"])


def test_case_folding_the_upper_spelling_of_files_the_lower_one_of_folders() -> None:
    lower = tree("/Windows/System32/A.dll", "/Keep")
    merged = united(lower, tree("/WINDOWS/system32/a.DLL"), case_sensitive=False)
    assert paths(merged.root) == ["/Keep", "/Windows", "/Windows/System32", "/Windows/System32/a.DLL"]
    changed = LayerTree("up", tree("/WINDOWS/x"), changed_directories=("/WINDOWS",))
    assert "/WINDOWS/x" in paths(united(lower, changed, case_sensitive=False).root)


def test_exact_spelling_wins_over_folded() -> None:
    lower = tree(Node("/case", data=A), Node("/Case", data=B))
    merged = united(lower, tree(Node("/Case", data=C)), case_sensitive=False)
    assert merged.root.children is not None
    assert {n: k.data for n, k in merged.root.children.items()} == {"case": A, "Case": C}
    both = united(
        tree(Node("/CASE", data=A)), tree(Node("/case", data=B), Node("/CASE", data=C)), case_sensitive=False
    )
    assert paths(both.root) == ["/CASE", "/case"]


def test_deletion_folds_names_too() -> None:
    layer = LayerTree("up", new_root(), deleted=("/WINDOWS/TEMP", "/windows/\u00c4"))
    merged = united(tree("/Windows/Temp/a", "/Windows/\u00e4", "/Windows/b"), layer, case_sensitive=False)
    assert paths(merged.root) == ["/Windows", "/Windows/b"]


def test_short_name_clashes_are_resolved_and_noted() -> None:
    lower = tree(
        Node("/Program Files", short_name="PROGRA~1", children={}), Node("/x.txt", short_name="A~1.TXT")
    )
    upper = tree(
        Node("/Program Data", short_name="PROGRA~1", children={}),
        Node("/Program Data/in", short_name="IN~1"),
        Node("/progra~2", data=A),
        Node("/long.txt", short_name="A~1.TXT"),
    )
    merged = united(lower, LayerTree("app", upper), case_sensitive=False)
    assert merged.root.children is not None
    short = {n: k.short_name for n, k in merged.root.children.items()}
    assert short == {
        "Program Files": "PROGRA~1",
        "x.txt": "A~1.TXT",
        "Program Data": "PROGRA~3",
        "progra~2": "",
        "long.txt": "A~2.TXT",
    }
    assert find(merged.root, "/Program Data/in") is not None
    assert [(n.path, n.layer) for n in merged.notes] == [("/Program Data", "app"), ("/long.txt", "app")]


def test_a_case_sensitive_merge_leaves_names_alone() -> None:
    merged = united(tree("/a"), tree("/A"))
    assert paths(merged.root) == ["/A", "/a"]


def test_nothing_to_merge_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="nothing"):
        merge([], case_sensitive=True)


def test_prune_keeps_the_named_paths_and_what_is_above_them() -> None:
    whole = tree("/a/b/c", "/a/b/d", "/a/e", "/f", folder("/g"), "/g/h")
    kept = prune(whole, ["/a/b/c", "/g", "/no/such", "/f/no"])
    assert paths(kept) == ["/a", "/a/b", "/a/b/c", "/g"]
    assert paths(prune(whole, [])) == []
    assert len(paths(whole)) == 8
