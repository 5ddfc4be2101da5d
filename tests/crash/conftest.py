from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.marks import FACTORY
from tests.crash.rig import CrashRig, Zygote, zygote


@pytest.fixture(scope="package")
def parent() -> Iterator[Zygote]:
    with zygote() as made:
        yield made


@pytest.fixture(scope="package")
def databases(parent: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Databases that have been set up once, because the library takes a second to notice new queues."""
    folder = tmp_path_factory.mktemp("databases")
    assert CrashRig(parent, folder, FACTORY).live() == 0
    return folder


@pytest.fixture
def rig(parent: Zygote, databases: Path, tmp_path: Path) -> CrashRig:
    for database in databases.glob("*.db"):
        shutil.copy(database, tmp_path)
    return CrashRig(parent, tmp_path, FACTORY)
