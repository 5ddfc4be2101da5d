from __future__ import annotations

import stat

import pytest

from sekiso.compositing.edits import TreeEditor, filetime
from sekiso.guests.edits import MakeFolder, Remove, WriteFile, WriteSymlink
from sekiso.wim.symlinks import symlink_target
from sekiso.wim.tree import NO_BLOB, find

from .builders import Content, put, tree


def editor() -> tuple[TreeEditor, Content]:
    content = Content()
    root = tree(content)
    put(root, content, "/etc/hostname", b"old\n")
    put(root, content, "/etc/ssh/key", b"secret")
    return TreeEditor(root, created=1_700_000_000, unix=True), content


def test_writes_a_file_with_owner_mode_and_time_and_keeps_its_content() -> None:
    edit, _ = editor()
    edit.apply([WriteFile("/var/lib/x/state", b"hello", mode=0o600, uid=5, gid=6, reason="test")])
    node = find(edit.root, "/var/lib/x/state")
    assert node is not None and node.unix is not None
    assert (node.unix.uid, node.unix.gid, node.unix.mode) == (5, 6, stat.S_IFREG | 0o600)
    assert node.write_time == filetime(1_700_000_000)
    assert edit.generated[node.data] == b"hello"
    folder = find(edit.root, "/var/lib")
    assert folder is not None and folder.unix is not None and folder.unix.mode == stat.S_IFDIR | 0o755


def test_an_edit_that_changes_nothing_is_no_action() -> None:
    edit, _ = editor()
    same = [WriteFile("/etc/hostname", b"old\n")]
    edit.apply(same)
    assert edit.actions == []


def test_an_empty_file_has_no_blob() -> None:
    edit, _ = editor()
    edit.apply([WriteFile("/etc/machine-id", b"")])
    node = find(edit.root, "/etc/machine-id")
    assert node is not None and node.data == NO_BLOB and NO_BLOB not in edit.generated


def test_links_folders_and_removals() -> None:
    edit, _ = editor()
    edit.apply(
        [
            WriteSymlink("/etc/localtime", "/usr/share/zoneinfo/UTC"),
            MakeFolder("/srv/data", mode=0o700),
            Remove("/etc/ssh"),
            Remove("/not/there"),
        ]
    )
    link = find(edit.root, "/etc/localtime")
    assert link is not None and link.reparse is not None
    assert symlink_target(link.reparse.tag, edit.generated[link.reparse.data]) == "/usr/share/zoneinfo/UTC"
    assert find(edit.root, "/srv/data") is not None
    assert find(edit.root, "/etc/ssh") is None
    assert [action.what for action in edit.actions] == ["link", "folder", "remove"]


def test_an_edit_through_a_file_is_refused() -> None:
    edit, _ = editor()
    with pytest.raises(ValueError, match="is no folder"):
        edit.apply([WriteFile("/etc/hostname/x", b"")])
