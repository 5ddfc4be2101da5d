"""Measures publishing through appliance and agent, against a copy of the finished disk (IM-3, IM-4)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .bench_measure import Phases, Settings, Step, Table, command, fsync, measure, remove, say
from .estate import Estate

ROOT = Path(__file__).resolve().parents[2]
PLAIN, OFFLOAD = "plain", "offload"


def measure_publish(work: Path, settings: Settings) -> Table:
    """Measure publishing one OS layer: cold, with the layers there, and with the disk in the cache."""
    estate = Estate(work / "estate")
    try:
        say("making a guest, importing it")
        disk = _prepare(estate, work)
        table = measure("Publish", "cp", _steps(estate, work, disk), settings)
    finally:
        estate.close()
    table.checks.append(f"the published disk takes up {disk.stat().st_blocks * 512} bytes")
    table.checks.append("seconds are those of `sekiso image publish` from its start to its end")
    for row in table.rows:
        if row.value is not None:
            table.checks.append(f"{row.key}: {row.value}")
    return table


def _prepare(estate: Estate, work: Path) -> Path:
    cache = Path(os.environ.get("SEKISO_CACHE", Path.home() / ".cache" / "sekiso")) / "demo"
    source = work / "source.vhd"
    words = ["--generation", "1", "--quiet", "--out", str(source), "--cache", str(cache)]
    subprocess.run([ROOT / "script/make-debian-guest", *words], check=True)
    estate.start()
    common = ("--agent", "host1", "--storage-path", estate.storage, "--network", "Isolated", "--cache-gb", 20)
    common += ("--cpus", 1, "--memory-mb", 1024)
    for name, offload in ((PLAIN, "--no-offload"), (OFFLOAD, "--offload")):
        estate.run("connector", "create", name, *common, offload, "--disk-format", "vhd")
    estate.run(
        "layer", "import-os", "Debian", "--version", "12", "--connector", OFFLOAD, "--disk", source, "-q"
    )
    source.unlink()
    for name in (PLAIN, OFFLOAD):
        estate.run("template", "create", name, "--connector", name, "--os", "Debian")
    return Path(_publish(estate, OFFLOAD)["disk_path"])


def _steps(estate: Estate, work: Path, disk: Path) -> list[Step]:
    copy = work / "copy.vhd"

    def cp(_: Phases) -> None:
        command("cp", "--sparse=auto", "--reflink=never", disk, copy)
        fsync(copy)

    def publish(template: str) -> Callable[[Phases], str]:
        def run(_: Phases) -> str:
            return _figures(_publish(estate, template))

        return run

    def no_disk() -> None:
        estate.run("cache", "clear", PLAIN, "--yes")

    def nothing() -> None:
        no_disk()
        shutil.rmtree(estate.storage / "Layers")

    def in_cache(template: str) -> Callable[[], None]:
        return lambda: _publish(estate, template) and None

    return [
        Step("cp", "cp of the finished disk (reference)", cp, cleanup=lambda: remove(copy)),
        Step("cold", "offload, the agent has nothing", publish(OFFLOAD), nothing),
        Step("layers", "offload, the agent has the layers", publish(OFFLOAD), no_disk),
        Step("warm", "offload, the disk is in the cache", publish(OFFLOAD), in_cache(OFFLOAD)),
        Step("plain-cold", "no offload, the disk travels", publish(PLAIN), no_disk),
        Step("plain-warm", "no offload, the disk is in the cache", publish(PLAIN), in_cache(PLAIN)),
    ]


def _publish(estate: Estate, template: str) -> dict[str, Any]:
    before = {i["image"]["id"] for i in estate.json("image", "list")["images"]}
    estate.run("image", "publish", template, "--quiet")
    every = [i["image"] for i in estate.json("image", "list")["images"]]
    return next(image for image in every if image["id"] not in before)


def _figures(image: dict[str, Any]) -> str:
    facts = image["facts"]
    wire_bytes = facts["layer_wire_bytes"] + facts["disk_wire_bytes"]
    return f"{wire_bytes} bytes over the wire, from the cache: {'yes' if facts['cache_hit'] else 'no'}"
