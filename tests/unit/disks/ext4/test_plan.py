"""Trees that ext4 cannot hold are refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sekiso.disks.ext4.format import count_inodes_and_blocks, estimate_size_bytes
from sekiso.disks.ext4.plan import Item, Planner
from sekiso.errors import UnsupportedInputError
from sekiso.wim.tree import Node, Reparse, UnixData, new_root


def plan(root: Node) -> list[Item]:
    return Planner("disk", root, first_inode=12, lost_and_found_inode=11).plan()


def file(name: str = "x", *, mode: int = 0o100644, **more: object) -> Node:
    return Node(name=name, unix=UnixData(0, 0, mode), **more)  # type: ignore[arg-type]


def tree(*kids: Node) -> Node:
    root = new_root()
    root.children = {kid.name: kid for kid in kids}
    return root


def folder(name: str, *kids: Node) -> Node:
    return file(name, mode=0o40755, children={kid.name: kid for kid in kids})


def test_numbers_entries_and_links() -> None:
    items = plan(tree(folder("d", file("two", link_group=3)), file("one", link_group=3), file("a")))
    assert [(i.path, i.number, i.links) for i in items] == [
        ("/", 2, 4),
        ("/a", 12, 1),
        ("/d", 13, 2),
        ("/one", 14, 2),
    ]
    assert items[0].entries == [
        *((b".", 2, 2), (b"..", 2, 2), (b"lost+found", 11, 2)),
        *((b"a", 12, 1), (b"d", 13, 2), (b"one", 14, 1)),
    ]
    assert items[2].entries == [(b".", 13, 2), (b"..", 2, 2), (b"two", 14, 1)]


def test_a_folder_with_very_many_folders_has_one_link() -> None:
    root = tree(*(folder(f"{n}") for n in range(65_000)))
    assert plan(root)[0].links == 1


REFUSED: dict[str, Callable[[], Node]] = {
    "no owner": lambda: tree(Node(name="x")),
    "streams": lambda: tree(file(named_streams=(("s", bytes(20)),))),
    "folder with the mode of a file": lambda: tree(file(children={})),
    "file with the mode of a folder": lambda: tree(file(mode=0o40755)),
    "link with the mode of a file": lambda: tree(file(reparse=Reparse(0xA000000C, 0, b"1" * 20))),
    "mode of a link, but none": lambda: tree(file(mode=0o120777)),
    "device with content": lambda: tree(file(mode=0o60644, data=b"1" * 20)),
    "unknown type": lambda: tree(file(mode=0o644)),
    "large mode": lambda: tree(file(mode=0o1100644)),
    "negative owner": lambda: tree(Node(name="x", unix=UnixData(-1, 0, 0o100644))),
    "slash": lambda: tree(file("a/b")),
    "zero": lambda: tree(file("a\0b")),
    "empty": lambda: tree(file("")),
    "dots": lambda: tree(file("..")),
    "too long": lambda: tree(file("n" * 256)),
    "half of a character": lambda: tree(file("\ud800")),
    "different hard links": lambda: tree(file("a", link_group=1), file("b", link_group=1, data=b"1" * 20)),
    "lost+found is a file": lambda: tree(file("lost+found")),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str) -> None:
    with pytest.raises(UnsupportedInputError):
        plan(REFUSED[what]())


def test_estimates_count_everything_once() -> None:
    sha1 = b"1" * 20
    root = tree(
        file("a", data=sha1, link_group=1),
        file("b", data=sha1, link_group=1),
        folder("d", *(file(f"name {n}") for n in range(1000))),
        file("x", xattrs=(("user.large", bytes(500)),)),
    )
    inodes, blocks = count_inodes_and_blocks(root, lambda _: 10_000)
    assert inodes == 1 + 1 + 1 + 1000 + 1
    assert 1 + 3 + 5 + 1 <= blocks <= 15
    assert estimate_size_bytes(root, lambda _: 10_000) % (1 << 20) == 0
