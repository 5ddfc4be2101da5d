"""Form, schema and decoding derive from the declaration (CC-1, CC-6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso.connectors.base import Condition, Declaration, FieldKind, SettingField
from sekiso.connectors.decoding import decode, from_text, range_violations, shown_values, values_of
from sekiso.connectors.form import FormField, describe_form
from sekiso.connectors.hyperv.connector import HyperVConnector
from sekiso.connectors.hyperv.rules import violations
from sekiso.connectors.hyperv.settings import HYPERV, HyperVSettings
from sekiso.connectors.registry import connector, connectors
from sekiso.connectors.schema import json_schema
from sekiso.errors import NotFoundError

from .hyperv.examples import AROUND, GOOD, UEFI


@dataclass(frozen=True, slots=True)
class Login:
    user: str = "admin"
    password: str | None = None


LOGIN = Declaration(
    "login",
    "Login",
    "An account with a password.",
    Login,
    (
        SettingField("user", FieldKind.TEXT, "User", "Who it is, by name.", default="admin", max_chars=8),
        SettingField(
            "password",
            FieldKind.TEXT,
            "Password",
            "Known to nobody else but you.",
            secret=True,
            shown_when=(Condition("user", ("admin",)),),
        ),
    ),
)


def test_cc_1_defaults() -> None:
    minimal: dict[str, Any] = {"name": "n", "agent": "a", "storage_path": "C:\\x"}
    settings = decode(HYPERV, minimal)
    assert settings == HyperVSettings("n", "a", "C:\\x")
    assert isinstance(settings, HyperVSettings)
    assert (settings.cpus, settings.memory_mb, settings.offload) == (4, 8192, False)
    assert {**HYPERV.defaults(), **minimal} == values_of(HYPERV, settings)


def test_everything_wrong_is_told_at_once() -> None:
    found = decode(HYPERV, {"cpus": "4", "offload": 1, "no": 1, "generation": 9, 5: 5})
    assert isinstance(found, tuple)
    assert {v.field for v in found} == {
        *("cpus", "offload", "no", "generation", "5"),
        *("name", "agent", "storage_path"),
    }


json_values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from([f.name for f in HYPERV.fields] + ["x\x1b"]), json_values))
def test_decoding_keeps_values_or_refuses(values: dict[str, Any]) -> None:
    found = decode(HYPERV, values)
    if isinstance(found, HyperVSettings):
        assert values_of(HYPERV, found).items() >= values.items()
    else:
        assert all(v.reason.isprintable() and v.reason.endswith(".") for v in found)


def test_form_texts() -> None:
    typed = {
        "name": " Lab ",
        "agent": "hv01",
        "storage_path": "C:\\vm",
        "network": "LAN",
        "cpus": "8",
        "memory_mb": "much",
        "template_vm": "",
        "offload": "on",
        "generation": "2",
        "disk_format": "vhdx",
    }
    values = from_text(HYPERV, typed)
    assert values["name"] == "Lab"
    assert (values["cpus"], values["offload"], values["generation"]) == (8, True, 2)
    assert values["template_vm"] is None
    found = decode(HYPERV, values)
    assert isinstance(found, tuple)
    assert [(v.field, v.code) for v in found] == [("memory_mb", "wrong-type")]
    assert isinstance(decode(HYPERV, {**values, "memory_mb": 2048}), HyperVSettings)
    assert from_text(HYPERV, {})["offload"] is False


def fields(values: dict[str, Any], language: str = "en") -> dict[str, FormField]:
    offers = HyperVConnector().offers(values, AROUND)
    problems = violations(GOOD, AROUND)
    sections = describe_form(HYPERV, values, offers=offers, violations=problems, language=language)
    return {f.name: f for s in sections for f in s.fields}


def test_form_reacts() -> None:
    plain = fields({"offload": False})
    assert [(c.value, c.offered) for c in plain["generation"].choices] == [(1, True), (2, False)]
    assert plain["generation"].choices[1].reason == "Generation 2 needs offload compositing."
    assert plain["cpus"].enabled
    assert (plain["cpus"].value, plain["cpus"].minimum, plain["cpus"].maximum) == (4, 1, 240)
    with_template = fields({"offload": True, "template_vm": UEFI.id})
    assert not with_template["cpus"].enabled
    assert [c.offered for c in with_template["generation"].choices] == [False, True]
    assert [c.label for c in with_template["network"].choices] == ["LAN", "DMZ"]


def test_form_shows_problems() -> None:
    bad = decode(HYPERV, {"cpus": "x"})
    assert isinstance(bad, tuple)
    sections = describe_form(HYPERV, {"cpus": "x"}, violations=bad)
    found = {f.name: [p.code for p in f.problems] for s in sections for f in s.fields}
    assert (found["cpus"], found["name"], found["offload"]) == (["wrong-type"], ["missing"], [])
    assert [s.label for s in sections] == [
        *("General", "Hyper-V configuration", "Virtual machine settings", "Storage settings")
    ]


def test_schema() -> None:
    schema = json_schema(HYPERV)
    assert schema["required"] == ["name", "agent", "storage_path"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert properties["memory_mb"].items() >= {"type": "integer", "minimum": 32, "multipleOf": 2}.items()
    assert properties["generation"]["enum"] == [1, 2]
    assert properties["cache_gb"]["type"] == ["integer", "null"]
    assert properties["offload"].items() >= {"type": "boolean", "default": False}.items()
    assert all(p["title"] and p["description"].endswith(".") for p in properties.values())


def test_secrets_are_not_shown() -> None:
    login = Login("admin", "hunter2")
    assert shown_values(LOGIN, login) == {"user": "admin"}
    assert values_of(LOGIN, login)["password"] == "hunter2"
    assert json_schema(LOGIN)["properties"]["password"]["writeOnly"] is True
    (section,) = describe_form(LOGIN, values_of(LOGIN, login))
    assert [(f.value, f.shown) for f in section.fields] == [("admin", True), (None, True)]
    (section,) = describe_form(LOGIN, {"user": "x", "password": "hunter2"})
    assert [f.shown for f in section.fields] == [True, False]
    assert [v.code for v in range_violations(LOGIN, Login("administrator"))] == ["too-long"]


def test_a_declaration_fits_its_settings() -> None:
    with pytest.raises(TypeError):
        Declaration("x", "X", "", Login, LOGIN.fields[:1])
    with pytest.raises(TypeError):
        broken = SettingField("user", FieldKind.TEXT, "", "", shown_when=(Condition("no", (1,)),))
        Declaration("x", "X", "", Login, (broken, LOGIN.fields[1]))
    with pytest.raises(KeyError):
        LOGIN.field("no")
    assert LOGIN.field("user").default == "admin"


def test_conditions_tell_true_from_one() -> None:
    assert not Condition("a", (1,)).holds({"a": True})
    assert Condition("a", (None, True)).holds({"a": True})
    assert Condition("a", (None,)).holds({})


def test_registry() -> None:
    assert [c.declaration.code for c in connectors()] == ["hyperv"]
    assert connector("hyperv").declaration is HYPERV
    with pytest.raises(NotFoundError):
        connector("vsphere")
