from __future__ import annotations

from sekiso.compositing.sparse import without_sparseness
from sekiso.wim.diff import diff
from sekiso.wim.tree import NORMAL, SPARSE_FILE, find

from .builders import Content, put, tree


def test_only_the_mark_of_linux_files_goes_and_the_given_tree_stays() -> None:
    content = Content()
    root = tree(content)
    put(root, content, "/a/b/holes", b"x").attributes = SPARSE_FILE
    put(root, content, "/a/b/more", b"y").attributes = SPARSE_FILE
    put(root, content, "/a/plain", b"z")
    settled = without_sparseness(root)
    for path in ("/a/b/holes", "/a/b/more"):
        before, after = find(root, path), find(settled, path)
        assert before is not None and before.attributes == SPARSE_FILE
        assert after is not None and after.attributes == NORMAL
    assert [change.path for change in diff(root, settled, case_sensitive=True).changed] == [
        "/a/b/holes",
        "/a/b/more",
    ]
    assert without_sparseness(settled) is settled
    root.unix = None
    assert without_sparseness(root) is root
