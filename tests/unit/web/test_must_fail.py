"""What must fail by REST: status, rule, field, texts, and nothing saved (CC-1 … CC-5, CC-7, CC-8, CC-11)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest

from sekiso.services.connector_settings import ConnectorSettingsService
from sekiso.services.images import ImageService
from sekiso.services.packaging import LayerService
from sekiso.services.templates import TemplateService
from sekiso.store.layers import LayerStore
from sekiso.web.app import create_app
from sekiso.web.services import Services

from ...support.appliance import ADMIN, GOOD, HOST, Appliance, open_appliance, state_folder
from ...support.system import system_services
from ..services.test_configuration_rules import REFUSED, Refused
from .world import PASSWORD, ROOT, problem

with warnings.catch_warnings():
    # It prefers a library that is not among the dependencies.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

CONFIGURATIONS = f"{ROOT}/connector-configurations"
SETTINGS = f"{ROOT}/connectors/hyperv/settings"
JAPANESE = {"Accept-Language": "ja"}


class Rest:
    """An appliance with the configuration `Taken`, and an administrator's client."""

    def __init__(self, appliance: Appliance) -> None:
        self.appliance = appliance
        self.agent = appliance.add_agent()
        appliance.configurations.create(ADMIN, "hyperv", {**GOOD, "name": "Taken"})
        appliance.users.first_start(PASSWORD)
        self.client = TestClient(create_app(_services(appliance)), base_url="https://appliance.example")
        token = appliance.users.create_token(appliance.users.login("admin", PASSWORD).actor, "tests").token
        self.client.headers["Authorization"] = f"Bearer {token}"

    def set_host(self, case: Refused) -> None:
        self.appliance.script(self.agent).inventory = case.host or HOST
        self.appliance.agents.ask_inventory(self.agent.id)

    def saved(self) -> tuple[Any, list[str]]:
        """What is there, to see that nothing of it was changed."""
        return self.client.get(CONFIGURATIONS).json(), self.appliance.actions()


def _services(appliance: Appliance) -> Services:
    store = LayerStore(appliance.state / "layers")

    def refuse(_: Any) -> Any:
        raise AssertionError

    return Services(
        agents=appliance.agents,
        configurations=appliance.configurations,
        connector_settings=appliance.settings,
        layers=LayerService(appliance.core, store),
        templates=TemplateService(appliance.core, store),
        images=ImageService(appliance.core),
        tasks=appliance.tasks,
        cache=appliance.cache,
        users=appliance.users,
        audit=appliance.audit,
        **system_services(appliance.core, appliance.db, appliance.agents, appliance.settings),
        register=refuse,
        uploads=appliance.state / "uploads",
    )


@pytest.fixture(scope="module")
def rest() -> Iterator[Rest]:
    with state_folder() as folder, open_appliance(folder) as appliance:
        yield Rest(appliance)


def named(found: Mapping[str, Any], case: Refused) -> dict[str, str]:
    """The broken rule of a case in a problem document."""
    return next(e for e in found["errors"] if (e["field"], e["code"]) == (case.field, case.code))


def check_texts(answer: httpx.Response, japanese: httpx.Response, case: Refused) -> None:
    found = problem(answer, 422, "configuration.invalid")
    said, translated = named(found, case), named(japanese.json(), case)
    for part in ("reason", "remedy"):
        assert said[part].endswith("."), said
        assert said[part].isascii() or any(str(v) in said[part] for v in case.given.values()), said
        # What the host itself says is in no catalogue of a test.
        is_ours = case.host is None or said[part] != case.host.offload_hindrance
        assert not is_ours or translated[part] != said[part], "not translated"
    assert answer.headers["content-language"] == "en"
    assert japanese.headers["content-language"] == "ja"
    assert found["title"] != japanese.json()["title"]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_it_is_neither_created_nor_changed(case: Refused, rest: Rest) -> None:
    rest.set_host(case)
    before = rest.saved()
    body = {"values": {**GOOD, **case.given}}
    create = rest.client.post(CONFIGURATIONS, json=body)
    check_texts(create, rest.client.post(CONFIGURATIONS, json=body, headers=JAPANESE), case)
    if case.code != "name-taken":
        change = rest.client.put(f"{CONFIGURATIONS}/Taken", json={"values": {"name": "Other", **case.given}})
        named(problem(change, 422, "configuration.invalid"), case)
    assert rest.saved() == before


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_its_test_fails_and_says_what_to_do(case: Refused, rest: Rest) -> None:
    rest.set_host(case)
    answer = rest.client.post(f"{CONFIGURATIONS}/test", json={"values": {**GOOD, **case.given}})
    if answer.status_code != 200:
        # Nothing can be tried: it has no agent, or its values are none.
        named(problem(answer, 422, "configuration.invalid"), case)
        return
    rows = [row for row in answer.json() if row["status"] == "failed"]
    assert case.field in {name for row in rows for name in row["fields"]}
    assert all(row["detail"] and row["what_to_do"] for row in rows)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_no_document_brings_it_in(case: Refused, rest: Rest) -> None:
    rest.set_host(case)
    before = rest.saved()
    good, bad = ({**GOOD, "name": "First"}, {**GOOD, **case.given})
    documents = [
        {"kind": "connector-configuration", "version": 1, "connector": "hyperv", "settings": values}
        for values in (good, bad)
    ]
    if case.code == "name-taken":
        # A document with the name of a configuration changes that one.
        documents[1]["settings"]["name"] = "first"
    answer = rest.client.post(f"{CONFIGURATIONS}/apply", json=documents)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["errors"], answer.text
    assert rest.saved() == before


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"useHttps": True}, "useHttps"),
        ({"useHttpsFileTransfer": "true"}, "useHttpsFileTransfer"),
        ({"useHttpsFileTransfer": 1}, "useHttpsFileTransfer"),
        ({"ignoreCertificateErrors": None}, "ignoreCertificateErrors"),
        ({"useHttpsFileTransfer": True, "port": 8022}, "port"),
    ],
)
def test_config_json_has_known_keys_of_their_types(values: dict[str, Any], key: str, rest: Rest) -> None:
    path = ConnectorSettingsService(rest.appliance.core).get("hyperv").path
    before, saved = rest.client.get(SETTINGS).json(), rest.saved()
    answer = rest.client.put(SETTINGS, json={"values": values})
    found = problem(answer, 400, "connector.config-key")
    (said,) = found["errors"]
    assert said["field"] == key
    assert said["reason"].endswith(".")
    assert str(path) == str(found["params"]["path"])
    translated = rest.client.put(SETTINGS, json={"values": values}, headers=JAPANESE).json()
    assert translated["errors"][0]["reason"] != said["reason"]
    assert (rest.client.get(SETTINGS).json(), rest.saved()) == (before, saved)


def test_all_that_is_broken_is_named_at_once(rest: Rest) -> None:
    rest.set_host(replace(REFUSED[0], host=HOST))
    values = {**GOOD, "cpus": 0, "network": "WAN", "storage_path": r"M:\VMs", "generation": 2}
    found = problem(rest.client.post(CONFIGURATIONS, json={"values": values}), 422, "configuration.invalid")
    assert {"cpus", "network", "storage_path", "generation"} <= {e["field"] for e in found["errors"]}
    assert found["detail"]
    assert found["resolution"]
