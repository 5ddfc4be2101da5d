"""The demonstration: drives the `sekiso` command as an administrator would, and asks the guests."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib import demo_apps
from lib.demo_packages import fetch

from sekiso.store.layer_file import LayerFile
from sekiso.wim.tree import find

RELEASE = "bookworm"
ROOT = Path(__file__).resolve().parents[2]


class DemoError(Exception):
    """Something did not come out as it must."""


@dataclass
class Row:
    what: str
    seconds: float
    size: str = ""
    detail: str = ""


@dataclass
class Demo:
    work: Path
    cache: Path
    rows: list[Row] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.started:6.1f} s] {text}", flush=True)

    def sekiso(self, what: str, *arguments: object, detail: str = "") -> dict[str, Any]:
        """Run a `sekiso engine` command with --json; its error, if there is one, is shown as it came."""
        command = ["sekiso", "engine", *map(str, arguments), "--json"]
        self.say(f"{what}: {' '.join(command[:-1])}")
        begun = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - begun
        if done.returncode:
            raise DemoError(f"{what} failed with status {done.returncode}:\n{done.stdout}{done.stderr}")
        result: dict[str, Any] = json.loads(done.stdout)
        self.rows.append(Row(what, seconds, detail=detail))
        return result

    def size_of(self, path: Path) -> None:
        self.rows[-1].size = megabytes(path)

    def path(self, name: str) -> Path:
        return self.work / name


def megabytes(path: Path) -> str:
    return f"{path.stat().st_blocks * 512 / 1e6:.1f} MB"


def check(condition: object, what: str) -> None:
    if not condition:
        raise DemoError(f"Not as it must be: {what}")


def build_guest(demo: Demo) -> Path:
    disk = demo.path("debian-from-packages.vhd")
    begun = time.monotonic()
    demo.say("Building a Debian disk from the distribution's packages, without Sekiso's own code")
    command = [ROOT / "script/make-debian-guest", "--generation", "1", "--release", RELEASE, "--quiet"]
    subprocess.run([*map(str, command), "--out", str(disk), "--cache", str(demo.cache)], check=True)
    demo.rows.append(
        Row("Build a Debian guest disk (generation 1)", time.monotonic() - begun, megabytes(disk))
    )
    return disk


def import_os(demo: Demo, disk: Path) -> Path:
    layer = demo.path("debian.wim")
    result = demo.sekiso(
        "Import it as an OS layer", "import", disk, "--out", layer, "--name", "Debian", "--version", "12"
    )
    demo.size_of(layer)
    boot = result["result"]["preview"]["boot"]
    check(boot["generation"] == 1, "the source disk is recognised as generation 1")
    demo.rows[
        -1
    ].detail = f"{result['result']['preview']['plan']['os_name']}, generation {boot['generation']}"
    return layer


def dpkg_status(layer: Path) -> bytes:
    with LayerFile(layer) as opened:
        node = find(opened.tree(), "/var/lib/dpkg/status")
        check(node, "the OS layer has a package database")
        assert node is not None
        return opened.wim.read_blob(node.data)


def compose_boot_disk(demo: Demo, name: str, layers: list[Path]) -> Path:
    disk = demo.path(f"{name}.vhdx")
    demo.sekiso(
        f"Compose a boot disk ({', '.join(layer.stem for layer in layers)})",
        *("compose", *layers, "--out", disk, "--generation", 2, "--generalize", "none"),
    )
    demo.size_of(disk)
    return disk


def prepare(demo: Demo, apps: Sequence[demo_apps.App], status: bytes) -> None:
    """Fetch the packages of applications and write their run-once folders."""
    begun = time.monotonic()
    demo.say("Fetching packages from the distribution")
    for app in apps:
        debs = fetch(RELEASE, status, app.packages, demo.cache) if app.packages else []
        app.write(demo.path(f"{app.name}-setup"), debs)
    demo.rows.append(Row("Fetch packages for the applications", time.monotonic() - begun))


def package(demo: Demo, app: demo_apps.App, boot_disk: Path, base: list[Path]) -> Path:
    """Install an application in a packaging machine and capture it as a layer."""
    scripts = demo.path(f"{app.name}-setup")
    disk = demo.path(f"{app.name}.qcow2")
    run = demo.sekiso(
        f"Install {app.name} in a packaging machine",
        *("boot", boot_disk, "--packaging-disk", disk, "--run-once", scripts, "--memory", "768M"),
    )
    demo.size_of(disk)
    report = run["report"]
    check(report["finalize"] and report["finalize"]["ok"], f"{app.name}: the guest finalized itself")
    layer = demo.path(f"{app.name}.wim")
    bases = [word for path in base for word in ("--base", path)]
    captured = demo.sekiso(
        f"Capture {app.name} as an app layer",
        *("capture", disk, "--boot-disk", boot_disk, *bases),
        *("--out", layer, "--name", app.name, "--version", app.version),
    )
    demo.size_of(layer)
    result = captured["result"]
    demo.rows[-1].detail = f"{len(result['changed'])} changed, {len(result['deleted'])} deleted"
    return layer


def compose_image(demo: Demo, layers: list[Path], name: str, generation: int) -> Path:
    image = demo.path(name)
    result = demo.sekiso(
        f"Compose the image for generation {generation} ({image.suffix[1:].upper()})",
        *("compose", *layers, "--out", image, "--generation", generation),
    )
    demo.size_of(image)
    plan = result["plan"]
    demo.rows[-1].detail = f"{plan['entries']} entries, conflicts: {len(plan['conflicts'])}"
    return image


def boot_image(demo: Demo, image: Path, *options: str) -> dict[str, Any]:
    screenshot = image.with_suffix(".png")
    result = demo.sekiso(
        f"Boot {image.name} {' '.join(options)}".strip(),
        *("boot", image, "--memory", "768M", "--screenshot", screenshot, *options),
    )
    report = result["report"]
    demo.rows[-1].detail = f"reported after {result['reported_s']:.0f} s"
    return report


def prove(report: dict[str, Any], *, firmware: str, secure_boot: bool) -> None:
    """Check what a guest said against what was layered."""
    hooks = {hook["name"]: hook for hook in report["hooks"]}
    check(report["firmware"] == firmware, f"the firmware is {firmware}")
    check(report["secure_boot"] is secure_boot, f"Secure Boot enforced: {secure_boot}")
    check(not report["failed_services"], f"no failed services: {report['failed_services']}")
    check(report["gate"]["ok"], f"the integrity gate is clear: {report['gate']}")
    for app in demo_apps.APPS:
        for name, expected in app.proofs.items():
            output = hooks.get(name, {}).get("output", "(no such report)")
            check(expected in output, f"{name} answers {expected!r}; it said:\n{output}")


def show(demo: Demo) -> None:
    width = max(len(row.what) for row in demo.rows)
    print(f"\n{'Step':<{width}}  {'Seconds':>8}  {'Size':>11}  What came out")
    for row in demo.rows:
        print(f"{row.what:<{width}}  {row.seconds:8.1f}  {row.size:>11}  {row.detail}")


def run(demo: Demo) -> None:
    guest = build_guest(demo)
    debian = import_os(demo, guest)
    prepare(demo, demo_apps.APPS, dpkg_status(debian))
    boot_disk = compose_boot_disk(demo, "boot-debian", [debian])
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(package, demo, app, boot_disk, [debian]) for app in (demo_apps.NGINX, demo_apps.REDIS)
        ]
        nginx, redis = (job.result() for job in jobs)
    boot_nginx = compose_boot_disk(demo, "boot-debian-nginx", [debian, nginx])
    site = package(demo, demo_apps.SITE, boot_nginx, [debian, nginx])
    layers = [debian, nginx, redis, site]
    found = demo.sekiso("List conflicts", "conflicts", *layers)["conflicts"]
    demo.rows[-1].detail = "; ".join(f"{c['path']}: {c['winner']} wins" for c in found)
    check(any(c["path"] == "/etc/motd" for c in found), "the conflict about /etc/motd is listed")
    first = compose_image(demo, layers, "image-gen1.vhd", 1)
    second = compose_image(demo, layers, "image-gen2.vhdx", 2)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(boot_image, demo, first), pool.submit(boot_image, demo, second, "--secure-boot")]
        one, two = (job.result() for job in jobs)
    prove(one, firmware="bios", secure_boot=False)
    prove(two, firmware="uefi", secure_boot=True)
    check(one["packages_sha256"] == two["packages_sha256"], "both images hold the same packages")
    for image in (first, second):
        demo.sekiso(f"Read {image.name} back, every byte", "verify", image, detail="as planned")
    show(demo)
    proofs = [f"{name}: {expected}" for app in demo_apps.APPS for name, expected in app.proofs.items()]
    print("\nBoth guests proved over their report: " + "; ".join(proofs) + ".")
    print(f"{two['package_count']} packages (sha256 {two['packages_sha256'][:16]}…) in both images.")
    print(f"Layers and images are in {demo.work}. There is no console yet: it comes with a later version.")


def main() -> int:
    parser = argparse.ArgumentParser(description="Do Sekiso's main job once, for real.")
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "demo")
    parser.add_argument("--fresh", action="store_true")
    arguments = parser.parse_args()
    cache = Path(os.environ.get("SEKISO_CACHE", Path.home() / ".cache" / "sekiso")) / "demo"
    if arguments.fresh:
        shutil.rmtree(cache, ignore_errors=True)
    shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True)
    cache.mkdir(parents=True, exist_ok=True)
    demo = Demo(arguments.work.resolve(), cache)
    try:
        run(demo)
    except (DemoError, subprocess.CalledProcessError) as error:
        show(demo) if demo.rows else None
        print(f"\nThe demonstration failed. {error}", file=sys.stderr)
        return 1
    print(f"\nDone in {time.monotonic() - demo.started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
