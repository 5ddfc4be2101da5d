"""Workers that are killed at every point of a flow (SIGKILL), and start again."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sekiso.model.task import TaskKind, TaskState
from tests.crash.marks import STEPS, Marks
from tests.crash.rig import KILLED, CrashRig, Order, points

KIND = TaskKind.PUBLISH_IMAGE.value


def _points() -> list[str]:
    with TemporaryDirectory() as folder:
        return points(Marks(Path(folder)).flow(TaskKind.PUBLISH_IMAGE, None))


def _undo_points() -> list[str]:
    return [f"{KIND}:{name}:{moment}" for name in ("undo", "ended") for moment in ("before", "after")]


@pytest.mark.slow
@pytest.mark.parametrize("point", _points())
def test_killed_at_a_point_and_started_again(rig: CrashRig, point: str) -> None:
    assert rig.live(Order("t", KIND), crash_at=point) == KILLED, rig.log()
    assert rig.live() == 0, rig.log()
    marks = Marks(rig.folder)
    assert rig.task("t").state is TaskState.COMPLETE
    assert marks.made() == {*(f"t.{step}" for step in STEPS), "t.ended-complete"}
    killed, moment = point.split(":")[1:]
    for step, name in [*((s, s) for s in STEPS), ("ended", "ended-complete")]:
        again = step == killed and moment == "after"
        assert marks.executions()[f"t.{name}"] == (2 if again else 1), rig.log()


def test_killed_at_every_point_of_one_task_in_turn(rig: CrashRig) -> None:
    for number, point in enumerate(_points()):
        orders = [Order("t", KIND)] if number == 0 else []
        assert rig.live(*orders, crash_at=point) == KILLED, rig.log()
    assert rig.live() == 0, rig.log()
    task = rig.task("t")
    assert (task.state, task.percent) == (TaskState.COMPLETE, 100.0)
    assert task.result is not None
    assert task.result["before"] == ["copy", "convert"]
    assert set(Marks(rig.folder).executions().values()) == {2}


@pytest.mark.slow
@pytest.mark.parametrize("point", _undo_points())
def test_killed_while_a_failure_is_undone(rig: CrashRig, point: str) -> None:
    assert rig.live(Order("t", KIND, {"fail": "convert"}), crash_at=point) == KILLED, rig.log()
    assert rig.live() == 0, rig.log()
    task = rig.task("t")
    assert task.state is TaskState.FAILED
    assert task.error is not None
    assert task.error["params"] == {"reason": "as ordered"}
    marks = Marks(rig.folder)
    assert marks.made() == {"t.ended-failed"}
    assert marks.executions()["t.convert"] == 1
    assert marks.executions()["t.register"] == 0


@pytest.mark.parametrize("point", [f"{KIND}:undo:before", f"{KIND}:undo:after", f"{KIND}:ended:after"])
def test_killed_while_a_cancellation_is_undone(rig: CrashRig, point: str) -> None:
    order = Order("t", KIND, {"pause_s": 30.0})
    assert rig.live(order, crash_at=point, cancel=["t"]) == KILLED, rig.log()
    assert rig.task("t").state is TaskState.CANCELING
    assert rig.live() == 0, rig.log()
    assert rig.task("t").state is TaskState.CANCELED
    marks = Marks(rig.folder)
    assert marks.made() == {"t.ended-canceled"}
    assert marks.executions()["t.copy"] == 1


def test_killed_while_a_settled_task_lets_go(rig: CrashRig) -> None:
    kind = TaskKind.CREATE_LAYER.value
    point = f"{kind}:ended:before"
    assert rig.live(Order("t", kind), settle=["t"], crash_at=point, until="killed") == KILLED, rig.log()
    assert rig.task("t").state is TaskState.COMPLETE
    assert "t.ended-complete" not in Marks(rig.folder).made()
    assert rig.live() == 0, rig.log()
    marks = Marks(rig.folder)
    assert "t.ended-complete" in marks.made()
    assert {marks.executions()[f"t.{step}"] for step in STEPS} == {1}


def test_the_log_of_a_worker_is_quiet(rig: CrashRig) -> None:
    assert rig.live(Order("t", KIND)) == 0
    ours = [line for line in rig.log().splitlines() if "alembic" not in line]
    assert ours == []
