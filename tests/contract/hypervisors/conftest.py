from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sekiso.hypervisors.facts import MachineState
from tests.contract.hypervisors.rigs import MemoryRig, QemuRig, Rig


@pytest.fixture(scope="session")
def guest_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guests")


def _rig(kind: str, folder: Path, cache: Path) -> Iterator[Rig]:
    rig: Rig = MemoryRig(folder) if kind == "memory" else QemuRig(folder, cache)
    yield rig
    for machine in rig.driver.list_machines():
        if machine.state is not MachineState.OFF:
            rig.driver.turn_off(machine.id)


@pytest.fixture(params=["memory", "qemu"])
def rig(request: pytest.FixtureRequest, tmp_path: Path, guest_cache: Path) -> Iterator[Rig]:
    """A host for tests that start no machine."""
    yield from _rig(request.param, tmp_path, guest_cache)


@pytest.fixture(params=["memory", pytest.param("qemu", marks=pytest.mark.boot)])
def live(request: pytest.FixtureRequest, tmp_path: Path, guest_cache: Path) -> Iterator[Rig]:
    """A host for tests that start machines."""
    yield from _rig(request.param, tmp_path, guest_cache)
