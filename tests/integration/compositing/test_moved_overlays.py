"""A packaging overlay is captured far from where it was made, over a boot disk composed again (LY-2)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sekiso.compositing.capture import CaptureResult
from sekiso.disks.open import open_disk
from sekiso.errors import RuleError, UnsupportedInputError
from sekiso.model.machine import DiskFormat
from sekiso.transfer.manifest import hash_file
from sekiso.wim import libwim

from .conftest import Linux
from .systems import QEMU_NAMES, do_capture, do_compose, mounted, request_for, run
from .test_linux_capture import many_edits

pytestmark = pytest.mark.root


def edited_overlay(boot_disk: Path, out: Path) -> Path:
    """Make an overlay that names its boot disk by an absolute path of this machine, and edit it."""
    fmt = QEMU_NAMES[DiskFormat(boot_disk.suffix[1:])]
    raw = out.with_suffix(".edited.raw")
    run("qemu-img", "convert", "-f", fmt, "-O", "raw", boot_disk, raw)
    with mounted(raw) as root:
        many_edits(root)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", raw.absolute(), "-F", "raw", out)
    run("qemu-img", "rebase", "-q", "-f", "qcow2", "-b", boot_disk.absolute(), "-F", fmt, out)
    raw.unlink()
    return out


def capture_at(place: Path, disk: Path, boot_disk: Path, base: Path) -> CaptureResult:
    return do_capture(disk, boot_disk, [base], place / "app.wim")


@pytest.mark.parametrize(("generation", "suffix"), [(1, "vhd"), (2, "vhdx"), (1, "raw")])
def test_a_moved_overlay_over_a_boot_disk_composed_again(
    linux: Linux, tmp_path: Path, generation: int, suffix: str
) -> None:
    made, there = tmp_path / "made", tmp_path / "there"
    for folder in (made, there, there / "elsewhere"):
        folder.mkdir()
    boot_disk = made / f"boot.{suffix}"
    do_compose(request_for([linux.layer], boot_disk, generation, title="Debian"), verify=False)
    disk = edited_overlay(boot_disk, made / "packaging.qcow2")
    wanted = capture_at(made, disk, boot_disk, linux.layer)
    known = hash_file(boot_disk).root
    moved = there / "received.qcow2"
    disk.rename(moved)
    again = there / "elsewhere" / f"disk.{suffix}"
    do_compose(request_for([linux.layer], again, generation, title="Debian"), verify=False)
    assert again.read_bytes() == boot_disk.read_bytes()
    boot_disk.unlink()
    found = do_capture(moved, again, [linux.layer], there / "app.wim", boot_disk_root=known)
    assert found.manifest is not None and wanted.manifest is not None
    assert found.manifest.identity == wanted.manifest.identity
    assert (found.changed, found.deleted, found.excluded) == (
        wanted.changed,
        wanted.deleted,
        wanted.excluded,
    )
    assert found.written_bytes == wanted.written_bytes is not None
    libwim.verify(there / "app.wim")


def test_only_a_disk_that_can_be_the_one_below(linux: Linux, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    boot_disk = gone / "boot.vhd"
    shutil.copyfile(linux.boot_disk, boot_disk)
    disk = edited_overlay(boot_disk, tmp_path / "packaging.qcow2")
    shutil.rmtree(gone)
    with pytest.raises(UnsupportedInputError, match="which is not there"):
        open_disk(disk)
    larger = tmp_path / "larger.vhd"
    do_compose(request_for([linux.layer], larger, size_bytes=1 << 30), verify=False)
    other_format = tmp_path / "boot.raw"
    do_compose(request_for([linux.layer], other_format), verify=False)
    for wrong, why in ((larger, "to a disk of"), (other_format, "of another format")):
        with pytest.raises(UnsupportedInputError, match=why):
            open_disk(disk, below=wrong)
        with pytest.raises(UnsupportedInputError):
            do_capture(disk, wrong, [linux.layer], tmp_path / "app.wim")
    other_seed = tmp_path / "other.vhd"
    do_compose(request_for([linux.layer], other_seed, seed="another"), verify=False)
    with pytest.raises(RuleError, match="did not start from"):
        do_capture(disk, other_seed, [linux.layer], tmp_path / "app.wim")
    with pytest.raises(RuleError, match="its content differs"):
        do_capture(disk, other_seed, [linux.layer], tmp_path / "app.wim", boot_disk_root="0" * 64)
    assert not (tmp_path / "app.wim").exists()


def test_a_disk_in_between_is_never_left_out(linux: Linux, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    first = edited_overlay(linux.boot_disk, away / "first.qcow2")
    top = tmp_path / "top.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", first.absolute(), "-F", "qcow2", top)
    with pytest.raises(UnsupportedInputError, match="of another format"):
        do_capture(top, linux.boot_disk, [linux.layer], tmp_path / "app.wim")
