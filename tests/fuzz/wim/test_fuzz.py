from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekiso.wim.metadata import serialize_metadata

from .harness import Judge, mutate, mutate_structure, seed_tree, seed_wims, with_right_hashes

METADATA = serialize_metadata(seed_tree())


def test_mutated_metadata_is_refused_or_read(tmp_path: Path) -> None:
    judge = Judge(tmp_path)
    for seed in range(700):
        judge.metadata(mutate(METADATA, random.Random(seed)))
    assert judge.outcomes["metadata: accepted"] > 50
    assert judge.outcomes["metadata: input.damaged"] > 100


@given(st.binary(max_size=400))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_refused_or_read(tmp_path: Path, data: bytes) -> None:
    Judge(tmp_path).metadata(data)
    Judge(tmp_path).metadata(b"\x08\0\0\0\0\0\0\0" + data)
    Judge(tmp_path).wim(data)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return seed_wims(tmp_path_factory.mktemp("seeds"))


def test_mutated_files_are_refused_or_read(tmp_path: Path, seeds: list[bytes]) -> None:
    judge = Judge(tmp_path)
    for seed in range(60):
        rng = random.Random(seed)
        judge.wim(mutate(seeds[seed % 4] if seed % 10 == 0 else seeds[0], rng), with_libwim=seed % 40 == 0)
        judge.wim(with_right_hashes(seeds[0], rng))
        if seed % 5 == 0:
            judge.wim(mutate_structure(seeds[seed // 5 % 4], rng))
    assert judge.outcomes["wim: accepted"] > 10
    assert judge.outcomes["wim: input.damaged"] > 5
