from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.rig import Zygote, zygote
from tests.support.postgres import PostgresCluster, postgres_cluster


@pytest.fixture(scope="package")
def parent() -> Iterator[Zygote]:
    with zygote() as made:
        yield made


@pytest.fixture(scope="package")
def cluster() -> Iterator[PostgresCluster]:
    with postgres_cluster() as made:
        yield made
