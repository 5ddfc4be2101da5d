"""What health and metrics ask of a database (OP-4)."""

from __future__ import annotations

from sekiso.model.task import TaskKind, TaskState
from sekiso.store.database.api import TaskStatistic
from sekiso.store.database.database import Database
from sekiso.store.database.tables import METADATA

from . import samples


def test_statistics_of_tasks(db: Database) -> None:
    with db.begin() as work:
        assert list(work.tasks.statistics()) == []
        for number, (started_s, ended_s) in enumerate(((10.0, 20.0), (10.0, 40.0), (None, 50.0))):
            work.tasks.add(
                samples.task(
                    f"failed {number}",
                    kind=TaskKind.IMPORT_OS,
                    state=TaskState.FAILED,
                    started_s=started_s,
                    ended_s=ended_s,
                )
            )
        work.tasks.add(samples.task("queued", kind=TaskKind.BOOT_TEST, state=TaskState.QUEUED))
    with db.read() as work:
        found = list(work.tasks.statistics())
    assert found == [
        TaskStatistic(TaskKind.BOOT_TEST, TaskState.QUEUED, 1, 0, 0.0, 0.0),
        TaskStatistic(TaskKind.IMPORT_OS, TaskState.FAILED, 3, 2, 40.0, 30.0),
    ]


def test_facts(db: Database, dialect: str) -> None:
    facts = db.facts()
    assert facts.kind == dialect
    assert facts.revision >= "0003"
    assert facts.size_bytes > len(METADATA.tables) * 1024
    assert facts.connections_used >= 0 and facts.connections_idle >= 0
    with db.read():
        assert db.facts().connections_used >= facts.connections_used
