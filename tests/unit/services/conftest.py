from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ...support.appliance import Appliance, open_appliance


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    with open_appliance(tmp_path / "state") as found:
        yield found
