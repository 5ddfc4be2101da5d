from __future__ import annotations

from collections.abc import Iterator

import pytest

from ...support.appliance import Appliance, open_appliance, state_folder


@pytest.fixture
def appliance() -> Iterator[Appliance]:
    with state_folder() as folder, open_appliance(folder) as found:
        yield found


@pytest.fixture(scope="module")
def module_appliance() -> Iterator[Appliance]:
    """One for many examples, which leave it as they found it."""
    with state_folder() as folder, open_appliance(folder) as found:
        yield found
