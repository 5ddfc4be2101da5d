"""Tasks: transitions, listings, logs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekiso.errors import NotFoundError
from sekiso.model.names import comparable_name
from sekiso.model.task import (
    TRANSITIONS,
    LogLine,
    Subject,
    SubjectKind,
    TaskFilter,
    TaskKind,
    TaskRecord,
    TaskState,
)
from sekiso.store.database.database import Database

from . import samples


class RolledBackError(Exception):
    """Ends an example without a trace."""


def test_a_task_moves_as_the_table_says(db: Database) -> None:
    with db.begin() as work:
        for before, after in product(TaskState, TaskState):
            task = samples.task(f"{before} to {after}", state=before)
            work.tasks.add(task)
            moved = work.tasks.move(task.id, after, step="now", percent=50.0, result={"a": 1})
            expected = replace(task, state=after, step="now", percent=50.0, result={"a": 1})
            assert moved == (expected if after in TRANSITIONS[before] else None)
            assert work.tasks.get(task.id) == (moved or task)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.lists(st.sampled_from(TaskState), max_size=12))
def test_no_path_leaves_the_table(db: Database, path: list[TaskState]) -> None:
    state = TaskState.QUEUED
    with pytest.raises(RolledBackError), db.begin() as work:
        work.tasks.add(samples.task("t"))
        for wanted in path:
            moved = work.tasks.move("t", wanted)
            assert (moved is not None) is (wanted in TRANSITIONS[state])
            state = wanted if moved is not None else state
            assert work.tasks.get("t").state is state
        raise RolledBackError


def test_one_of_many_moves_a_task(db: Database, other: Database) -> None:
    with db.begin() as work:
        work.tasks.add(samples.task("t"))

    def start(number: int) -> bool:
        with (db if number % 2 else other).begin() as work:
            return work.tasks.move("t", TaskState.RUNNING, step=str(number)) is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(start, range(8))) == 1


def test_what_can_be_changed(db: Database) -> None:
    with db.begin() as work:
        work.tasks.add(samples.task("t"))
        work.tasks.report("t", done=2**40, total=2**41, unit="bytes", action="Look.", requested_by="Bob")
        work.tasks.report("t")
        work.tasks.report("forgotten", step="x")
        assert work.tasks.get("t") == samples.task(
            "t", done=2**40, total=2**41, unit="bytes", action="Look.", requested_by="Bob"
        )
        assert [t.id for t in work.tasks.list(TaskFilter(text="bob"))] == ["t"]
        for name in ("id", "state", "kind", "subjects", "created_s", "nonsense", "requested_by_key"):
            with pytest.raises(TypeError, match=name):
                work.tasks.report("t", **{name: "x"})
            with pytest.raises(TypeError, match=name):
                work.tasks.move("t", TaskState.RUNNING, **{name: "x"})
        with pytest.raises(NotFoundError):
            work.tasks.move("nothing", TaskState.RUNNING)


NAMES = ["Desktop", "ＤESK top", "100%", "a_b", "層", "o'neil", ""]
SUBJECTS = st.builds(
    Subject, st.sampled_from(SubjectKind), st.sampled_from(["s1", "s2", "s3"]), st.sampled_from(NAMES)
)
TASKS = st.lists(
    st.builds(
        TaskRecord,
        id=st.uuids().map(str),
        kind=st.sampled_from(TaskKind),
        state=st.sampled_from(TaskState),
        subjects=st.lists(SUBJECTS, max_size=3).map(tuple),
        params=st.just({}),
        requested_by=st.sampled_from(NAMES),
        created_s=st.integers(0, 9).map(float),
    ),
    max_size=12,
    unique_by=lambda task: task.id,
)
FILTERS = st.builds(
    TaskFilter,
    states=st.none() | st.frozensets(st.sampled_from(TaskState)),
    kinds=st.none() | st.frozensets(st.sampled_from(TaskKind)),
    subject_id=st.none() | st.sampled_from(["s1", "s2", "nothing"]),
    text=st.none() | st.sampled_from([*NAMES, "desk", "DESK", "%", "_", "\0", " "]),
    before_s=st.none() | st.integers(0, 9).map(float),
    limit=st.sampled_from([100, 3, 1, 0, -1, 2**70]),
)


def matching(tasks: Sequence[TaskRecord], which: TaskFilter) -> list[TaskRecord]:
    """What a filter lets through, said in Python."""
    text = comparable_name((which.text or "").replace("\0", "\ufffd"))

    def fits(task: TaskRecord) -> bool:
        names = [comparable_name(name) for name in (task.requested_by, *(s.name for s in task.subjects))]
        return (
            (which.states is None or task.state in which.states)
            and (which.kinds is None or task.kind in which.kinds)
            and (which.subject_id is None or any(s.id == which.subject_id for s in task.subjects))
            and any(text in name for name in names)
            and (which.before_s is None or task.created_s < which.before_s)
        )

    newest_first = sorted(tasks, key=lambda task: (task.created_s, task.id), reverse=True)
    return [task for task in newest_first if fits(task)][: max(0, which.limit)]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tasks=TASKS, which=FILTERS)
def test_lists_what_matches(db: Database, tasks: list[TaskRecord], which: TaskFilter) -> None:
    with pytest.raises(RolledBackError), db.begin() as work:
        for task in tasks:
            work.tasks.add(task)
        assert list(work.tasks.list(which)) == matching(tasks, which)
        raise RolledBackError


def test_log_lines_are_numbered_within_their_task(db: Database, other: Database) -> None:
    with db.begin() as work:
        work.tasks.add(samples.task("a"))
        work.tasks.add(samples.task("b"))
        work.tasks.log("b", "other")

    def write(number: int) -> None:
        with (db if number % 2 else other).begin() as work:
            work.tasks.log("a", f"line\0 {number} 層")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(20)))
    with db.begin() as work:
        lines = work.tasks.log_lines("a")
        assert [line.number for line in lines] == list(range(1, 21))
        assert sorted(line.text for line in lines) == sorted(f"line\ufffd {n} 層" for n in range(20))
        assert all(line.time_s > 1_700_000_000 for line in lines)
        assert work.tasks.log_lines("a", after=18) == lines[18:]
        assert work.tasks.log_lines("a", after=3, limit=2) == lines[3:5]
        assert work.tasks.log_lines("a", after=2**80) == work.tasks.log_lines("nothing") == ()
        assert work.tasks.log_lines("a", after=-5, limit=1) == lines[:1]
        (line,) = work.tasks.log_lines("b")
        assert line == LogLine(1, line.time_s, "other")
        with pytest.raises(NotFoundError):
            work.tasks.log("nothing", "x")


def test_old_tasks_are_forgotten_with_their_logs(db: Database) -> None:
    with db.begin() as work:
        for state in TaskState:
            work.tasks.add(samples.task(f"old {state}", state=state, ended_s=1.0))
            work.tasks.add(samples.task(f"new {state}", state=state, ended_s=2.0))
            work.tasks.add(samples.task(f"none {state}", state=state))
        work.tasks.log("old complete", "x")
        assert work.tasks.forget_ended_before(2.0) == 3
        assert work.tasks.log_lines("old complete") == ()
        left = {task.id for task in work.tasks.all()}
        assert {f"old {state}" for state in TaskState if not state.ended} <= left
        assert len(left) == 3 * len(TaskState) - 3
