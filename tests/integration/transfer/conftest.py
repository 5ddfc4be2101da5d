from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.transfer.rig import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path).start()
    yield running
    running.kill_group()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for tests that leave it as it was."""
    running = Server(tmp_path_factory.mktemp("server")).start()
    yield running
    running.kill_group()
