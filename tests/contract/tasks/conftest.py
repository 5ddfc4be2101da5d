from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.tasks.rigs import DbosRig, EngineRig, MemoryRig


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Databases that have been set up once, because the library takes a second to notice new queues."""
    folder = tmp_path_factory.mktemp("task-databases", numbered=False)
    rig = DbosRig(folder)
    rig.launch([])
    rig.dispose()
    return folder


@pytest.fixture(params=["memory", "dbos"])
def rig(request: pytest.FixtureRequest, template: Path, tmp_path: Path) -> Iterator[EngineRig]:
    assert template.is_dir()
    made = MemoryRig(tmp_path) if request.param == "memory" else DbosRig(tmp_path)
    yield made
    made.dispose()
