"""The demonstration: an appliance and an agent on this machine, driven by `sekiso` as a user would."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib import demo_apps
from lib.demo_packages import fetch
from lib.estate import Estate, EstateError

from sekiso.store.layer_file import LayerFile
from sekiso.wim.tree import find

RELEASE = "bookworm"
ROOT = Path(__file__).resolve().parents[2]
MEMORY_MB = 768
PLAIN, OFFLOAD = "Generation 1", "Generation 2 with offload"
TEMPLATE_VM = "Secure Boot template"


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

    def __post_init__(self) -> None:
        self.estate = Estate(self.work, say=self.say)

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.started:6.1f} s] {text}", flush=True)

    def timed(self, what: str, work: Callable[[], Any]) -> tuple[Any, Row]:
        begun = time.monotonic()
        result = work()
        row = Row(what, time.monotonic() - begun)
        self.rows.append(row)
        return result, row

    def path(self, name: str) -> Path:
        return self.work / name


def megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


def check(condition: object, what: str) -> None:
    if not condition:
        raise DemoError(f"Not as it must be: {what}")


def build_guest(demo: Demo) -> Path:
    disk = demo.path("debian-from-packages.vhd")
    demo.say("Building a Debian disk from the distribution's packages, without Sekiso's own code")
    command = [ROOT / "script/make-debian-guest", "--generation", "1", "--release", RELEASE, "--quiet"]
    words = [*map(str, command), "--out", str(disk), "--cache", str(demo.cache)]
    _, row = demo.timed("Build a Debian guest disk (generation 1)", lambda: subprocess.run(words, check=True))
    row.size = megabytes(disk.stat().st_blocks * 512)
    return disk


def set_up(demo: Demo) -> None:
    """Start appliance and agent, and make a connector configuration of each kind."""
    estate = demo.estate
    demo.timed("Start the appliance, register and start the agent", estate.start)
    print(estate.run("agent", "list").stdout)
    estate.run(
        *("host", "add-template", TEMPLATE_VM, "--storage", estate.machines, "--generation", 2),
        *("--secure-boot", "--cpus", 1, "--memory", f"{MEMORY_MB}M"),
    )
    common = ("--agent", "host1", "--storage-path", estate.storage, "--network", "Isolated", "--cache-gb", 20)
    hardware = ("--cpus", 1, "--memory-mb", MEMORY_MB)
    refused = estate.run(
        *("connector", "create", PLAIN, *common, *hardware, "--no-offload", "--disk-format", "vhdx"),
        check=False,
    )
    check(refused.returncode == 2, f"VHDX without offload is refused: {refused.stderr}")
    print(refused.stderr)
    estate.run("connector", "create", PLAIN, *common, *hardware, "--no-offload", "--disk-format", "vhd")
    estate.run(
        *("connector", "create", OFFLOAD, *common, "--template-vm", TEMPLATE_VM),
        *("--offload", "--generation", 2, "--disk-format", "vhdx"),
    )
    for name in (PLAIN, OFFLOAD):
        tested, _ = demo.timed(
            f"Test the configuration {name}", lambda n=name: estate.run("connector", "test", n)
        )
        print(tested.stdout)


def import_os(demo: Demo, disk: Path) -> Path:
    """Import the disk as an OS layer and return the layer file in the appliance's store."""
    what = "Import it as an OS layer (at the agent)"
    task, row = demo.timed(
        what,
        lambda: demo.estate.json(
            "layer", "import-os", "Debian", "--version", "12", "--connector", OFFLOAD, "--disk", disk
        ),
    )
    shown = version_of(demo, "Debian")
    row.size = megabytes(shown["file_bytes"])
    row.detail = f"generation {shown['generation']}, {task['state']}"
    check(shown["generation"] == 1, "the source disk is recognised as generation 1")
    identity = shown["identity"]
    return demo.estate.appliance_state / "layers" / identity[:2] / f"{identity}.wim"


def version_of(demo: Demo, layer: str) -> dict[str, Any]:
    version: dict[str, Any] = demo.estate.json("layer", "show", layer)["versions"][-1]["version"]
    check(version["state"] == "deployable", f"{layer} is deployable: {version['state']}")
    return version


def dpkg_status(layer: Path) -> bytes:
    with LayerFile(layer) as opened:
        node = find(opened.tree(), "/var/lib/dpkg/status")
        check(node, "the OS layer has a package database")
        assert node is not None
        return opened.wim.read_blob(node.data)


def prepare(demo: Demo, apps: Sequence[demo_apps.App], status: bytes) -> None:
    """Fetch the packages of applications and write their run-once folders."""
    demo.say("Fetching packages from the distribution")

    def work() -> None:
        for app in apps:
            debs = fetch(RELEASE, status, app.packages, demo.cache) if app.packages else []
            app.write(demo.path(f"{app.name}-setup"), debs)

    demo.timed("Fetch packages for the applications", work)


def package(demo: Demo, app: demo_apps.App, connector: str, *requires: str) -> None:
    """Install an application in a packaging machine; it becomes a layer when it has shut down."""
    needed = [word for name in requires for word in ("--requires", name)]
    words = ("layer", "create", app.name, "--kind", "app", "--version", app.version, "--os", "Debian")
    options = ("--connector", connector, "--run-once", demo.path(f"{app.name}-setup"), "--auto-finalize")
    _, row = demo.timed(
        f"Install {app.name} in a packaging machine, capture it",
        lambda: demo.estate.json(*words, *needed, *options),
    )
    row.size = megabytes(version_of(demo, app.name)["file_bytes"])
    row.detail = connector


def publish(demo: Demo) -> list[dict[str, Any]]:
    """Make a template for each configuration, publish both, and return the images."""
    estate = demo.estate
    apps = [word for app in demo_apps.APPS for word in ("--app", app.name)]
    for name, connector in (("web-gen1", PLAIN), ("web-gen2", OFFLOAD)):
        estate.run(
            *("template", "create", name, "--connector", connector, "--os", "Debian", *apps, "--boot-test")
        )
    found = estate.json("layer", "conflicts", "Debian", *(app.name for app in demo_apps.APPS))["conflicts"]
    check(any(c["path"] == "/etc/motd" for c in found), "the conflict about /etc/motd is listed")
    demo.timed(
        "Publish both images and boot-test them",
        lambda: estate.run("image", "publish", "web-gen1", "web-gen2", "--quiet"),
    )
    images = {i["image"]["template_name"]: i["image"] for i in estate.json("image", "list")["images"]}
    for image in images.values():
        row = Row(f"  {image['name']}", image["boot_test"]["reported_s"], megabytes(image["file_bytes"]))
        row.detail = f"{image['disk_format'].upper()}, guest reported, {figures(image)}"
        demo.rows.append(row)
    return [images["web-gen1"], images["web-gen2"]]


def publish_again(demo: Demo) -> None:
    """Publish a template a second time: nothing travels, the disk comes from the cache."""
    estate = demo.estate
    before = {i["image"]["id"] for i in estate.json("image", "list")["images"]}
    for name in ("web-gen1", "web-gen2"):
        estate.run("template", "change", name, "--no-boot-test")
        _, row = demo.timed(
            f"Publish {name} again", lambda n=name: estate.run("image", "publish", n, "--quiet")
        )
        fresh = [i["image"] for i in estate.json("image", "list")["images"] if i["image"]["id"] not in before]
        before |= {image["id"] for image in fresh}
        row.size, row.detail = megabytes(fresh[0]["file_bytes"]), figures(fresh[0])
        facts = fresh[0]["facts"]
        check(
            facts["cache_hit"] and not facts["layer_wire_bytes"] and not facts["disk_wire_bytes"], row.detail
        )
    print(estate.run("cache", "show", OFFLOAD).stdout)


def figures(image: dict[str, Any]) -> str:
    facts = image["facts"]
    wire = facts["layer_wire_bytes"] + facts["disk_wire_bytes"]
    return f"{megabytes(wire)} over the wire, from the cache: {'yes' if facts['cache_hit'] else 'no'}"


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
    set_up(demo)
    debian = import_os(demo, guest)
    prepare(demo, demo_apps.APPS, dpkg_status(debian))
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(package, demo, demo_apps.NGINX, OFFLOAD),
            pool.submit(package, demo, demo_apps.REDIS, PLAIN),
        ]
        for job in jobs:
            job.result()
    package(demo, demo_apps.SITE, OFFLOAD, "nginx")
    one, two = publish(demo)
    publish_again(demo)
    prove(one["boot_test"]["report"], firmware="bios", secure_boot=False)
    prove(two["boot_test"]["report"], firmware="uefi", secure_boot=True)
    first, second = one["boot_test"]["report"], two["boot_test"]["report"]
    check(first["packages_sha256"] == second["packages_sha256"], "both images hold the same packages")
    print(demo.estate.run("task", "list").stdout)
    show(demo)
    proofs = [f"{name}: {expected}" for app in demo_apps.APPS for name, expected in app.proofs.items()]
    print("\nBoth guests proved over their report: " + "; ".join(proofs) + ".")
    print(f"{second['package_count']} packages (sha256 {second['packages_sha256'][:16]}…) in both images.")


def keep(demo: Demo) -> None:
    """Leave everything running until the person ends it, and say how to get there."""
    estate = demo.estate
    fingerprint = estate.fingerprint()
    print(f"\nManagement console: {estate.url}")
    print(f"  Log in as admin; the password is in {demo.path('password')}.")
    print("  The browser warns: the certificate is signed by itself. Its SHA-256 fingerprint must be")
    print(f"  {fingerprint}.")
    print(f"REST API: {estate.url}/api/v1")
    print(f"Command line: SEKISO_PROFILE={demo.path('profile.json')} {ROOT / '.venv/bin/sekiso'} layer list")
    print("Ctrl-C ends the appliance and the agent.", flush=True)
    signal.pause()


def main() -> int:
    parser = argparse.ArgumentParser(description="Do Sekiso's main job once, for real.")
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "demo")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--keep", action="store_true")
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
        print(f"\nDone in {time.monotonic() - demo.started:.0f} s.")
        if arguments.keep:
            keep(demo)
        else:
            print("To look at it in the management console: script/demo --keep")
    except (DemoError, EstateError, subprocess.CalledProcessError) as error:
        show(demo) if demo.rows else None
        print(f"\nThe demonstration failed. {error}", file=sys.stderr)
        print(demo.estate.log("appliance"), demo.estate.log("agent"), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nEnded.")
    finally:
        demo.estate.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
