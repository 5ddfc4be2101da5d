"""One small world for all acceptance tests: a Debian disk, layers made of it, images composed and started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from script.lib.estate import Estate

from sekiso.hypervisors.qemu.driver import QemuDriver

ROOT = Path(__file__).resolve().parents[2]
MEMORY = "512M"


@dataclass(frozen=True)
class Cli:
    """The command as a user has it: in a terminal of its own, in a folder."""

    folder: Path

    def run(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from sekiso.cli.main import main; main()", *map(str, arguments)]
        environment = {**os.environ, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, env=environment
        )
        if check and done.returncode:
            raise AssertionError(f"status {done.returncode}: {arguments}\n{done.stdout}{done.stderr}")
        return done

    def json(self, *arguments: object) -> dict[str, Any]:
        return json.loads(self.run("engine", *arguments, "--json").stdout)


def build_deb(folder: Path, name: str, depends: str = "") -> Path:
    """Make a small real package with a configuration file, a program and a user of its own."""
    tree = folder / f"{name}-tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "etc").mkdir()
    (tree / f"usr/bin/{name}").write_text(f"#!/bin/sh\necho {name} works\n")
    (tree / f"usr/bin/{name}").chmod(0o755)
    (tree / f"etc/{name}.conf").write_text("answer=42\n")
    (tree / "DEBIAN/conffiles").write_text(f"/etc/{name}.conf\n")
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: Tests <tests@example.org>\n"
        + (f"Depends: {depends}\n" if depends else "")
        + f"Description: the {name} of the acceptance tests\n"
    )
    (tree / "DEBIAN/postinst").write_text(f"#!/bin/sh\nset -e\nuseradd --system {name}-user\n")
    (tree / "DEBIAN/postinst").chmod(0o755)
    made = folder / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, made], check=True, capture_output=True)
    return made


HOOK = """mkdir -p /etc/sekiso/report.d
cat > /etc/sekiso/report.d/{name} <<'HOOK'
#!/bin/sh
{body}
HOOK
chmod 755 /etc/sekiso/report.d/{name}
"""


def turn_all_off(estate: Estate) -> None:
    """Turn off what a test that failed has left running."""
    driver = QemuDriver(estate.machines)
    for machine in driver.list_machines():
        driver.turn_off(machine.id)


@dataclass(frozen=True)
class World:
    """What was made once, and what the guests said."""

    cli: Cli
    source: Path
    os: Path
    boot_disk: Path
    alpha: Path
    beta: Path
    trim: Path
    gen1: Path
    gen2: Path
    reports: dict[str, dict[str, Any]]

    @property
    def layers(self) -> tuple[Path, ...]:
        return (self.os, self.alpha, self.beta, self.trim)


def _once(folder: Path, script: str, debs: tuple[Path, ...] = ()) -> Path:
    folder.mkdir()
    for deb in debs:
        (folder / deb.name).write_bytes(deb.read_bytes())
    install = 'dpkg --install "$SEKISO_RUN_DIR"/*.deb\n' if debs else ""
    (folder / "run.sh").write_text(f"set -eux\n{install}{script}")
    (folder / "finalize").touch()
    return folder


def _package(cli: Cli, boot: Path, bases: tuple[Path, ...], name: str, once: Path) -> Path:
    disk, layer = cli.folder / f"{name}.qcow2", cli.folder / f"{name}.wim"
    boot_words = ("--packaging-disk", disk, "--run-once", once, "--memory", MEMORY)
    report = cli.json("boot", boot, *boot_words)["report"]
    assert report["finalize"]["ok"], report
    base_words = [word for base in bases for word in ("--base", base)]
    cli.json(
        *("capture", disk, "--boot-disk", boot, *base_words),
        *("--out", layer, "--name", name, "--version", "1"),
    )
    return layer


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, guest_cache: Path) -> World:
    folder = tmp_path_factory.mktemp("world")
    cli = Cli(folder)
    source = folder / "source.vhd"
    words = ["--tiny", "--generation", "1", "--quiet", "--out", str(source), "--cache", str(guest_cache)]
    subprocess.run([ROOT / "script/make-debian-guest", *words], check=True)
    os_layer, boot_disk = folder / "os.wim", folder / "boot.vhdx"
    cli.json("import", source, "--out", os_layer, "--name", "Debian", "--version", "12")
    cli.json("compose", os_layer, "--out", boot_disk, "--generation", 2, "--generalize", "none")

    alpha_once = _once(
        folder / "alpha-once",
        "echo from alpha > /etc/motd\nmkdir -p /opt/alpha\necho x > /opt/alpha/obsolete\n"
        "printf AAAA > /opt/alpha/stays-4-bytes\n"
        + HOOK.format(name="10-alpha", body="alpha; id alpha-user"),
        (build_deb(folder, "alpha"),),
    )
    beta_once = _once(
        folder / "beta-once",
        "echo from beta > /etc/motd\n" + HOOK.format(name="20-beta", body="beta; id beta-user"),
        (build_deb(folder, "beta"),),
    )
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(_package, cli, boot_disk, (os_layer,), "alpha", alpha_once),
            pool.submit(_package, cli, boot_disk, (os_layer,), "beta", beta_once),
        ]
        alpha, beta = (job.result() for job in jobs)
    boot_alpha = folder / "boot-alpha.vhdx"
    cli.json("compose", os_layer, alpha, "--out", boot_alpha, "--generation", 2, "--generalize", "none")
    trim_once = _once(
        folder / "trim-once",
        "rm /opt/alpha/obsolete\n"
        "touch -r /opt/alpha/stays-4-bytes /tmp/r\nprintf BBBB > /opt/alpha/stays-4-bytes\n"
        "touch -r /tmp/r /opt/alpha/stays-4-bytes\n"
        + HOOK.format(name="30-trim", body="ls /opt/alpha; cat /opt/alpha/stays-4-bytes; echo; cat /etc/motd")
        + HOOK.format(name="90-dpkg", body="dpkg --audit; dpkg --verify && echo dpkg-verify-clean"),
    )
    trim = _package(cli, boot_alpha, (os_layer, alpha), "trim", trim_once)

    gen1, gen2 = folder / "image.vhd", folder / "image.vhdx"
    cli.json("compose", os_layer, alpha, beta, trim, "--out", gen1, "--generation", 1, "--seed", "test")
    cli.json("compose", os_layer, alpha, beta, trim, "--out", gen2, "--generation", 2, "--verify")
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(cli.json, "boot", gen1, "--memory", MEMORY, "--screenshot", folder / "gen1.png")
        two = pool.submit(cli.json, "boot", gen2, "--memory", MEMORY, "--secure-boot")
        reports = {"gen1": one.result()["report"], "gen2": two.result()["report"]}
    return World(cli, source, os_layer, boot_disk, alpha, beta, trim, gen1, gen2, reports)
