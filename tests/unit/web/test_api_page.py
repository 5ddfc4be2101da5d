"""docs/api.md speaks of addresses, statuses and limits that there are (OP-2)."""

from __future__ import annotations

import re
import subprocess
from typing import Any, cast

import pytest

from sekiso.errors import Family
from sekiso.model.library import Role
from sekiso.model.task import TaskState
from sekiso.web.app import create_app

from ...conftest import REPOSITORY
from .world import ROOT, World, problem, settings

PAGE = (REPOSITORY / "docs/api.md").read_text(encoding="utf-8")
SCRIPT = "".join(re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
#: Shell variables and placeholders stand for a part of an address.
_PART = re.compile(r"\$\w+|\{\w+\}|…")


def mentioned() -> list[tuple[str, str]]:
    """Each address with its method, in prose and in the example."""
    prose = re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^\s`?]*)", PAGE)
    example = re.findall(r"\bapi (GET|POST|PUT|PATCH|DELETE) \"?(/[^\s\"?)]*)", SCRIPT)
    return sorted({(method, _PART.sub("x", path)) for method, path in (*prose, *example)})


@pytest.fixture(scope="module")
def operations() -> list[tuple[str, re.Pattern[str]]]:
    # Without services it can only describe itself.
    described: dict[str, Any] = create_app(cast("Any", None)).openapi()["paths"]
    return [
        (method.upper(), re.compile(re.sub(r"\{\w+\}", "[^/]+", path.removeprefix(ROOT))))
        for path, item in described.items()
        for method in item
    ]


def test_it_mentions_what_matters() -> None:
    assert {("POST", "/session"), ("POST", "/layers/import-os"), ("GET", "/tasks/x/wait")} <= set(mentioned())


@pytest.mark.parametrize(("method", "path"), mentioned())
def test_the_address_is_there(method: str, path: str, operations: list[tuple[str, re.Pattern[str]]]) -> None:
    assert any(method == known and pattern.fullmatch(path) for known, pattern in operations)


def test_the_example_is_a_program() -> None:
    subprocess.run(["bash", "-n"], input=SCRIPT.encode(), check=True)


def test_every_role_state_and_family_is_explained() -> None:
    words = [*(role.value for role in Role), *(state.value for state in TaskState)]
    words += [family.name.lower() for family in Family]
    assert [word for word in words if f"`{word}`" not in PAGE] == []


def test_the_problem_that_is_shown_is_what_comes(world: World) -> None:
    client = world.client(Role.ADMINISTRATOR)
    values = settings(disk_format="vhdx")
    answer = client.post(f"{ROOT}/connector-configurations", json={"values": values})
    found = problem(answer, 422, "configuration.invalid")
    for text in (found["title"], found["detail"], found["resolution"], found["errors"][0]["code"]):
        assert f'"{text}"' in PAGE
