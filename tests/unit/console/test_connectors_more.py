"""Connectors: the test row by row, files, config.json, the layer disk cache (CC-7, CC-8, CC-11, IM-4)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from sekiso.agent.contract import CachedDisk, CacheFacts
from sekiso.errors import VerificationError
from sekiso.model.machine import DiskFormat, Generation

from ..web.world import NOW_S, World, settings
from .conftest import Browser, Make, text_of
from .test_connectors import FORM, id_of

DENIED = VerificationError(
    what="The probe file", reason="Its content is another one.", remedy="Look at the folder."
)


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_test_streams_each_check_as_a_row(console: Browser) -> None:
    found = lines(console.send("/connectors/test", FORM))
    assert len(found) == 15 and [line["next"] for line in found[:-1]] == [line["code"] for line in found[1:]]
    assert "Registered agent" in found[1]["html"] and "check-passed" in found[1]["html"]
    assert all(not line["fields"] for line in found)
    assert "Testing: 1 of 15" in found[0]["summary"] and "Every check has passed." in found[-1]["summary"]


@pytest.mark.parametrize(("language", "said"), [("en", "Look at the folder."), ("ja", "失敗")])
def test_a_failed_check_says_what_to_do_and_marks_its_field(browse: Make, language: str, said: str) -> None:
    console = browse(language=language)
    console.world.agents.failures["storage.probe"] = DENIED
    found = {line["code"]: line for line in lines(console.send("/connectors/test", FORM))}
    failed = found["storage-probe"]
    assert said in failed["html"] and "check-failed" in failed["html"]
    assert failed["fields"].keys() == {"storage_path"}
    assert "check-skipped" in found["transfer-to-agent"]["html"]


def test_a_rule_that_fails_marks_the_fields_it_names(console: Browser) -> None:
    found = lines(console.send("/connectors/test", FORM, disk_format="vhdx"))
    assert found[0]["fields"].keys() == {"disk_format"}


def test_what_cannot_be_tested_says_why(console: Browser) -> None:
    answer = console.send("/connectors/test", FORM, name="", cpus="many")
    assert answer.status_code == 422 and answer.json()["fields"].keys() == {"name", "cpus"}
    assert "The test cannot begin." in answer.json()["html"]


def test_a_failure_in_the_middle_is_the_last_line(console: Browser) -> None:
    console.world.agents.failures["storage.probe"] = RuntimeError("a secret")
    found = lines(console.send("/connectors/test", FORM))
    assert found[-1]["broken_off"] and "a secret" not in found[-1]["html"]


def test_a_saved_configuration_is_tested_in_a_dialog(console: Browser) -> None:
    page = f"/connectors/{id_of(console.world)}/test"
    dialog = console.part(page)
    assert f'data-test="{page}"' in dialog.text and dialog.text.count("data-check=") == 15
    assert len(lines(console.send(page))) == 15
    assert console.send("/connectors/nothing/test").status_code == 404


def test_export_and_import_with_a_preview(console: Browser) -> None:
    exported = console.get("/connectors/export")
    assert "attachment" in exported.headers["content-disposition"]
    documents = list(yaml.safe_load_all(exported.text))
    assert [d["settings"]["name"] for d in documents] == ["prod"]
    text = (
        exported.text.replace("cpus: 2", "cpus: 3")
        + "---\n"
        + exported.text.replace("name: prod", "name: new")
    )
    file = {"file": ("C:\\my\\site.yaml", text.encode(), "application/yaml")}
    shown = console.send("/connectors/import/preview", files=file)
    said = text_of(shown)
    assert shown.status_code == 200 and "site.yaml" in said and "my" not in said.split()
    assert "prod Would be changed" in said and "new Would be created" in said
    assert len(console.world.services.configurations.list()) == 1
    answer = console.send("/connectors/import", text=text, source="site.yaml")
    assert answer.headers["hx-redirect"] == "/connectors"
    assert console.world.services.configurations.get("new").settings["cpus"] == 2
    assert console.world.services.configurations.get("prod").settings["cpus"] == 3
    again = text_of(console.send("/connectors/import/preview", text=text))
    assert "prod Stays as it is" in again and "new Stays as it is" in again


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [", "/"),
        ("kind: other", "[0].version"),
        ("- 1", "[0]"),
    ],
)
def test_a_file_that_is_wrong_is_told_with_its_place(console: Browser, text: str, place: str) -> None:
    answer = console.send("/connectors/import/preview", text=text)
    assert answer.status_code == 422 and place in text_of(answer)
    assert text in text_of(answer) and "Nothing was saved" in text_of(answer)


def test_broken_rules_in_a_file_are_all_told_with_their_places(browse: Make) -> None:
    console = browse(language="ja")
    one = {"kind": "connector-configuration", "version": 1, "connector": "hyperv"}
    text = yaml.safe_dump_all(
        [
            {**one, "settings": settings(name="a", generation=2)},
            {**one, "settings": settings(name="b", network="gone")},
        ]
    )
    for path in ("/connectors/import/preview", "/connectors/import"):
        answer = console.send(path, text=text)
        said = text_of(answer)
        assert answer.status_code == 422
        assert "[0].settings.generation 世代2には" in said and "[1].settings.network" in said
    assert len(console.world.services.configurations.list()) == 1


def test_a_file_without_configurations_has_nothing_to_import(console: Browser) -> None:
    shown = console.send("/connectors/import/preview", text="")
    assert "The file holds no connector configuration" in text_of(shown)


def config(world: World) -> Path:
    return world.state / "connectors/hyperv/config.json"


def test_settings_are_saved_and_taken_up_by_a_restart(console: Browser) -> None:
    said = text_of(console.get("/connectors/settings"))
    assert "useHttpsFileTransfer" in said and "ignoreCertificateErrors" in said and "HTTPS is off" in said
    answer = console.send("/connectors/settings", {"useHttpsFileTransfer": "on"}, method="PUT")
    assert "A restart of the connector takes it up." in text_of(answer) and "HTTPS is off" in text_of(answer)
    assert json.loads(config(console.world).read_text()) == {
        "useHttpsFileTransfer": True,
        "ignoreCertificateErrors": False,
    }
    answer = console.send("/connectors/settings/restart")
    assert "HTTPS is off" not in text_of(answer) and "takes it up" not in text_of(answer)
    assert "HTTPS is off" not in text_of(console.get("/connectors"))


def test_a_file_that_cannot_be_used_is_told_and_replaced(console: Browser) -> None:
    config(console.world).write_text('{"useHttps": true}')
    said = text_of(console.get("/connectors/settings"))
    assert "config.json cannot be used" in said and "useHttps" in said
    answer = console.send("/connectors/settings/restart")
    assert answer.status_code == 400 and "sekiso:failure" in answer.headers["hx-trigger"]
    answer = console.send("/connectors/settings", {"ignoreCertificateErrors": "on"}, method="PUT")
    assert "cannot be used" not in text_of(answer)


def test_the_cache_shows_what_it_holds(console: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    with console.world.db.read() as work:
        identity = work.versions.get("v-os").identity
    assert identity
    disk = CachedDisk(
        "ab" * 32, (identity,), DiskFormat.VHD, Generation.ONE, 1 << 30, 3, NOW_S, NOW_S, ("v-edit",)
    )
    other = CachedDisk("ef" * 32, ("12" * 32,), DiskFormat.VHD, Generation.ONE, 1 << 20, 0, NOW_S, NOW_S)
    facts = CacheFacts((disk, other), (1 << 30) + (1 << 20), 3, 1, 2, 4)
    calls: list[Any] = []

    def call(agent_id: str, method: str, params: Any, **_: Any) -> Any:
        calls.append((method, getattr(params, "keys", None)))
        return facts

    monkeypatch.setattr(console.world.agents, "call", call)
    page = f"/connectors/{id_of(console.world)}/cache"
    said = text_of(console.part(page))
    for text in (
        "The layer disk cache is off.",
        "Hits 3 (75%)",
        "Misses 1",
        "Evictions 2",
        "Debian",
        "nginx 1.1",
    ):
        assert text in said
    assert "12" * 6 in said
    answer = console.send(f"{page}/clear", key="ef" * 32)
    assert "was cleared" in answer.headers["hx-trigger"] and calls[-1] == ("cache.clear", ("ef" * 32,))
    assert console.send(page, method="DELETE").status_code == 200 and calls[-1] == ("cache.clear", None)
    answer = console.send(f"{page}/clear")
    assert answer.status_code == 422 and "No disk is chosen." in answer.headers["hx-trigger"]


def test_a_cache_whose_agent_is_away_says_so(console: Browser) -> None:
    console.world.agents.connected.clear()
    answer = console.part(f"/connectors/{id_of(console.world)}/cache")
    assert answer.status_code == 200 and "alert-warning" in answer.text
