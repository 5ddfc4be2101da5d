"""The main job through the command line alone: import, layers, conflicts, both generations, boots."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import MEMORY, World

pytestmark = [pytest.mark.boot, pytest.mark.root]


def hooks(world: World, image: str) -> dict[str, str]:
    return {hook["name"]: hook["output"] for hook in world.reports[image]["hooks"]}


@pytest.mark.parametrize("image", ["gen1", "gen2"])
def test_what_was_layered_is_what_booted(world: World, image: str) -> None:
    said = hooks(world, image)
    assert "alpha works" in said["10-alpha"] and "(alpha-user)" in said["10-alpha"]
    # Both users got the number 999 in their own machines, which `conflicts` lists: `id` shows the first name.
    assert "beta works" in said["20-beta"] and "uid=999" in said["20-beta"]
    assert "dpkg-verify-clean" in said["90-dpkg"]
    assert world.reports[image]["gate"]["ok"]
    assert world.reports[image]["packages_sha256"] == world.reports["gen1"]["packages_sha256"]


def test_deletions_hold_and_an_edit_that_kept_size_and_time_is_there(world: World) -> None:
    said = hooks(world, "gen2")["30-trim"]
    assert "obsolete" not in said
    assert "BBBB" in said
    assert "from beta" in said


def test_firmware_and_secure_boot_are_what_was_asked_for(world: World) -> None:
    assert (world.reports["gen1"]["firmware"], world.reports["gen1"]["secure_boot"]) == ("bios", False)
    assert (world.reports["gen2"]["firmware"], world.reports["gen2"]["secure_boot"]) == ("uefi", True)


def test_conflicts_are_listed_with_the_winner_and_merged_files_are_none(world: World) -> None:
    found = world.cli.json("conflicts", world.os, world.alpha, world.beta)["conflicts"]
    paths = {item["path"]: item for item in found}
    assert paths["/etc/motd"]["winner"] == "beta 1"
    assert paths["/etc/motd"]["layers"] == ["alpha 1", "beta 1"]
    assert not any(item["path"].startswith("/var/lib/dpkg/status") for item in found)
    accounts = [item for item in found if item["path"] in ("/etc/passwd", "/etc/group")]
    # Both layers made a system user in their own packaging machine, so both took the next free number.
    assert accounts
    assert all(item["kind"] == "key" and "999" in item["key"] + item["detail"] for item in accounts)


def test_images_read_back_are_as_planned(world: World) -> None:
    for image in (world.gen1, world.gen2):
        assert world.cli.json("verify", image)["what"] == "image"
    assert world.cli.json("verify", world.alpha)["what"] == "layer"


def test_import_compose_import_loses_nothing(world: World) -> None:
    again = world.cli.folder / "again.wim"
    world.cli.json("import", world.boot_disk, "--out", again, "--name", "Debian", "--version", "again")
    found = world.cli.json("diff", world.os, again)
    assert (found["added"], found["deleted"], found["replaced"]) == ([], [], [])
    # What makes the new disk start is the image's own: see guests/linux/boot.py.
    assert {change["path"] for change in found["changed"]} <= {
        "/etc/fstab",
        "/boot/grub/grub.cfg",
        "/boot/efi",
    }


def test_the_same_seed_and_layers_give_the_same_disk(world: World) -> None:
    one, two = world.cli.folder / "one.vhdx", world.cli.folder / "two.vhdx"
    for out in (one, two):
        world.cli.json(
            *("compose", world.os, world.alpha, "--out", out, "--generation", 2),
            *("--seed", "same", "--created", 1_700_000_000),
        )
    assert one.read_bytes() == two.read_bytes()


def test_an_unsigned_boot_loader_is_refused_by_the_firmware(world: World) -> None:
    """Secure Boot: the published image starts; with its boot loader replaced it does not."""
    raw, image = world.cli.folder / "unsigned.raw", world.cli.folder / "unsigned.vhdx"
    subprocess.run(["qemu-img", "convert", "-O", "raw", world.gen2, raw], check=True)
    loader = _unsigned_loader(world.cli.folder)
    for name in ("BOOTX64.EFI", "grubx64.efi"):
        target = f"::/EFI/BOOT/{name}"
        subprocess.run(["mcopy", "-o", "-i", f"{raw}@@1M", loader, target], check=True)
    subprocess.run(["qemu-img", "convert", "-O", "vhdx", raw, image], check=True)
    raw.unlink()
    console = world.cli.folder / "refused.txt"
    words = ("--memory", MEMORY, "--secure-boot", "--timeout", "25", "--json")
    done = world.cli.run("engine", "boot", image, *words, "--console", console, check=False)
    assert done.returncode == 10, done.stdout
    started = world.cli.json("boot", image, "--memory", MEMORY)["report"]
    assert (started["firmware"], started["secure_boot"]) == ("uefi", False)


def _unsigned_loader(folder: Path) -> Path:
    """Take the signature off GRUB: the same program, which the firmware then must not start."""
    signed = Path("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed")
    loader = folder / "grub-unsigned.efi"
    shutil.copy(signed, loader)
    subprocess.run(["sbattach", "--remove", loader], check=True, capture_output=True)
    return loader
