"""What only the durable engine does: what it records, what it recovers, what it forgets."""

from __future__ import annotations

import logging
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sekiso.errors import RuleError
from sekiso.model.task import TaskKind, TaskState
from sekiso.store.database.database import sqlite_url
from sekiso.tasks.dbos_engine import DbosEngine
from sekiso.tasks.leases import LeaseTimes
from tests.contract.tasks.rigs import PACE, TIMES, DbosRig, Gate, Script, ended, new, record, until

DAY_S = 86400.0


@pytest.fixture
def rig(template: Path, tmp_path: Path) -> Iterator[DbosRig]:
    assert template.is_dir()
    made = DbosRig(tmp_path)
    yield made
    made.dispose()


def _rows(rig: DbosRig, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(rig.folder / "dbos.db", timeout=30)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def _change(rig: DbosRig, statement: str) -> None:
    connection = sqlite3.connect(rig.folder / "dbos.db", timeout=30)
    try:
        connection.execute(statement)
        connection.commit()
    finally:
        connection.close()


def _fail(_: object) -> None:
    raise RuleError(field="name", reason="It is taken.", remedy="Take another.")


def test_everything_recorded_is_json_and_errors_are_data(rig: DbosRig) -> None:
    rig.launch([Script(acts={"two": _fail}).flow()])
    rig.engine.start(new("t"))
    assert ended(rig, "t").state is TaskState.FAILED
    rig.close()
    kinds = _rows(rig, "select distinct serialization from workflow_status")
    assert kinds == [("portable_json",)]
    steps = _rows(rig, "select function_name, output, error, serialization from operation_outputs")
    assert {row[0] for row in steps} >= {"one", "two", ":undo", ":ended", ":close"}
    assert {row[3] for row in steps if row[1] is not None} == {"portable_json"}
    assert [row[2] for row in steps if row[2] is not None] == []
    assert any("It is taken." in str(row[1]) for row in steps)


def test_its_file_is_private_and_written_ahead(rig: DbosRig) -> None:
    (rig.folder / "dbos.db").unlink()
    rig.launch([])
    assert stat.S_IMODE((rig.folder / "dbos.db").stat().st_mode) == 0o600
    assert _rows(rig, "pragma journal_mode") == [("wal",)]


def test_the_library_says_nothing_on_the_console(rig: DbosRig, capfd: pytest.CaptureFixture[str]) -> None:
    rig.launch([Script().flow()])
    rig.engine.start(new("t"))
    ended(rig, "t")
    logging.getLogger("dbos").error("Through our own logging.")
    assert capfd.readouterr() == ("", "")


def test_one_engine_in_a_process(rig: DbosRig) -> None:
    rig.launch([Script().flow()])
    other = rig.make()
    with pytest.raises(RuntimeError):
        other.launch([])
    other.close()
    rig.engine.start(new("t"))
    assert ended(rig, "t").state is TaskState.COMPLETE


def test_a_flow_that_changed_under_a_task_fails_it_cleanly(rig: DbosRig) -> None:
    gate = Gate()
    script = Script(acts={"two": gate})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    gate.await_reached()
    rig.close()
    changed = Script(steps=("zero", "one", "two", "three"), done=script.done)
    rig.launch([changed.flow()])
    task = ended(rig, "t")
    assert task.state is TaskState.FAILED
    assert task.error is not None
    assert task.error["code"] == "task.flow-changed"
    assert script.done == ["one", "undo failed", "ended failed"]
    rig.engine.retry("t")
    assert ended(rig, "t").state is TaskState.COMPLETE


def test_tasks_go_on_from_their_first_step_when_the_record_of_the_work_is_lost(rig: DbosRig) -> None:
    gate = Gate()
    script = Script(acts={"two": gate})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    gate.await_reached()
    rig.close()
    for path in rig.folder.glob("dbos.db*"):
        path.unlink()
    gate.open()
    rig.launch([script.flow()])
    assert ended(rig, "t").state is TaskState.COMPLETE
    assert script.done == ["one", "one", "two", "three", "ended complete"]


def test_work_that_the_library_gave_up_fails_its_task(rig: DbosRig) -> None:
    gate = Gate()
    script = Script(acts={"two": gate})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    gate.await_reached()
    rig.close()
    _change(rig, "update workflow_status set status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'")
    rig.launch([script.flow()])
    task = ended(rig, "t")
    assert task.state is TaskState.FAILED
    assert task.error is not None
    assert task.error["code"] == "task.work-lost"
    assert script.done == ["one", "undo failed", "ended failed"]


def test_work_cut_off_by_an_unforeseen_error_is_resumed(
    rig: DbosRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [2]
    genuine = rig.db.begin

    def away_now_and_then():  # the table cannot be written while a step is shown
        if armed and left[0]:
            left[0] -= 1
            raise OSError("away")
        return genuine()

    armed: list[bool] = []
    script = Script(acts={"one": lambda _: armed.append(True)})
    monkeypatch.setattr(rig.db, "begin", away_now_and_then)
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    assert ended(rig, "t").state is TaskState.COMPLETE
    assert left == [0]
    assert script.done[-3:] == ["two", "three", "ended complete"]


def test_old_tasks_and_their_work_are_forgotten_and_no_others(rig: DbosRig) -> None:
    engine = DbosEngine(
        rig.db,
        system_database_url=sqlite_url(rig.folder / "dbos.db"),
        worker="appliance",
        pace=PACE,
        times=replace(TIMES, retention_s=-DAY_S),
        leases=LeaseTimes(beat_s=0.2, dead_s=5.0),
    )
    rig.engine = engine
    waiting = Script(kind=TaskKind.CREATE_LAYER, action="Act.")
    engine.launch([Script().flow(), waiting.flow()])
    engine.start(new("old"))
    engine.start(new("waiting", kind=TaskKind.CREATE_LAYER))
    assert ended(rig, "old").state is TaskState.COMPLETE
    assert ended(rig, "waiting").state is TaskState.ACTION_REQUIRED
    until(lambda: not engine.running())
    engine.forget()
    with rig.db.read() as work:
        assert work.tasks.find("old") is None
    assert {str(row[0]) for row in _rows(rig, "select workflow_uuid from workflow_status")} == {"waiting.1"}
    engine.settle("waiting")
    assert record(rig, "waiting").result == {"by": "three"}
    until(lambda: "ended complete" in waiting.done)
