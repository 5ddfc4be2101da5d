"""Changes between two states of a volume, made by the kernel."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sekiso.disks.blocks import ByteRange
from sekiso.disks.ext4 import changes_between
from sekiso.disks.volume import VolumeChanges
from tests.integration.disks.ext4.helpers import make_image, mounted, opened, sample_tree, tool

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = make_image(tmp_path_factory.mktemp("changes") / "base", "-b", "4096")
    with mounted(image) as top:
        sample_tree(top)
        for number in range(30):
            (top / f"f{number}").write_bytes(b"content %d" % number * 1000)
        (top / "dir" / "sub").mkdir(parents=True)
        (top / "dir" / "sub" / "deep").write_text("deep")
        (top / "dir" / "other").write_text("other")
        (top / "tree" / "of").mkdir(parents=True)
        (top / "tree" / "of" / "files").write_text("x")
        for name in ("one", "two", "three"):
            os.link(top / "f20", top / name)
    return image


def touched_ranges(one: Path, two: Path) -> list[ByteRange]:
    """What an overlay disk would know: 64 KiB clusters that were written."""
    a, b = one.read_bytes(), two.read_bytes()
    step = 65536
    return [ByteRange(at, step) for at in range(0, len(a), step) if a[at : at + step] != b[at : at + step]]


def compare(base: Path, image: Path) -> VolumeChanges:
    """With and without knowing the touched blocks; both must agree."""
    with opened(base) as before, opened(image) as after:
        plain = changes_between(before, after)
        narrow = changes_between(before, after, touched_ranges(base, image))
    assert (plain.changed, plain.deleted, plain.replaced) == (narrow.changed, narrow.deleted, narrow.replaced)
    return narrow


def test_nothing_changed(base: Path, tmp_path: Path) -> None:
    image = Path(shutil.copy(base, tmp_path / "image"))
    with mounted(image) as top:
        (top / "f1").read_bytes()
        os.utime(top / "f2", ns=(1, (top / "f2").stat().st_mtime_ns))  # access time and inode time only
        (top / "f3").chmod((top / "f3").stat().st_mode)  # inode time only
        mode = (top / "dir").stat().st_mode
        (top / "dir").chmod(0o700)
        (top / "dir").chmod(mode)
    found = compare(base, image)
    assert (found.changed, found.deleted, found.replaced) == ((), (), ())


def test_every_kind_of_change(base: Path, tmp_path: Path) -> None:
    image = Path(shutil.copy(base, tmp_path / "image"))
    with mounted(image) as top:
        (top / "added").mkdir()
        (top / "added" / "file").write_text("new")
        with (top / "f1").open("ab") as stream:
            stream.write(b"more")
        info = (top / "f2").stat()  # same size, same time of the last write
        (top / "f2").write_bytes(b"CONTENT 2" * 1000)
        os.utime(top / "f2", ns=(info.st_atime_ns, info.st_mtime_ns))
        (top / "f3").chmod(0o600)
        os.chown(top / "f4", 5, 6)
        os.setxattr(top / "f5", "user.x", b"y")
        (top / "f6").unlink()
        (top / "f7").rename(top / "renamed")
        (top / "dir" / "sub" / "deep").write_text("DEEP")
        shutil.rmtree(top / "tree")
        (top / "short link").unlink()
        (top / "short link").symlink_to("f8")
        (top / "f9").unlink()
        (top / "f9").mkdir()
        (top / "f9" / "inside").write_text("x")
        os.utime(top / "f10")
        content, info = (top / "f11").read_bytes(), (top / "f11").stat()  # made anew, but equal
        (top / "f11").unlink()
        (top / "f11").write_bytes(content)
        (top / "f11").chmod(info.st_mode)
        os.utime(top / "f11", ns=(info.st_atime_ns, info.st_mtime_ns))
    found = compare(base, image)
    assert found.deleted == ("/f6", "/f7", "/tree")
    assert found.replaced == ()
    assert found.changed == (
        *("/", "/added", "/added/file", "/dir/sub/deep", "/f1", "/f10", "/f2", "/f3", "/f4", "/f5", "/f9"),
        *("/f9/inside", "/renamed", "/short link"),
    )
    assert found.compared_bytes < 100_000


def test_a_folder_made_anew_is_replaced(base: Path, tmp_path: Path) -> None:
    image = Path(shutil.copy(base, tmp_path / "image"))
    with mounted(image) as top:
        shutil.rmtree(top / "dir")
        (top / "dir").mkdir()
        (top / "dir" / "other").write_text("other")
    found = compare(base, image)
    assert (found.deleted, found.replaced) == ((), ("/dir",))
    assert found.changed == ("/", "/dir", "/dir/other")


def test_hard_links_are_reported_together(base: Path, tmp_path: Path) -> None:
    image = Path(shutil.copy(base, tmp_path / "image"))
    with mounted(image) as top:
        (top / "three").write_bytes(b"through one name")
        os.link(top / "f21", top / "another")
        (top / "hard link").unlink()
    found = compare(base, image)
    assert found.changed == ("/", "/another", "/f20", "/f21", "/one", "/three", "/two")
    assert found.deleted == ("/hard link",)


def test_a_broken_hard_link_is_a_change(base: Path, tmp_path: Path) -> None:
    image = Path(shutil.copy(base, tmp_path / "image"))
    with mounted(image) as top:
        shutil.copy2(top / "one", top / "copy")
        root_time = (top / ".").stat().st_mtime_ns
        (top / "copy").rename(top / "one")
        os.utime(top, ns=(root_time, root_time))
    assert set(compare(base, image).changed) - {"/"} == {"/f20", "/one", "/three", "/two"}


def test_an_edit_without_any_time_stamp_is_found_by_its_blocks(base: Path, tmp_path: Path) -> None:
    image = Path(shutil.copy(base, tmp_path / "image"))
    with opened(base) as volume:
        inode = volume.resolve("/f15")
        assert inode is not None
        block = volume.files.runs(inode)[0].physical
    with image.open("r+b") as stream:
        stream.seek(block * 4096 + 100)
        stream.write(b"!")
    with opened(base) as before, opened(image) as after:
        assert changes_between(before, after).changed == ()
        assert changes_between(before, after, touched_ranges(base, image)).changed == ("/f15",)


def test_an_inode_number_used_anew(base: Path, tmp_path: Path) -> None:
    image = Path(shutil.copy(base, tmp_path / "image"))
    with mounted(image) as top:
        number = (top / "f16").stat().st_ino
        info = (top / "f16").stat()
        (top / "f16").unlink()
        for attempt in range(50):
            path = top / f"try {attempt}"
            path.write_bytes(b"Content 16" * 900)
            if path.stat().st_ino == number:
                path.rename(top / "f16")
                os.utime(top / "f16", ns=(info.st_atime_ns, info.st_mtime_ns))
                break
        else:
            pytest.fail("the kernel did not use the inode again")
    assert "/f16" in compare(base, image).changed


def test_a_volume_that_grew(base: Path, tmp_path: Path) -> None:
    image = Path(shutil.copy(base, tmp_path / "image"))
    tool("truncate", "-s", "400M", image)
    tool("resize2fs", image)
    with mounted(image) as top:
        (top / "new").write_text("x")
    with opened(base) as before, opened(image) as after:
        assert changes_between(before, after).changed == ("/", "/new")
