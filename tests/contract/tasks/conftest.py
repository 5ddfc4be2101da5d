from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.tasks.rigs import DbosRig, EngineRig, MemoryRig


@pytest.fixture(params=["memory", "dbos"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EngineRig]:
    made = MemoryRig(tmp_path) if request.param == "memory" else DbosRig(tmp_path)
    yield made
    made.dispose()
