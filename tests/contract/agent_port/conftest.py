"""Every test here runs on agents in memory and on hub and service over TLS; `link` is the latter alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sekiso.agent import service
from sekiso.agent.link import desk
from sekiso.store.database.database import Database, open_database, sqlite_url

from .rigs import LinkRig, MemoryRig, Rig


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without content."""
    path = tmp_path_factory.mktemp("migrated") / "sekiso.db"
    open_database(sqlite_url(path)).close()
    return path


@pytest.fixture
def db(migrated: Path, tmp_path: Path) -> Iterator[Database]:
    shutil.copy(migrated, tmp_path / "sekiso.db")
    database = open_database(sqlite_url(tmp_path / "sekiso.db"))
    yield database
    database.close()


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "_POLL_S", 0.03)
    monkeypatch.setattr(service, "_FIRST_DELAY_S", 0.03)
    monkeypatch.setattr(service, "_LONGEST_DELAY_S", 0.1)
    monkeypatch.setattr(service, "_PROGRESS_S", 0.05)


@pytest.fixture
def link(db: Database, tmp_path: Path) -> Iterator[LinkRig]:
    rig = LinkRig(tmp_path, db)
    yield rig
    rig.close()


@pytest.fixture(params=["memory", "link"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if request.param == "link":
        yield request.getfixturevalue("link")
        return
    memory = MemoryRig()
    yield memory
    memory.close()
