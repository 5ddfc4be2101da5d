"""Two workers on one PostgreSQL database share the work; one takes over when the other is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sekiso.model.task import TaskKind, TaskState
from tests.crash.marks import FACTORY, STEPS, Marks
from tests.crash.rig import CrashRig, Order, Zygote
from tests.support.postgres import PostgresCluster

KIND = TaskKind.PUBLISH_IMAGE.value


@pytest.fixture
def rig(parent: Zygote, cluster: PostgresCluster, tmp_path: Path) -> CrashRig:
    url = cluster.url(cluster.new_database())
    return CrashRig(parent, tmp_path, FACTORY, database=url, system_database=url)


def _until(rig: CrashRig, what: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline_s, rig.log()
        time.sleep(0.05)


def test_the_other_takes_over_the_work_of_the_killed(rig: CrashRig) -> None:
    first = rig.begin(
        *(Order(f"t{n}", KIND, {"pause_s": 0.6}, "lane") for n in range(3)), worker="w1", until="killed"
    )
    marks = Marks(rig.folder)
    _until(rig, lambda: marks.executions()["t0.convert"] == marks.executions()["t1.convert"] == 1)
    second = rig.begin(worker="w2")
    rig.kill(first)
    assert rig.end(second) == 0, rig.log()
    for number in range(3):
        task = rig.task(f"t{number}")
        assert task.state is TaskState.COMPLETE, rig.log()
        assert task.result is not None
        assert task.result["pid"] == second
    counts = marks.executions()
    assert counts["t0.copy"] == counts["t1.copy"] == 1
    # What was cut off ran again; which step that was is up to how busy the machine is. Nothing else did.
    for number in range(2):
        assert sum(counts[f"t{number}.{step}"] for step in STEPS) <= len(STEPS) + 1, counts
    assert {counts[f"t{n}.ended-complete"] for n in range(3)} == {1}
    assert "Worker w1 is dead" in rig.log()


def test_two_workers_share_a_lane_and_do_nothing_twice(rig: CrashRig) -> None:
    tasks = [Order(f"t{n}", KIND, {"pause_s": 0.1}, f"lane{n % 3}") for n in range(9)]
    first = rig.begin(*tasks, worker="w1")
    second = rig.begin(worker="w2", until="killed")
    assert rig.end(first) == 0, rig.log()
    rig.kill(second)
    counts = Marks(rig.folder).executions()
    assert len(counts) == 9 * 4
    assert set(counts.values()) == {1}, rig.log()


def test_canceling_a_task_of_another_worker(rig: CrashRig) -> None:
    first = rig.begin(Order("t", KIND, {"pause_s": 20.0}), worker="w1", until="killed")
    _until(rig, lambda: Marks(rig.folder).executions()["t.copy"] == 1)
    assert rig.live(worker="w2", cancel=["t"]) == 0, rig.log()
    assert rig.task("t").state is TaskState.CANCELED
    assert Marks(rig.folder).made() == {"t.ended-canceled"}
    rig.kill(first)


def test_a_worker_that_was_suspended_stops_what_the_other_has_taken_over(rig: CrashRig) -> None:
    first = rig.begin(Order("t", KIND, {"pause_s": 1.2}), worker="w1", until="killed")
    marks = Marks(rig.folder)
    _until(rig, lambda: marks.executions()["t.copy"] == 1)
    os.kill(first, signal.SIGSTOP)
    second = rig.begin(worker="w2", until="killed")
    _until(rig, lambda: marks.executions()["t.copy"] == 2)
    os.kill(first, signal.SIGCONT)
    _until(rig, lambda: rig.task("t").state is TaskState.COMPLETE)
    rig.kill(first)
    rig.kill(second)
    counts = marks.executions()
    assert [counts[f"t.{step}"] for step in STEPS] == [2, 1, 1], rig.log()
    assert counts["t.ended-complete"] == 1
    result = rig.task("t").result
    assert result is not None
    assert result["pid"] == second
