from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.transfer.rigs import DiskRig, MemoryRig, StoreRig


@pytest.fixture(params=["memory", "disk"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> StoreRig:
    return MemoryRig(tmp_path) if request.param == "memory" else DiskRig(tmp_path)
