from __future__ import annotations

import pytest

from sekiso.compositing.files import ComposedFiles

from .builders import Content, put, tree


def files(*, case_sensitive: bool = True) -> ComposedFiles:
    content = Content()
    root = tree(content)
    put(root, content, "/usr/bin/tool", b"#!")
    put(root, content, "/bin", "usr/bin")
    put(root, content, "/usr/lib/link", "../bin/tool")
    put(root, content, "/abs", "/usr/lib/link")
    put(root, content, "/loop", "loop")
    put(root, content, "/up", "../../../usr/bin/tool")
    put(root, content, "/gone", "/nowhere")
    put(root, content, "/empty", b"")
    return ComposedFiles(root, content.__getitem__, case_sensitive=case_sensitive)


@pytest.mark.parametrize(
    "path", ["/usr/bin/tool", "/bin/tool", "/usr/lib/link", "/abs", "/up", "bin/./../bin/tool"]
)
def test_links_are_followed_inside_the_tree(path: str) -> None:
    assert files().read(path) == b"#!"


@pytest.mark.parametrize(
    "path", ["/usr/bin", "/loop", "/gone", "/usr/bin/tool/x", "/nothing", "/USR/bin/tool"]
)
def test_what_is_no_file_reads_as_none(path: str) -> None:
    assert files().read(path) is None


def test_listing_existence_and_targets() -> None:
    tree_files = files()
    assert tree_files.list("/bin") == ["tool"]
    assert tree_files.list("/usr/bin/tool") == []
    assert tree_files.exists("/abs") and not tree_files.exists("/gone")
    assert tree_files.link_target("/gone") == "/nowhere"
    assert tree_files.link_target("/usr/bin/tool") is None
    assert tree_files.read("/empty") == b""


def test_names_may_be_matched_whatever_their_case() -> None:
    assert files(case_sensitive=False).read("/USR/Bin/TOOL") == b"#!"
