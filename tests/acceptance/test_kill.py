"""Kill −9 of appliance and agent at every step of every flow: each task ends as if nothing had happened.

`SEKISO_CRASH_EACH` kills a process once at each point it passes: after the effect of every step of every
flow and before it is recorded in the appliance, likewise for every command in the agent. So the points are
those of the code, not of a list.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from script.lib.estate import Estate, EstateError

from ..integration.compositing.systems import fill_system, make_disk
from .conftest import turn_all_off

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.root]

PLAIN, OFFLOAD = "plain", "offload"


class Keeper:
    """Starts a process again whenever it is killed, as a service manager does, and counts."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        self.restarts = {"appliance": 0, "agent": 0}

    def look(self) -> None:
        for name, start in (
            ("appliance", self.estate.start_appliance),
            ("agent", self.estate.spawn_agent),
        ):
            process = self.estate.processes.get(name)
            if process is not None and process.poll() is not None:
                assert process.returncode == -9, self.estate.log(name)
                self.restarts[name] += 1
                try:
                    start()
                except EstateError:
                    # It was killed again while it started: the next look starts it anew.
                    assert self.estate.processes[name].wait() == -9, self.estate.log(name)

    def command(self, *arguments: object) -> Any:
        """Run a command; while the appliance is away it is run again."""
        deadline = time.monotonic() + 120.0
        while True:
            self.look()
            done = self.estate.run(*arguments, "--json", check=False)
            if done.returncode == 0:
                return json.loads(done.stdout or "null")
            # 7: the appliance or the agent cannot be reached.
            assert done.returncode == 7, f"{arguments}: {done.stdout}{done.stderr}"
            assert time.monotonic() < deadline, f"{arguments}: {done.stderr}"
            time.sleep(0.3)

    def follow(self, task_id: str, *, until: str = "complete") -> dict[str, Any]:
        deadline = time.monotonic() + 300.0
        while True:
            task = self.command("task", "show", task_id)
            if task["state"] == until:
                return task
            assert task["state"] not in ("failed", "canceled"), (
                f"{task}\n{self.estate.log('appliance')}\n{self.estate.log('agent')}"
            )
            assert time.monotonic() < deadline, f"{task}\n{self.estate.log('appliance')}"
            time.sleep(0.3)

    def task(self, *arguments: object, until: str = "complete") -> dict[str, Any]:
        started = self.command(*arguments, "--no-wait")
        first = started["tasks"][0] if "tasks" in started else started
        return self.follow(first["id"], until=until)


@pytest.fixture
def estate(tmp_path: Path) -> Iterator[Estate]:
    made = Estate(tmp_path / "estate")
    try:
        yield made
    finally:
        made.close()
        turn_all_off(made)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("source")
    tree = place / "tree"
    tree.mkdir()
    fill_system(tree)
    return make_disk(tree, place / "source.raw", size_mib=160)


@pytest.mark.parametrize("victim", ["appliance", "agent"])
def test_every_flow_survives_kill_9_at_every_step(
    estate: Estate, disk: Path, tmp_path: Path, victim: str
) -> None:
    points = tmp_path / "points"
    estate.start()
    common = ("--agent", "host1", "--storage-path", estate.storage, "--network", "Isolated", "--cache-gb", 1)
    hardware = ("--cpus", 1, "--memory-mb", 64)
    estate.run("connector", "create", PLAIN, *common, *hardware, "--no-offload", "--disk-format", "vhd")
    estate.run("connector", "create", OFFLOAD, *common, *hardware, "--offload", "--disk-format", "vhdx")
    keeper = Keeper(estate)
    estate.stop(victim)
    estate.environment = {"SEKISO_CRASH_EACH": str(points)}
    (estate.start_appliance if victim == "appliance" else estate.spawn_agent)()
    try:
        for number, connector in enumerate((OFFLOAD, PLAIN)):
            _whole_way(keeper, connector, f"s{number}", disk)
    finally:
        estate.environment = {}
    print(f"{victim}: killed {keeper.restarts[victim]} times at {points.read_text().split()}")
    _nothing_twice_nothing_left(keeper)
    # Every step that has run is a point; what of a flow has not run does not apply to this way of working.
    flows = {point.split(":")[0] for point in points.read_text().split()}
    if victim == "appliance":
        assert flows >= {"import-os", "create-layer", "finalize-layer", "publish-image", "delete-image"}
    assert keeper.restarts[victim] >= (30 if victim == "appliance" else 10)


def _whole_way(keeper: Keeper, connector: str, name: str, disk: Path) -> None:
    keeper.task(
        "layer", "import-os", f"{name}-os", "--version", "1", "--connector", connector, "--disk", disk
    )
    words = ("layer", "create", f"{name}-app", "--kind", "app", "--version", "1", "--os", f"{name}-os")
    keeper.task(*words, "--connector", connector, "--no-auto-finalize", until="action-required")
    # Nothing in this guest installs anything: what is tested is what happens around it.
    keeper.command("layer", "machine", f"{name}-app", "--turn-off")
    keeper.task("layer", "finalize", f"{name}-app", "--override-gate")
    words = ("template", "create", f"{name}-image", "--connector", connector, "--os", f"{name}-os")
    keeper.command(*words, "--app", f"{name}-app")
    published = keeper.task("image", "publish", f"{name}-image")
    keeper.task("image", "delete", published["result"]["name"], "--yes")
    keeper.task("image", "publish", f"{name}-image")


def _nothing_twice_nothing_left(keeper: Keeper) -> None:
    estate = keeper.estate
    layers = keeper.command("layer", "list")["layers"]
    assert sorted(v["layer"]["name"] for v in layers) == ["s0-app", "s0-os", "s1-app", "s1-os"]
    versions = [v["version"] for layer in layers for v in layer["versions"]]
    assert [v["state"] for v in versions] == ["deployable"] * 4
    assert all(v["packaging"] is None and v["holder_task_id"] is None for v in versions)
    images = [i["image"] for i in keeper.command("image", "list")["images"]]
    assert len(images) == 2
    machines = json.loads(estate.run("host", "machines", "--storage", estate.machines, "--json").stdout)[
        "machines"
    ]
    assert sorted(m["spec"]["name"] for m in machines) == sorted(i["name"] for i in images)
    for folder in ("Packaging", "Tasks"):
        place = estate.storage / folder
        assert not place.exists() or list(place.iterdir()) == [], list(place.rglob("*"))
    scratch = estate.appliance_state / "scratch"
    assert [p for p in scratch.iterdir() if p.name != "probes"] == []
    assert not list(estate.storage.rglob("*.part")) and not list(estate.appliance_state.rglob("*.part"))
    grants = list((estate.appliance_state / "transfer" / "grants").glob("*.json"))
    assert grants == []
