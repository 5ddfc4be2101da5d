"""Listings stay quick when there is much to list: by the clock, and by the indexes that are used."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert

from sekiso.model.layer import LayerKind
from sekiso.model.library import AgentRecord, LayerRecord, VersionRecord, VersionState
from sekiso.model.machine import Generation
from sekiso.model.task import Subject, SubjectKind, TaskFilter, TaskKind, TaskRecord, TaskState
from sekiso.store.database.api import UnitOfWork
from sekiso.store.database.database import Database, open_database, sqlite_url

LAYERS = 10_000
TASKS = 3_000
AGENTS = 100

LAYER = LayerRecord("", LayerKind.APP, "", "", "", 0, None, None, 0.0)
VERSION = VersionRecord("", "", "1", "", VersionState.DEPLOYABLE, Generation.ONE)
TASK = TaskRecord("", TaskKind.PUBLISH_IMAGE, TaskState.COMPLETE, (), {"a": [1] * 20}, "admin", ended_s=1.0)


def numbered_task(number: int) -> TaskRecord:
    subject = Subject(SubjectKind.TEMPLATE, f"t{number % 50}", f"Template {number % 50}")
    return replace(TASK, id=str(number), subjects=(subject,), created_s=float(number))


def put_in_bulk(rows: Any, records: list[Any]) -> None:
    """Store records as `add` does, many at once."""
    split = [rows._split(record) for record in records]
    rows._connection.execute(insert(rows.table), [values for values, _ in split])
    for field in rows.list_fields:
        items = [
            {field.owner.name: values["id"], "position": position, **field.columns(item)}
            for values, lists in split
            for position, item in enumerate(lists[field.name])
        ]
        rows._connection.execute(insert(field.table), items)


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    path: Path = tmp_path_factory.mktemp("much") / "sekiso.db"
    with closing(open_database(sqlite_url(path))) as database:
        with database.begin() as work:
            for number in range(AGENTS):
                work.agents.add(AgentRecord(f"a{number}", f"Agent {number}", ""))
            put_in_bulk(work.layers, [replace(LAYER, id=f"l{n}", name=f"Layer {n}") for n in range(LAYERS)])
            for number in range(200):
                work.versions.add(
                    replace(VERSION, id=f"v{number}", layer_id=f"l{number}", identity=f"{number:064}")
                )
            put_in_bulk(work.tasks, [numbered_task(number) for number in range(TASKS)])
        yield database


LISTINGS: dict[str, tuple[Callable[[UnitOfWork], Any], int, float]] = {
    "all layers": (lambda work: work.layers.all(), LAYERS, 0.5),
    "agents": (lambda work: work.agents.all(), AGENTS, 0.05),
    "newest tasks": (lambda work: work.tasks.list(TaskFilter()), 100, 0.05),
    "many tasks": (lambda work: work.tasks.list(TaskFilter(limit=TASKS)), TASKS, 0.5),
    "failed tasks": (lambda work: work.tasks.list(TaskFilter(frozenset({TaskState.FAILED}))), 0, 0.05),
    "tasks about": (lambda work: work.tasks.list(TaskFilter(subject_id="t7")), 60, 0.05),
    "tasks by text": (lambda work: work.tasks.list(TaskFilter(text="plate 7")), 60, 0.05),
    "versions": (lambda work: work.versions.of_layer("l7"), 1, 0.05),
}


@pytest.mark.parametrize("name", LISTINGS)
def test_lists_quickly(db: Database, name: str) -> None:
    listing, count, limit_s = LISTINGS[name]
    times: list[float] = []
    for _ in range(4):
        with db.read() as work:
            begun = time.perf_counter()
            assert len(listing(work)) == count
            times.append(time.perf_counter() - begun)
    print(f"{name}: {min(times) * 1000:.1f} ms")
    assert min(times) < limit_s


LOOK_UPS: dict[str, Callable[[UnitOfWork], Any]] = {
    "layer": lambda work: work.layers.by_reference("layer 77", LayerKind.APP),
    "agent": lambda work: work.agents.by_reference("agent 7"),
    "identity": lambda work: work.versions.by_identity(f"{7:064}"),
    "version users": lambda work: work.versions.users_of("v7"),
    "configuration users": lambda work: work.configurations.users_of("c7"),
    "image of template": lambda work: work.images.of_template("t7"),
    "newest tasks": lambda work: work.tasks.list(TaskFilter(limit=3)),
    "tasks of a state": lambda work: work.tasks.list(TaskFilter(frozenset({TaskState.RUNNING}))),
    "tasks about": lambda work: work.tasks.list(TaskFilter(subject_id="t7")),
    "log": lambda work: work.tasks.log_lines("7"),
    "secret": lambda work: work.credentials.by_secret("x"),
    "credentials": lambda work: work.credentials.of_user("x"),
    "audit": lambda work: work.audit.list(before=5),
    "audit of a subject": lambda work: work.audit.list(subject_id="x"),
    "history": lambda work: work.templates.history("x"),
}


@pytest.mark.parametrize("name", LOOK_UPS)
def test_nothing_is_looked_for_from_front_to_back(db: Database, name: str) -> None:
    plans: list[str] = []

    def explain(connection: Connection, _cursor: Any, text: str, values: Any, *_: Any) -> None:
        if text.startswith("SELECT"):
            raw = connection.connection.cursor()
            plans.extend(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {text}", values))
            raw.close()

    with db.read() as work:
        connection: Connection = work.users._connection  # type: ignore[attr-defined]
        event.listen(connection, "before_cursor_execute", explain)
        LOOK_UPS[name](work)
    assert plans
    assert [plan for plan in plans if is_scan(plan)] == []


def is_scan(plan: str) -> bool:
    """Whether a line of a plan reads a whole table; reading along an index, or a result, is none."""
    is_result = plan.endswith(("ROW", "SUBQUERY")) or plan.startswith("SCAN anon_")
    return plan.startswith("SCAN") and " USING " not in plan and not is_result


def test_the_plan_of_a_search_through_everything_is_recognized(db: Database) -> None:
    with db.read() as work:
        connection: Connection = work.users._connection  # type: ignore[attr-defined]
        rows = connection.exec_driver_sql("EXPLAIN QUERY PLAN SELECT * FROM layers WHERE notes = 'x'")
        assert any(is_scan(row[3]) for row in rows)
