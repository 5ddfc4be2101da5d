"""Worlds behind the REST API; one is made, the others are copies of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sekiso.model.library import Role

from .world import World, fill, make_world

Make = Callable[[Path], World]


@pytest.fixture(scope="session")
def new_world(tmp_path_factory: pytest.TempPathFactory) -> Make:
    original = tmp_path_factory.mktemp("original") / "state"
    original.mkdir()
    first = make_world(original)
    fill(first)
    first.close()

    def make(folder: Path) -> World:
        return make_world(shutil.copytree(original, folder / "state"))

    return make


@pytest.fixture
def world(new_world: Make, tmp_path: Path) -> Iterator[World]:
    """A world for one test."""
    made = new_world(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def quiet_world(new_world: Make, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world for tests that change nothing."""
    made = new_world(tmp_path_factory.mktemp("quiet"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def quiet_tokens(quiet_world: World) -> dict[Role, str]:
    """API tokens in the quiet world, one for each role."""
    return {role: quiet_world.token(role) for role in Role}
