"""Replay of the journal, against what e2fsck makes of a copy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sekiso.errors import DirtyVolumeError, SekisoError
from tests.integration.disks.ext4.helpers import (
    differences,
    make_image,
    mounted,
    opened,
    read_tree,
    sample_tree,
    tool,
    tree_snapshot,
)

pytestmark = pytest.mark.root

KINDS = {
    "4k": ("-b", "4096"),
    "1k": ("-b", "1024"),
    "no 64bit": ("-b", "1024", "-O", "^64bit,^metadata_csum"),
    "ext3": ("-b", "4096", "-O", "^extent,^64bit,^metadata_csum,^flex_bg"),
}


def crashed(tmp_path: Path, *options: str) -> Path:
    """Copy a disk while it is mounted, after changes that lie in the journal only."""
    image = make_image(tmp_path / "image", *options)
    with mounted(image) as top:
        sample_tree(top)
    with mounted(image, "data=journal") as top:
        for number in range(60):
            (top / f"new {number}").write_bytes(b"journaled %d" % number * 100)
        descriptor = os.open(top, os.O_RDONLY)
        os.fsync(descriptor)
        shutil.rmtree(top / "many")
        (top / "new 1").unlink()
        (top / "folder" / "fresh").mkdir()
        # Content that begins like a journal block must be escaped there.
        (top / "magic").write_bytes(bytes.fromhex("c03b3998") * 2048)
        open_and_gone = (top / "orphan").open("wb")
        open_and_gone.write(b"x" * 10_000)
        (top / "orphan").unlink()
        os.fsync(descriptor)
        os.close(descriptor)
        copy = Path(shutil.copy(image, tmp_path / "crashed"))
        open_and_gone.close()
    return copy


@pytest.mark.parametrize("kind", KINDS)
def test_a_replay_gives_what_e2fsck_gives(kind: str, tmp_path: Path) -> None:
    image = crashed(tmp_path, *KINDS[kind])
    assert "needs_recovery" in tool("dumpe2fs", "-h", image)
    repaired = Path(shutil.copy(image, tmp_path / "repaired"))
    tool("e2fsck", "-fy", repaired, ok=(0, 1))
    with opened(image) as volume:
        assert volume.replayed
        assert not volume.facts.clean
    own, store = read_tree(image, tmp_path / "store")
    expected, store2 = read_tree(repaired, tmp_path / "store 2")
    assert differences(tree_snapshot(expected, store2), tree_snapshot(own, store)) == []
    assert own.children is not None
    assert "new 2" in own.children
    assert "many" not in own.children


def test_a_damaged_journal_is_refused(tmp_path: Path) -> None:
    image = crashed(tmp_path, "-b", "4096")
    with opened(image) as volume:
        journal = volume.files.runs(volume.files.inode(8))[0].physical
    with image.open("r+b") as stream:
        stream.seek(journal * 4096)
        stream.write(bytes(8))
    with pytest.raises(DirtyVolumeError) as info, opened(image):
        pass
    assert "shut it down" in str(info.value)


def test_errors_recorded_by_the_kernel_are_refused(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    tool("debugfs", "-w", "-R", "ssv state 2", image)
    with pytest.raises(SekisoError) as info, opened(image):
        pass
    assert isinstance(info.value, DirtyVolumeError)


def test_no_journal_and_not_unmounted(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", "-O", "^has_journal")
    tool("debugfs", "-w", "-R", "ssv state 0", image)
    with pytest.raises(DirtyVolumeError), opened(image):
        pass
