"""Layers composed, applied to a real NTFS volume, captured again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekiso.errors import ToolFailedError
from sekiso.wim import libwim
from sekiso.wim.diff import Reason, diff
from sekiso.wim.merge import LayerTree, merge
from sekiso.wim.names import reject_windows_names
from sekiso.wim.tree import (
    DIRECTORY,
    REPARSE_TAG_MOUNT_POINT,
    REPARSE_TAG_SYMLINK,
    Node,
    Reparse,
    find,
    new_root,
    walk,
)

from ...unit.wim.model import EDITS, START, FileSystem, edit, layer_of, security_descriptor, sha1
from .build import blob_wim, junction_buffer, make_ntfs, metadata_wim, read, reparse_buffer, run

#: mkfs.ntfs makes these; libwim's capture leaves them out but sets the root's times and names.
OWN = frozenset({Reason.ACCESS_TIME})


class Windows:
    """Builds a tree as a Windows volume has it."""

    def __init__(self) -> None:
        self.contents: set[bytes] = set()
        self.root = new_root()
        self.root.security = security_descriptor(500)
        self.root.attributes = DIRECTORY | 0x6
        self.set_times(self.root)

    def set_times(self, node: Node) -> None:
        node.creation_time, node.access_time, node.write_time = START, START + 30_000_000, START + 10_000_000

    def blob(self, content: bytes) -> bytes:
        if content:
            self.contents.add(content)
        return sha1(content)

    def add(self, path: str, content: bytes | None = b"", **fields: object) -> Node:
        above, _, name = path.rpartition("/")
        node = Node(name, 0x20 if content is not None else DIRECTORY, security=security_descriptor(len(path)))
        if content is None:
            node.children = {}
        else:
            node.data = self.blob(content)
        self.set_times(node)
        node = replace(node, **fields)
        folder = find(self.root, above)
        assert folder is not None
        assert folder.children is not None
        folder.children[name] = node
        return node


def windows_tree() -> Windows:
    w = Windows()
    for folder in ("/Windows", "/Windows/System32", "/Windows/WinSxS", "/Users", "/Users/Public"):
        w.add(folder, None)
    dll = b"MZ" + bytes(range(256)) * 20
    w.add("/Windows/System32/a.dll", dll, link_group=1)
    w.add("/Windows/WinSxS/a.dll", dll, link_group=1)
    find_security(w, "/Windows/WinSxS/a.dll", "/Windows/System32/a.dll")
    w.add("/Windows/System32/tiny.txt", b"resident", attributes=0x27)
    w.add("/Windows/System32/empty.txt", b"")
    w.add("/Program Files", None, short_name="PROGRA~1")
    w.add("/Program Files/Some Long Folder", None, short_name="SOMELO~1")
    w.add("/Program Files/Some Long Folder/Some Long File.txt", b"x" * 700, short_name="SOMELO~1.TXT")
    streams = (
        ("Zone.Identifier", w.blob(b"[ZoneTransfer]\r\nZoneId=3\r\n")),
        ("big", w.blob(bytes(range(250)) * 200)),
    )
    w.add("/Users/Public/dl.exe", b"exe" * 1000, named_streams=streams)
    w.add("/Users/Public/object.bin", b"o", object_id=bytes(range(16)))
    junction = Reparse(REPARSE_TAG_MOUNT_POINT, 0x10000, w.blob(junction_buffer("C:\\Users")))
    w.add("/Documents and Settings", None, reparse=junction, short_name="DOCUME~1", attributes=DIRECTORY | 6)
    link = Reparse(REPARSE_TAG_SYMLINK, 0x10000, w.blob(reparse_buffer("..\\Windows\\x", relative=True)))
    w.add("/Users/link.txt", b"", reparse=link)
    w.add("/Users/appexec.exe", b"", reparse=Reparse(0x8000001B, 0, w.blob(b"\3\0\0\0p\0k\0g\0\0\0a\0\0\0")))
    w.add("/Compressed", None, attributes=DIRECTORY | 0x800)
    w.add("/Compressed/c.txt", b"compress me " * 20000, attributes=0x820)
    w.add("/unicode-\u00df\u6f22\u5b57-\U0001f600.txt", b"u")
    w.add("/lone-\ud800-surrogate", b"s")
    return w


def find_security(w: Windows, path: str, like: str) -> None:
    """All names of an inode have one descriptor."""
    one, other = find(w.root, path), find(w.root, like)
    assert one is not None
    assert other is not None
    one.security = other.security


def there_and_back(tmp_path: Path, root: Node, wims: list[Path]) -> Node:
    volume = make_ntfs(tmp_path / "v.ntfs")
    outcome = libwim.apply_ntfs(metadata_wim(tmp_path / "m.wim", root), wims, volume)
    assert outcome.warnings == ()
    run("ntfsfix", "--no-action", volume)
    libwim.capture_ntfs(volume, tmp_path / "back.wim")
    return read(tmp_path / "back.wim")


def test_all_that_ntfs_can_say_survives(tmp_path: Path) -> None:
    w = windows_tree()
    back = there_and_back(tmp_path, w.root, [blob_wim(tmp_path / "b.wim", w.contents)])
    found = diff(w.root, back, case_sensitive=False, ignore=OWN)
    assert not found, found


def test_composed_layers_arrive_whole(tmp_path: Path) -> None:
    base, first, second = windows_tree(), windows_tree(), windows_tree()
    first.add("/Program Files/Application One", None, short_name="APPLIC~1")
    first.add("/Program Files/Application One/one.exe", b"one", named_streams=(("s", first.blob(b"stream")),))
    first.add("/WINDOWS/System32/new.dll".replace("WINDOWS", "Windows"), b"new")
    for path in ("/Windows/System32/a.dll", "/Windows/WinSxS/a.dll"):
        first.add(path, b"changed", link_group=1, security=security_descriptor(7))
    second.add("/Program Files/Application Two", None, short_name="APPLIC~1")
    second.add("/Program Files/Application Two/two.exe", b"two")
    second.add("/Users", None, security=security_descriptor(1000))
    layers = [
        LayerTree("os", base.root),
        layer_of("one", base.root, first.root, case_sensitive=False),
        layer_of("two", base.root, second.root, case_sensitive=False),
    ]
    merged = merge(layers, case_sensitive=False)
    assert [note.path for note in merged.notes] == ["/Program Files/Application Two"]
    assert "/Users/link.txt" in merged.touched
    assert reject_windows_names(merged.root) == ()
    wims = [blob_wim(tmp_path / f"{n}.wim", w.contents) for n, w in enumerate((base, first, second))]
    back = there_and_back(tmp_path, merged.root, wims)
    found = diff(merged.root, back, case_sensitive=False, ignore=OWN)
    assert not found, found
    two = find(back, "/Program Files/Application Two")
    assert two is not None
    assert two.short_name == "APPLIC~2"
    assert len([1 for _, node in walk(back) if node.link_group]) == 2


@given(EDITS, st.lists(EDITS, min_size=1, max_size=3))
@settings(max_examples=4)
def test_random_layers_arrive_as_the_model_says(
    tmp_path_factory: pytest.TempPathFactory, start: list, steps: list
) -> None:
    tmp_path = tmp_path_factory.mktemp("compose")
    system = edit(FileSystem(linux=False), start)
    layers, blobs = [LayerTree("os", system.tree())], [system.blobs()]
    for number, step in enumerate(steps):
        after = edit(system, step)
        layers.append(layer_of(str(number), system.tree(), after.tree(), case_sensitive=False))
        blobs.append(after.blobs())
        system = after
    merged = merge(layers, case_sensitive=False)
    wims = [blob_wim(tmp_path / f"{n}.wim", contents) for n, contents in enumerate(blobs)]
    back = there_and_back(tmp_path, merged.root, wims)
    found = diff(system.tree(), back, case_sensitive=False, ignore=OWN)
    assert not found, found


def test_a_second_apply_and_a_full_volume_fail_with_a_reason(tmp_path: Path) -> None:
    w = Windows()
    w.add("/a", b"1")
    wim = metadata_wim(tmp_path / "m.wim", w.root)
    blobs = blob_wim(tmp_path / "b.wim", w.contents)
    volume = make_ntfs(tmp_path / "v.ntfs", 8 << 20)
    libwim.apply_ntfs(wim, [blobs], volume)
    with pytest.raises(ToolFailedError, match="exists"):
        libwim.apply_ntfs(wim, [blobs], volume)
    big = Windows()
    big.add("/big", bytes(range(256)) * (40 << 12))
    wims = [blob_wim(tmp_path / "big.wim", big.contents)]
    with pytest.raises(ToolFailedError, match="space"):
        libwim.apply_ntfs(
            metadata_wim(tmp_path / "n.wim", big.root), wims, make_ntfs(tmp_path / "w.ntfs", 8 << 20)
        )
