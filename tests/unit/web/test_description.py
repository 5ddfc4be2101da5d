"""The description of the API is complete (OpenAPI 3.1)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .world import ROOT, World


@pytest.fixture(scope="module")
def description(quiet_world: World) -> dict[str, Any]:
    found: dict[str, Any] = quiet_world.client().get(f"{ROOT}/openapi.json").json()
    return found


@pytest.fixture(scope="module")
def operations(description: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for methods in description["paths"].values() for operation in methods.values()]


def test_its_version(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1")
    assert all(path.startswith(ROOT) for path in description["paths"])


def test_every_operation_says_what_it_does(
    description: dict[str, Any], operations: list[dict[str, Any]]
) -> None:
    identifiers = [operation["operationId"] for operation in operations]
    assert len(set(identifiers)) == len(identifiers)
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", identifier) for identifier in identifiers)
    topics = {tag["name"] for tag in description["tags"]}
    used = {tag for operation in operations for tag in operation["tags"]}
    assert used == topics
    for operation in operations:
        assert re.fullmatch("[A-Z].{4,110}[^.]", operation["summary"]), operation["summary"]


def test_every_operation_names_its_problems(operations: list[dict[str, Any]]) -> None:
    for operation in operations:
        answers = operation["responses"]
        wanted = {"401", "403", "404", "409"} if operation["security"] else {"422", "500"}
        assert wanted <= set(answers), operation["operationId"]
        for status, answer in answers.items():
            if status >= "400":
                schema = answer["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}
                assert list(answer["content"]) == ["application/problem+json"]


def test_what_needs_no_login(operations: list[dict[str, Any]]) -> None:
    open_ones = {operation["operationId"] for operation in operations if not operation["security"]}
    assert open_ones == {"get_health", "log_in", "register_agent"}


def test_every_answer_has_a_form(operations: list[dict[str, Any]]) -> None:
    formless = {
        operation["operationId"]
        for operation in operations
        for status, answer in operation["responses"].items()
        if status < "300" and status != "204" and not answer.get("content")
    }
    assert formless == set()


def test_bodies_refuse_unknown_keys_and_have_limits(
    description: dict[str, Any], operations: list[dict[str, Any]]
) -> None:
    schemas = description["components"]["schemas"]
    bodies = {
        ref.rpartition("/")[2]
        for operation in operations
        for ref in re.findall(r"#/components/schemas/\w+", str(operation.get("requestBody", "")))
    }
    assert len(bodies) > 20
    for name in bodies:
        assert schemas[name]["additionalProperties"] is False, name
        for field, schema in schemas[name]["properties"].items():
            for kind in schema.get("anyOf", [schema]):
                if kind.get("type") == "string":
                    assert "maxLength" in kind or "pattern" in kind or "enum" in kind, (name, field)


def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]
    assert set(re.findall(r"#/components/schemas/([\w-]+)", str(description))) <= set(schemas)
