"""A world behind the REST API; its database is migrated once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sekiso.store.database.database import open_database, sqlite_url

from .world import World, make_world


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "sekiso.db"
    open_database(sqlite_url(path)).close()
    return path


@pytest.fixture
def world(empty_database: Path, tmp_path: Path) -> Iterator[World]:
    shutil.copy(empty_database, tmp_path / "sekiso.db")
    db = open_database(sqlite_url(tmp_path / "sekiso.db"))
    made = make_world(tmp_path, db)
    yield made
    made.engine.close()
    db.close()
