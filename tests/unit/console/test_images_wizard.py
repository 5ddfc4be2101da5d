"""The wizard of image templates: steps checked by the server, merge order, the plan (IM-1, LY-6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sekiso.agent.cache import recipe_key
from sekiso.agent.contract import CacheFacts
from sekiso.model.library import GeneralizationChoice, TemplateRecord
from sekiso.model.machine import DiskAllocation, DiskFormat
from sekiso.model.task import TaskFilter
from sekiso.services.core import APPLIANCE
from sekiso.tasks.flows.params import PublishTask, unpack

from ..web.world import CACHE, World
from .conftest import Browser, Make, text_of
from .layer_trees import add_app, make_plannable

LIST = "/images/templates"


def fields(**values: Any) -> dict[str, Any]:
    """What the form sends."""
    return {
        "name": "fresh",
        "notes": "",
        "os_version_id": "v-os",
        "platform_version_id": "",
        "app_version_ids": ["v-app"],
        "configuration": "prod",
        "disk_name": "disk",
        "disk_format": "",
        "allocation": "dynamic",
        "size_gb": "",
        "generalization": "offline",
        "keep_last": "",
        **values,
    }


def template(world: World, name: str) -> TemplateRecord:
    return world.services.templates.get(name).template


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_template_is_made(browse: Make, world: World, language: str) -> None:
    browser = browse(language=language)
    page = browser.get(f"{LIST}/new")
    assert page.text.count("<fieldset") == 7 and "Debian 12" in page.text
    sent = fields(notes="two\r\nlines", size_gb="1.5", boot_test="on", keep_last="3", allocation="fixed")
    answer = browser.send(f"{LIST}/new", sent)
    made = template(world, "fresh")
    assert answer.headers["hx-redirect"] == f"{LIST}/{made.id}"
    assert (made.notes, made.size_bytes, made.boot_test, made.keep_last) == ("two\nlines", 3 << 29, True, 3)
    assert (made.allocation, made.disk_format) == (DiskAllocation.FIXED, DiskFormat.VHD)


@pytest.mark.parametrize(
    ("step", "wrong", "at"),
    [
        ("naming", {"name": ""}, "name"),
        ("naming", {"name": "a/b"}, "name"),
        ("naming", {"name": "WEB"}, "name"),
        ("os", {"os_version_id": ""}, "os_version_id"),
        ("os", {"os_version_id": "v-app"}, "os_version_id"),
        ("platform", {"platform_version_id": "v-app"}, "platform_version_id"),
        ("apps", {"app_version_ids": ["v-os2"]}, "app_version_ids"),
        ("configuration", {"configuration": ""}, "configuration"),
        ("disk", {"disk_name": ""}, "disk_name"),
        ("disk", {"disk_format": "vhdx"}, "disk_format"),
        ("disk", {"size_gb": "0.01"}, "size_gb"),
        ("disk", {"size_gb": "9999"}, "size_gb"),
        ("disk", {"size_gb": "1e99"}, "size_gb"),
        ("disk", {"size_gb": "NaN"}, "size_gb"),
        ("disk", {"keep_last": "0"}, "keep_last"),
        ("disk", {"keep_last": "many"}, "keep_last"),
    ],
)
def test_a_step_says_what_is_wrong_at_its_field(
    console: Browser, step: str, wrong: dict[str, Any], at: str
) -> None:
    answer = console.send(f"{LIST}/wizard/check?step={step}", fields(**wrong))
    assert answer.status_code == 422 and answer.text.count("<fieldset") == 1
    assert f'id="{at}-problem"' in answer.text
    whole = console.send(f"{LIST}/new", fields(**wrong))
    assert (
        whole.status_code == 422 and "data-wizard-failed" in whole.text and f'id="{at}-problem"' in whole.text
    )


def test_a_step_that_fails_as_a_whole_says_so(console: Browser) -> None:
    for step, wrong in (("os", {"os_version_id": "v-edit"}), ("configuration", {"configuration": "none"})):
        answer = console.send(f"{LIST}/wizard/check?step={step}", fields(**wrong))
        assert answer.status_code == 422 and 'role="alert"' in answer.text


def test_steps_that_are_not_reached_are_not_checked(console: Browser) -> None:
    later = {"configuration": "", "size_gb": "x", "os_version_id": "", "disk_name": ""}
    assert console.send(f"{LIST}/wizard/check?step=naming", fields(**later)).status_code == 204
    assert (
        console.send(f"{LIST}/wizard/check?step=apps", fields(configuration="", size_gb="x")).status_code
        == 204
    )


def test_what_was_typed_stays_and_is_escaped(console: Browser) -> None:
    answer = console.send(f"{LIST}/new", fields(name='"><script>', notes="</textarea><b>", size_gb="7.25"))
    assert answer.status_code == 422 and "<script>" not in answer.text and "</textarea><b>" not in answer.text
    assert 'value="7.25"' in answer.text and 'value="v-os" selected' in answer.text
    assert answer.text.count('name="app_version_ids" value="v-app"') == 1


def test_a_template_is_changed(console: Browser, world: World) -> None:
    own = template(world, "web")
    page = console.get(f"{LIST}/{own.id}/edit")
    assert 'data-wizard="free"' in page.text and 'value="web"' in page.text
    check = f"{LIST}/wizard/check?step=naming&template={own.id}"
    assert console.send(check, fields(name="web")).status_code == 204
    answer = console.send(f"{LIST}/{own.id}/edit", fields(name="web", generalization="none"))
    assert "revision 2" in answer.headers["hx-trigger"]
    changed = template(world, "web")
    assert (changed.id, changed.revision, changed.generalization) == (own.id, 2, GeneralizationChoice.NONE)


def test_app_layers_are_searched_and_shown_in_merge_order(console: Browser, world: World) -> None:
    for number in range(60):
        add_app(world, f"tool {number:02}", priority=0 if number == 7 else 100 + number)
    found = console.send(f"{LIST}/wizard/apps/found", fields(app_text=""))
    assert found.text.count("<li") == 50 and "There are more" in text_of(found)
    found = console.send(f"{LIST}/wizard/apps/found", fields(app_text="TOOL 07"))
    assert found.text.count("<li") == 1 and 'name="add"' in found.text
    chosen = console.send(f"{LIST}/wizard/apps/chosen", fields(add="v-tool 07"))
    said = text_of(chosen)
    assert said.index("Debian") < said.index("tool 07") < said.index("nginx")
    assert chosen.headers["hx-trigger-after-swap"] == "sekiso:apps"
    fewer = console.send(f"{LIST}/wizard/apps/chosen", fields(remove="v-app"))
    assert "nginx" not in fewer.text and 'name="app_version_ids"' not in fewer.text


def test_of_one_layer_one_version_is_chosen(console: Browser, world: World) -> None:
    with world.db.begin() as work:
        first = work.versions.get("v-app")
        work.versions.add(replace(first, id="v-app2", name="1.2"))
    chosen = console.send(f"{LIST}/wizard/apps/chosen", fields(add="v-app2"))
    assert 'value="v-app2"' in chosen.text and 'name="app_version_ids" value="v-app"' not in chosen.text


def test_platform_layers_are_those_of_the_os_layer(console: Browser) -> None:
    answer = console.send(f"{LIST}/wizard/platforms", fields())
    assert "There is no platform layer for this OS layer." in text_of(answer)


def test_the_plan_of_what_is_not_saved_yet(console: Browser, world: World) -> None:
    make_plannable(world)
    sent = fields(configuration="uefi", app_version_ids=["v-tools", "v-editor"], size_gb="2")
    said = text_of(console.send(f"{LIST}/wizard/review", sent))
    assert said.index("Debian 1") < said.index("tools 1") < said.index("editor 1")
    assert "/etc/app.conf" in said and "editor 1 wins" in said and "2 GB" in said
    assert "Make bootable" in said and [v.template.name for v in world.services.templates.list()] == ["web"]


def test_the_plan_of_a_template_and_its_cache(
    console: Browser, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_plannable(world)
    console.send(f"{LIST}/new", fields(configuration="uefi", app_version_ids=["v-editor"]))
    where = f"{LIST}/{template(world, 'fresh').id}/plan"
    assert f"{where}/panel" in console.get(where).text
    assert "The layers do not disagree about anything." in text_of(console.part(f"{where}/panel"))
    assert "does not have this disk yet" in text_of(console.part(f"{where}/cache"))
    world.services.templates.publish(APPLIANCE, ["fresh"])
    (task,) = world.services.tasks.list(TaskFilter(text="fresh"))
    key = recipe_key(unpack(task.params, PublishTask).recipe)
    held = CacheFacts((replace(CACHE.disks[0], key=key),), 1, 0, 0, 0, 0)
    monkeypatch.setattr("tests.unit.web.world.CACHE", held)
    assert "has this disk already" in text_of(console.part(f"{where}/cache"))
    world.agents.connected.clear()
    assert "is not known" in text_of(console.part(f"{where}/cache"))


def test_a_plan_that_cannot_be_made_says_why(console: Browser, world: World) -> None:
    own = template(world, "web")
    panel = console.part(f"{LIST}/{own.id}/plan/panel")
    assert panel.status_code == 200 and "holds no kernel that can be started" in text_of(panel)


def test_words_are_in_the_language_of_each_reader(browse: Make) -> None:
    english, japanese = browse(), browse(language="ja")
    assert ">Fixed<" in english.get(f"{LIST}/new").text
    page = japanese.get(f"{LIST}/new").text
    assert ">Fixed<" not in page and ">固定<" in page
    assert ">Fixed<" in english.get(f"{LIST}/new").text
