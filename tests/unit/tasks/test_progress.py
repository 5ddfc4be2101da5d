from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sekiso.errors import SekisoError
from sekiso.model.task import Subject, SubjectKind, TaskKind, TaskRecord, TaskState
from sekiso.store.database.api import UnitOfWork
from sekiso.store.database.database import Database, open_database, sqlite_url
from sekiso.tasks.context import Plan, StepContext, as_error, plain
from sekiso.tasks.errors import StoppingError
from sekiso.tasks.port import Flow, FlowContext, Step
from sekiso.tasks.progress import Pace, Share, StepProgress

TASK = TaskRecord(
    id="t",
    kind=TaskKind.IMPORT_OS,
    state=TaskState.QUEUED,
    subjects=(Subject(SubjectKind.LAYER, "l", "L"),),
    params={},
    requested_by="admin",
)


class Counting:
    """Counts transactions; can be out of order."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.count = 0
        self.broken = False

    @contextlib.contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        self.count += 1
        if self.broken:
            raise OSError("away")
        with self._db.begin() as work:
            yield work

    @contextlib.contextmanager
    def read(self) -> Iterator[UnitOfWork]:
        self.count += 1
        if self.broken:
            raise OSError("away")
        with self._db.read() as work:
            yield work


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Counting]:
    made = open_database(sqlite_url(tmp_path / "sekiso.db"))
    with made.begin() as work:
        work.tasks.add(TASK)
        work.tasks.move("t", TaskState.RUNNING)
    yield Counting(made)
    made.close()


def _never() -> bool:
    return False


def _progress(
    db: Counting, *, pace: Pace | None = None, stopping: Callable[[], bool] = _never, **more: Any
) -> StepProgress:
    return StepProgress(
        db,
        "t",
        share=Share(20.0, 60.0),
        percent=25.0,
        pace=pace or Pace(report_s=3600.0, canceled_s=3600.0),
        stopping=stopping,
        hinted=more.pop("hinted", _never),
        **more,
    )


def _task(db: Counting) -> TaskRecord:
    with db.begin() as work:
        return work.tasks.get("t")


def test_reports_are_kept_apart(db: Counting) -> None:
    progress = _progress(db, pace=Pace(report_s=0.1))
    progress.step("copy", total=1000)
    began_s, before = time.monotonic(), db.count
    for done in range(1000):
        progress.advance(done)
    assert db.count - before <= 1 + (time.monotonic() - began_s) / 0.1


def test_percent_is_the_share_and_never_below_what_was_shown(db: Counting) -> None:
    progress = _progress(db, pace=Pace(report_s=0.0))
    progress.step("copy", total=100)
    assert _task(db).percent == 25.0
    progress.advance(50)
    assert _task(db).percent == 40.0
    progress.step("verify", total=100)
    assert _task(db).percent == 40.0
    progress.advance(1000)
    assert _task(db).percent == 60.0
    progress.step("unknown")
    assert (_task(db).total, _task(db).percent) == (None, 60.0)


@pytest.mark.parametrize(("total", "unit"), [(1 << 20, "bytes"), ((1 << 20) - 1, ""), (None, ""), (0, "")])
def test_large_totals_are_bytes(db: Counting, total: int | None, unit: str) -> None:
    progress = _progress(db)
    progress.step("copy", total=total)
    progress.flush()
    assert (_task(db).unit, _task(db).total) == (unit, total)


def test_cancellation_is_looked_up_now_and_then(db: Counting) -> None:
    progress = _progress(db, pace=Pace(canceled_s=0.05))
    assert not progress.canceled()
    with db.begin() as work:
        work.tasks.move("t", TaskState.CANCELING)
    before = db.count
    assert not progress.canceled()
    assert db.count == before
    time.sleep(0.06)
    assert progress.canceled()
    assert db.count == before + 1
    assert progress.canceled()
    assert db.count == before + 1


def test_a_hint_needs_no_look(db: Counting) -> None:
    before = db.count
    assert _progress(db, hinted=lambda: True).canceled()
    assert not _progress(db, hinted=lambda: True, cancelable=False).canceled()
    assert db.count == before


def test_stopping_cuts_off_and_is_no_ordinary_exception(db: Counting) -> None:
    progress = _progress(db, stopping=lambda: True)
    for call in (progress.canceled, lambda: progress.advance(1), lambda: progress.step("x")):
        with pytest.raises(StoppingError):
            call()
    assert not issubclass(StoppingError, Exception)


def test_work_goes_on_without_a_database(db: Counting, caplog: pytest.LogCaptureFixture) -> None:
    progress = _progress(db, pace=Pace(report_s=0.0, canceled_s=0.0))
    ctx = StepContext(db, TASK, "one", {}, progress)
    db.broken = True
    progress.step("copy", total=10)
    progress.advance(3)
    assert not progress.canceled()
    ctx.log("Hello.")
    assert "could not be recorded" in caplog.text
    assert "Hello." in caplog.text


def test_shares_are_judged_by_what_is_known() -> None:
    def broken(ctx: FlowContext) -> bool:
        return bool(ctx.results["two"])

    def run(_: FlowContext) -> dict[str, Any]:
        return {}

    one, two = Step("one", "One", 1.0, run), Step("two", "Two", 2.0, run)
    three, four = Step("three", "Three", 3.0, run, broken), Step("four", "Four", 4.0, run, lambda _: False)
    flow = Flow(TaskKind.IMPORT_OS, (one, two, three, four), lambda _c, _r: None, lambda _c, _s: None)
    plan = Plan(flow)

    def ctx(*done: str) -> StepContext:
        return StepContext(Nowhere(), TASK, "x", {name: {} for name in done}, progress=NoProgress())

    def share(step: Step, *done: str) -> tuple[float, float]:
        found = plan.share(step, ctx(*done))
        return round(found.start, 1), round(found.end, 1)

    assert share(one) == (0.0, 16.7)
    assert share(two, "one") == (16.7, 50.0)
    assert share(three, "one", "two") == (50.0, 100.0)
    assert share(four, "two") == (33.3, 100.0)


class Nowhere:
    def begin(self) -> Any:
        raise AssertionError

    def read(self) -> Any:
        raise AssertionError


class NoProgress:
    def step(self, name: str, *, total: int | None = None) -> None: ...
    def advance(self, done: int) -> None: ...
    def canceled(self) -> bool:
        return False


def test_plain_results() -> None:
    assert plain({"a": (1, 2), "b": "\udc80"}) == {"a": [1, 2], "b": "\udc80"}
    for bad in ([], {"a": {1}}, {"a": float("inf")}, None):
        with pytest.raises(SekisoError):
            plain(bad)
    assert as_error(OSError("disk")).params == {"reason": "OSError: disk"}
