"""Trees made bootable by the Linux family's own boot plan, started for real."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekiso.guests.access import FolderFiles
from sekiso.guests.booting import Generalization
from sekiso.guests.linux import LinuxSupport
from sekiso.guests.linux.dpkg import package_list_sha256
from tests.integration.guests.disks import apply, make_disk, request, run, run_once_disk
from tests.integration.guests.packages import make_package
from tests.integration.guests.vm import boot

pytestmark = [pytest.mark.boot, pytest.mark.root, pytest.mark.slow]
FAST = "mitigations=off nokaslr nowatchdog cryptomgr.notests init_on_alloc=0 tsc=reliable no_timer_check"
SUPPORT = LinuxSupport()


@pytest.fixture
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A private copy of a Debian tree with the guest tools in it."""
    source: Path = request.getfixturevalue(request.param)
    root = tmp_path / "tree"
    run("cp", "-a", "--reflink=auto", source, root)
    options = f'GRUB_TIMEOUT=0\nGRUB_CMDLINE_LINUX="console=tty0 console=ttyS0 {FAST}"\n'
    (root / "etc/default/grub").write_text(options)
    apply(root, SUPPORT.import_edits(FolderFiles(root)))
    return root


def publish(root: Path, disk: Path, generation: int) -> None:
    plan = SUPPORT.boot_plan(FolderFiles(root), request(generation))
    assert plan.warnings == ()
    apply(root, plan.edits)
    make_disk(root, plan, disk)


def hook(root: Path, name: str, text: str) -> None:
    path = root / "etc/sekiso/report.d" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("tree", ["tiny_tree"], indirect=True)
def test_generation_1_starts_from_the_gap_and_reports(tree: Path, tmp_path: Path) -> None:
    hook(tree, "10-greeting", 'echo "two\nlines, a \\"quote\\" and a \\\\ backslash"; exit 3')
    publish(tree, tmp_path / "disk.raw", 1)
    result = boot(tmp_path / "disk.raw", tmp_path, generation=1, until=lambda r: r.ready)
    report = result.report
    status = (tree / "var/lib/dpkg/status").read_bytes()
    assert report.ready, result.console
    assert (report.firmware, report.secure_boot) == ("bios", False)
    assert report.packages_sha256 == package_list_sha256(status)
    assert report.gate is not None
    assert report.gate.ok
    assert report.hooks[0].output == 'two\nlines, a "quote" and a \\ backslash'
    assert report.hooks[0].status == 3


@pytest.mark.parametrize("tree", ["debian_tree"], indirect=True)
def test_generation_2_with_secure_boot_installs_finalizes_and_powers_off(tree: Path, tmp_path: Path) -> None:
    package = make_package(tmp_path)
    publish(tree, tmp_path / "disk.raw", 2)
    disk = tmp_path / "disk.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", tmp_path / "disk.raw", disk)
    script = "set -e\ndpkg -i ./sekiso-probe.deb\nsekiso-finalize --request\n"
    extra = run_once_disk(tmp_path / "run.raw", {"run.sh": script, "sekiso-probe.deb": package})
    result = boot(
        disk,
        tmp_path,
        generation=2,
        secure=True,
        extra=[extra],
        until=lambda _: False,
        limit_s=240,
    )
    report = result.report
    assert result.ended, result.console
    assert (report.firmware, report.secure_boot, report.lockdown) == ("uefi", True, "integrity")
    assert (report.services_state, report.failed_services) == ("running", ())
    assert [(r.name, r.status) for r in report.run_once] == [("disk run.sh", 0)]
    assert "Setting up sekiso-probe" in report.run_once[0].output
    assert report.finalize is not None
    assert report.finalize.ok
    assert report.powering_off
    check_captured(disk, tmp_path)


def check_captured(disk: Path, scratch: Path) -> None:
    """The disk that is to be captured is clean and holds what was installed."""
    raw = scratch / "after.raw"
    run("qemu-img", "convert", "-O", "raw", disk, raw)
    root = f"{raw}?offset={(2048 + 64 * 2048) * 512}"
    run("e2fsck", "-fn", root)
    assert "Package: sekiso-probe" in run("debugfs", "-R", "cat /var/lib/dpkg/status", root)
    assert "clean" in run("dumpe2fs", "-h", root)


@pytest.mark.parametrize("tree", ["debian_tree"], indirect=True)
def test_a_generalized_image_makes_its_own_identity_and_an_unfinished_one_is_held_back(
    tree: Path, tmp_path: Path
) -> None:
    package = make_package(tmp_path)
    files = FolderFiles(tree)
    (tree / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (tree / "etc/ld.so.cache").unlink()
    apply(tree, SUPPORT.generalize(files, Generalization.OFFLINE))
    apply(tree, SUPPORT.post_merge(files))
    hook(tree, "identity", "cat /etc/machine-id; test -s /etc/ld.so.cache && echo cache")
    publish(tree, tmp_path / "disk.raw", 1)
    script = "dpkg --unpack ./sekiso-probe.deb\n"
    files_on_disk: dict[str, Path | str] = {
        "run.sh": script,
        "sekiso-probe.deb": package,
        "finalize": "",
    }
    extra = run_once_disk(tmp_path / "run.raw", files_on_disk)
    result = boot(
        tmp_path / "disk.raw",
        tmp_path,
        generation=1,
        extra=[extra],
        until=lambda r: r.finalize is not None,
    )
    report = result.report
    assert report.finalize is not None, result.console
    assert not report.finalize.ok
    assert report.gate is not None
    reasons = [(r.code, r.detail) for r in report.gate.reasons]
    assert ("package-unpacked", "sekiso-probe") in reasons
    machine_id, cache = report.hooks[0].output.split("\n")
    assert len(machine_id) == 32
    assert machine_id != "0123456789abcdef0123456789abcdef"
    assert cache == "cache"
