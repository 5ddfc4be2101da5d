"""A bounded number of mutants of every seed; `python -m tests.fuzz.disks` tries them without end."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekiso.disks.fat_reader import FatVolume
from sekiso.disks.partitions import read_partition_table
from sekiso.errors import SekisoError
from tests.fuzz.disks.seeds import Seed, make_seeds, mutate
from tests.unit.disks.builders import MemoryBlocks

NAMES = ["vhd", "vhd-child", "vhdx", "vhdx-log", "vhdx-child", "qcow2", "gpt", "mbr", "fat16", "fat32"]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seed]:
    return {s.name: s for s in make_seeds(tmp_path_factory.mktemp("seeds"))}


@pytest.mark.parametrize("name", NAMES)
def test_mutants_give_data_or_a_typed_error(seeds: dict[str, Seed], name: str, tmp_path: Path) -> None:
    rng = random.Random(2024)
    for _ in range(40):
        with contextlib.suppress(SekisoError):
            seeds[name].exercise(mutate(seeds[name], rng), tmp_path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=2048), st.booleans())
def test_any_bytes_are_a_table_or_refused(data: bytes, boot_sector: bool) -> None:
    if boot_sector:
        data = data[:510].ljust(510, b"\0") + b"\x55\xaa" + data[510:]
    with contextlib.suppress(SekisoError):
        read_partition_table(MemoryBlocks(data))
    with contextlib.suppress(SekisoError):
        list(FatVolume(MemoryBlocks(data)).walk())
