"""Connectors: the list, the dialogs, the configuration page, deleting, roles (CC-1 … CC-6)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sekiso.model.connector import TemplateVm
from sekiso.model.library import AgentRecord, Role
from sekiso.model.machine import Firmware
from sekiso.services.core import APPLIANCE

from ..web.world import INVENTORY, PASSWORD, World, make_world, settings
from .conftest import Browser, Make, text_of

FORM: Mapping[str, str] = {
    "connector": "hyperv",
    "name": "fresh",
    "agent": "a-1",
    "template_vm": "",
    "cpus": "2",
    "memory_mb": "4096",
    "network": "External",
    "generation": "1",
    "disk_format": "vhd",
    "storage_path": "C:\\Virtual Machines",
    "storage_unc_path": "",
    "cache_gb": "",
}


def id_of(world: World, name: str = "prod") -> str:
    return world.services.configurations.get(name).id


def with_templates(world: World, *templates: TemplateVm, **changes: Any) -> None:
    with world.db.begin() as work:
        inventory = replace(INVENTORY, template_vms=templates, **changes)
        work.agents.replace(replace(work.agents.get("a-1"), inventory=inventory))


def problems(page: str) -> dict[str, str]:
    """What stands at the fields of a form."""
    pieces = re.findall(r'id="(\w+)-problem">((?:\s*<div>.*?</div>)*)', page, re.DOTALL)
    return {name: re.sub(r"<[^>]*>", " ", text).strip() for name, text in pieces}


def control(page: str, identifier: str) -> str:
    """The tag of a control."""
    match = re.search(rf'<(?:input|select)[^>]*\bid="{identifier}"[^>]*>', page)
    assert match, identifier
    return match[0]


def test_the_list_shows_what_there_is(console: Browser) -> None:
    page = console.get("/connectors")
    said = text_of(page)
    for text in (
        "prod",
        "Microsoft Hyper-V",
        "hv01",
        "Online",
        "Generation 1",
        "VHD",
        "BIOS",
        "C:\\Virtual Machines",
    ):
        assert text in said
    assert "HTTPS is off" in said and 'href="/connectors/settings"' in page.text
    assert "Add connector configuration" in said


def test_the_list_finds_and_says_when_nothing_is_found(console: Browser) -> None:
    assert "prod" in text_of(console.part("/connectors/rows", text="virtual PRO"))
    said = text_of(console.part("/connectors/rows", text="virtual nowhere"))
    assert "prod" not in said and "Nothing was found" in said


def test_an_empty_list_says_what_to_do(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.services.users.add(APPLIANCE, Role.ADMINISTRATOR.value, PASSWORD, Role.ADMINISTRATOR)
    console = Browser(world)
    console.log_in()
    assert "Register an agent" in text_of(console.get("/connectors"))
    with world.db.begin() as work:
        work.agents.add(AgentRecord("a-1", "hv01", "1" * 64, registered_s=0))
    said = text_of(console.get("/connectors"))
    assert "No connector configurations yet" in said and "Register an agent" not in said
    # The only agent is chosen already.
    assert '<option value="a-1" selected' in console.get("/connectors/new").text
    world.close()


def test_a_small_dialog_asks_for_the_type_and_leads_to_the_form(console: Browser) -> None:
    dialog = console.part("/connectors/add")
    assert 'action="/connectors/new"' in dialog.text and 'name="connector" value="hyperv"' in dialog.text
    assert re.search(r'<button type="submit"[^>]*>New</button>', dialog.text)
    page = console.get("/connectors/new", connector="hyperv")
    said = text_of(page)
    labels = (
        "Name",
        "Agent",
        "Template VM",
        "Number of CPUs",
        "Memory (MB)",
        "Network",
        "Generation",
        "Disk format",
    )
    for label in (
        *labels,
        "Offload compositing",
        "Storage path",
        "Layer disk cache size (GB)",
        "Test",
        "Save",
    ):
        assert label in said
    assert 'value="4"' in control(page.text, "cpus") and 'value="8192"' in control(page.text, "memory_mb")
    assert not problems(page.text)
    assert console.get("/connectors/new", connector="nothing").status_code == 404


def test_the_flow_of_the_document_in_japanese(browse: Make) -> None:
    console = browse(language="ja")
    assert "コネクター構成の追加" in text_of(console.get("/connectors"))
    assert "新規" in text_of(console.part("/connectors/add"))
    said = text_of(console.get("/connectors/new", connector="hyperv"))
    labels = (
        "エージェント",
        "テンプレートVM",
        "CPU数",
        "メモリ (MB)",
        "ネットワーク",
        "世代",
        "ディスク形式",
    )
    for label in (*labels, "オフロードコンポジティング", "ストレージへのパス", "テスト", "保存"):
        assert label in said
    assert "レイヤーディスクキャッシュサイズ (GB)" in said
    assert console.send("/connectors", FORM).headers["hx-redirect"] == "/connectors"
    assert "fresh" in text_of(console.get("/connectors"))


def test_generation_and_format_are_offered_as_offload_allows(console: Browser) -> None:
    page = console.send("/connectors/form", FORM).text
    assert "disabled" in control(page, "generation-2") and "disabled" in control(page, "disk_format-vhdx")
    assert "Generation 2 is not offered. Generation 2 needs offload compositing." in page
    page = console.send("/connectors/form", FORM, offload="on").text
    assert "disabled" not in control(page, "generation-2") and "disabled" not in control(
        page, "disk_format-vhdx"
    )


def changed(console: Browser, field: str, **values: str) -> str:
    """The fields after a change of one of them."""
    headers = {"HX-Request": "true", "HX-Trigger-Name": field, "X-Sekiso-CSRF": console.csrf}
    answer = console.client.post("/connectors/form", data={**FORM, **values}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_choice_that_went_with_another_gives_way_and_says_why(console: Browser) -> None:
    page = changed(console, "generation", offload="on", generation="2")
    assert "checked" in control(page, "disk_format-vhdx")
    assert "Changed to go with the other choices. Generation 2 machines boot from VHDX only." in page
    assert '<span translate="no">UEFI</span>' in page
    page = changed(console, "offload", generation="2", disk_format="vhdx")
    assert "checked" in control(page, "generation-1") and "checked" in control(page, "disk_format-vhd")


@pytest.mark.parametrize(
    ("firmware", "word"),
    [(Firmware.BIOS, "BIOS"), (Firmware.UEFI, "UEFI"), (Firmware.UEFI_SECURE_BOOT, "UEFI with Secure Boot")],
)
def test_a_template_vm_decides_firmware_and_offload(console: Browser, firmware: Firmware, word: str) -> None:
    with_templates(console.world, TemplateVm("m-1", "golden", firmware, 4, 8192, ("External",)))
    page = changed(console, "template_vm", template_vm="m-1")
    assert f">{word}<" in page.partition("Firmware of the machines")[2]
    assert "readonly" in control(page, "cpus") and 'value="2"' in control(page, "cpus")
    is_uefi = firmware is not Firmware.BIOS
    assert ("disabled" in control(page, "offload")) == is_uefi
    assert ('name="offload" value="on"' in page) == is_uefi


def test_template_vms_that_cannot_be_used_say_why(console: Browser) -> None:
    bad = TemplateVm("m-2", "SQL01", Firmware.BIOS, 4, 8192, ("External",), ("C:\\sql.vhdx",))
    with_templates(console.world, bad, TemplateVm("m-3", "lonely", Firmware.BIOS, 4, 8192, ()))
    page = console.send("/connectors/form", FORM)
    options = re.findall(r"<option[^>]*>(?:SQL01|lonely)", page.text)
    assert len(options) == 2 and all("disabled" in option for option in options)
    assert "Not offered: 2" in text_of(page) and "SQL01 :" in text_of(page)


def test_choosing_an_agent_asks_it_for_its_networks(console: Browser) -> None:
    page = changed(console, "agent", agent="a-2", network="")
    assert "spare (offline)" in page and "The agent has reported no network switch." in page
    console.world.agents.calls.clear()
    page = changed(console, "agent")
    assert [method for method, _ in console.world.agents.calls] == ["host.inventory"]
    assert "hv01 (online)" in page and ">External</option>" in page
    console.world.agents.calls.clear()
    changed(console, "cpus")
    assert not console.world.agents.calls


def test_only_what_a_person_has_been_at_is_judged(console: Browser) -> None:
    page = changed(console, "storage_path", name="", storage_path="layers")
    assert problems(page).keys() == {"storage_path"}
    page = changed(console, "name", name="prod", cpus="many")
    assert "has the name prod" in problems(page)["name"]
    assert 'name="touched" value="name"' in page


BROKEN = [
    ({"generation": "2", "disk_format": "vhdx"}, "generation"),
    ({"generation": "2"}, "generation"),
    ({"disk_format": "vhdx"}, "disk_format"),
    ({"offload": "on", "generation": "2"}, "disk_format"),
    ({"template_vm": "m-1", "generation": "2", "disk_format": "vhd"}, "template_vm"),
    ({"template_vm": "m-1", "offload": "on"}, "generation"),
    ({"template_vm": "m-none"}, "template_vm"),
    ({"template_vm": "m-disk"}, "template_vm"),
    ({"template_vm": "m-net"}, "template_vm"),
    ({"storage_path": "Z:\\layers"}, "storage_path"),
    ({"storage_path": "layers"}, "storage_path"),
    ({"storage_path": ""}, "storage_path"),
    ({"storage_unc_path": "C:\\x"}, "storage_unc_path"),
    ({"network": "gone"}, "network"),
    ({"network": ""}, "network"),
    ({"agent": "a-none"}, "agent"),
    ({"agent": ""}, "agent"),
    ({"name": ""}, "name"),
    ({"name": "PROD"}, "name"),
    ({"cpus": "0"}, "cpus"),
    ({"cpus": "many"}, "cpus"),
    ({"cpus": "64"}, "cpus"),
    ({"memory_mb": "1"}, "memory_mb"),
    ({"cache_gb": "-1"}, "cache_gb"),
    ({"cache_gb": "999999"}, "cache_gb"),
]


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize(("values", "field"), BROKEN)
def test_broken_rules_stand_at_their_fields_and_nothing_typed_is_lost(
    browse: Make, language: str, values: dict[str, str], field: str
) -> None:
    console = browse(language=language)
    templates = (
        TemplateVm("m-1", "uefi", Firmware.UEFI, 4, 8192, ("External",)),
        TemplateVm("m-disk", "disk", Firmware.BIOS, 4, 8192, ("External",), ("C:\\a.vhd",)),
        TemplateVm("m-net", "net", Firmware.BIOS, 4, 8192, ()),
    )
    # As the agent last reported it: it is not there to be asked.
    console.world.agents.connected.clear()
    with_templates(console.world, *templates, drives=())
    typed = {**FORM, "cache_gb": "7", **values}
    answer = console.send("/connectors", typed)
    assert answer.status_code == 422
    found = problems(answer.text)
    assert found.get(field), found
    assert bool(re.search("[\u3040-\u30ff]", found[field])) == (language == "ja")
    for name in ("name", "cpus", "memory_mb", "storage_path", "storage_unc_path", "cache_gb"):
        assert f'value="{typed[name]}"' in control(answer.text, name)
    for name in ("agent", "network", "template_vm"):
        assert not typed[name] or re.search(f'<option value="{typed[name]}" selected', answer.text)
    for name in ("generation", "disk_format"):
        assert "checked" in control(answer.text, f"{name}-{typed[name]}")
    assert len(console.world.services.configurations.list()) == 1


def test_saved_it_is_in_the_list_with_a_notice(console: Browser) -> None:
    answer = console.send("/connectors", FORM, cache_gb="20")
    assert answer.status_code == 204 and answer.headers["hx-redirect"] == "/connectors"
    notice = json.loads(answer.headers["hx-trigger"])["sekiso:notice"]
    assert notice == {"text": "The connector configuration fresh was saved.", "later": True}
    assert "fresh" in text_of(console.get("/connectors"))
    saved = console.world.services.configurations.get("fresh")
    assert saved.settings["cache_gb"] == 20 and saved.settings["template_vm"] is None


def test_a_configuration_is_shown_and_changed(console: Browser) -> None:
    page = f"/connectors/{id_of(console.world)}"
    said = text_of(console.get(page))
    assert "Storage path C:\\Virtual Machines" in said and "Image template web" in said
    assert 'href="/images/templates/' in console.get(page).text
    form = console.get(f"{page}/edit").text
    assert 'value="prod"' in control(form, "name") and f'hx-put="{page}"' in form
    answer = console.send(page, {**FORM, "name": "prod 2", "cpus": "3"}, method="PUT")
    assert answer.headers["hx-redirect"] == "/connectors"
    assert console.world.services.configurations.get("prod 2").settings["cpus"] == 3
    assert console.send(page, {**FORM, "network": "gone"}, method="PUT").status_code == 422


def test_what_is_wrong_by_now_is_said(console: Browser) -> None:
    with console.world.db.begin() as work:
        record = work.configurations.by_reference("prod")
        work.configurations.replace(replace(record, settings={**record.settings, "network": "gone"}))
    assert "1 problem" in text_of(console.get("/connectors"))
    page = f"/connectors/{id_of(console.world)}"
    assert "no network switch gone" in text_of(console.get(page))
    form = console.get(f"{page}/edit").text
    assert "gone" in problems(form)["network"] and '<option value="gone" selected' in form


def test_cloning(console: Browser) -> None:
    page = f"/connectors/{id_of(console.world)}"
    assert 'value="prod (copy)"' in console.part(f"{page}/clone").text
    refused = console.send(f"{page}/clone", name="Prod")
    assert (
        refused.status_code == 422 and 'value="Prod"' in refused.text and "has the name Prod" in refused.text
    )
    assert console.send(f"{page}/clone", name="").status_code == 422
    assert console.send(f"{page}/clone", name="copy").headers["hx-redirect"] == "/connectors"
    assert console.world.services.configurations.get("copy").settings["network"] == "External"
    prefilled = console.get("/connectors/new", **{"from": id_of(console.world)}).text
    assert 'value=""' in control(prefilled, "name") and 'value="2"' in control(prefilled, "cpus")


def test_deleting_is_refused_while_it_is_used(console: Browser) -> None:
    answer = console.send(f"/connectors/{id_of(console.world)}", method="DELETE")
    failure = json.loads(answer.headers["hx-trigger"])["sekiso:failure"]
    assert answer.status_code == 409 and "web" in failure["detail"] and "nginx" in failure["detail"]
    console.send("/connectors", FORM)
    answer = console.send(f"/connectors/{id_of(console.world, 'fresh')}", method="DELETE")
    assert answer.headers["hx-redirect"] == "/connectors"
    assert [c.name for c in console.world.services.configurations.list()] == ["prod"]


def test_names_are_text_everywhere(console: Browser) -> None:
    name = "<script>alert(1)</script>"
    assert console.send("/connectors", FORM, name=name).status_code == 204
    page = f"/connectors/{id_of(console.world, name)}"
    for path in ("/connectors", page, f"{page}/edit", f"{page}/clone", f"{page}/test", "/connectors/import"):
        assert "<script>alert" not in console.get(path).text


@pytest.mark.parametrize("role", [Role.LAYER_MANAGER, Role.PUBLISHER, Role.READ_ONLY])
def test_others_read_and_do_not_change(browse: Make, role: Role) -> None:
    console = browse(role)
    page = f"/connectors/{id_of(console.world)}"
    for path in ("/connectors", page, "/connectors/settings", f"{page}/cache", "/connectors/export"):
        assert console.get(path).status_code == 200
    assert "Add connector configuration" not in text_of(console.get("/connectors"))
    assert not re.search(r">(Edit|Clone|Delete|Test)<", console.get(page).text)
    for path in ("/connectors/new", "/connectors/add", "/connectors/import", f"{page}/edit", f"{page}/test"):
        assert console.get(path).status_code == 403
    for method, path in (
        ("POST", "/connectors"),
        ("PUT", page),
        ("DELETE", page),
        ("POST", f"{page}/clone"),
        ("POST", "/connectors/test"),
        ("POST", f"{page}/test"),
        ("POST", "/connectors/form"),
        ("PUT", "/connectors/settings"),
        ("POST", "/connectors/settings/restart"),
        ("POST", "/connectors/import"),
        ("POST", "/connectors/import/preview"),
    ):
        assert console.send(path, settings(), method=method).status_code == 403, path
    is_manager = role is Role.LAYER_MANAGER
    assert console.send(f"{page}/cache", method="DELETE").status_code == (200 if is_manager else 403)
