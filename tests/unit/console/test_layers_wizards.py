"""The wizards of layers: each step is checked, the last one begins the task (LY-1, LY-2, LY-3)."""

from __future__ import annotations

from typing import Any

import pytest

from sekiso.model.layer import LayerKind
from sekiso.model.task import TaskFilter, TaskKind, TaskRecord
from sekiso.services.core import APPLIANCE
from sekiso.tasks.flows.params import CreateLayerTask, ImportOsTask, unpack

from ..web.world import ROOT, World, settings, tar_of
from .conftest import Browser, Make, text_of
from .layer_world import add_layers

OS: dict[str, Any] = {
    "configuration": "prod",
    "source": "machine",
    "machine": "m-1",
    "disk_path": "",
    "name": "Ubuntu",
    "version": "24.04",
    "icon": "brand-ubuntu",
    "notes": "n",
    "guest_tools": "on",
}
APP: dict[str, Any] = {
    "kind": "app",
    "name": "Chrome",
    "version": "1",
    "icon": "world",
    "notes": "",
    "priority": "",
    "os_version_id": "v-os",
    "prerequisite_version_ids": "v-app",
    "configuration": "prod",
    "run_once_upload_id": "",
    "run_once_name": "",
    "auto_finalize": "",
}
FURTHER: dict[str, Any] = {
    "version": "2",
    "from_version_id": "v-app",
    "notes": "n",
    "os_version_id": "v-os",
    "configuration": "prod",
    "run_once_upload_id": "",
    "auto_finalize": "yes",
}


def test_import_begins_with_what_there_is(console: Browser) -> None:
    answer = console.get("/layers/import-os")
    assert answer.status_code == 200
    assert '<option value="prod" selected>' in answer.text  # the only one
    part = console.send("/layers/import-os/source", configuration="prod", source="machine")
    assert '<option value="m-1">template (' in part.text
    part = console.send("/layers/import-os/source", configuration="gone", source="machine")
    assert "has not reported" in text_of(part)


def test_the_agent_is_asked_again(console: Browser, world: World) -> None:
    assert console.send("/layers/import-os/source?refresh=1", OS).status_code == 200
    assert "host.inventory" in [method for method, _ in world.agents.calls]
    world.agents.connected.clear()
    answer = console.send("/layers/import-os/source?refresh=1", OS)
    assert answer.status_code == 503 and answer.headers["hx-reswap"] == "none"


@pytest.mark.parametrize(
    ("step", "wrong", "said"),
    [
        ("configuration", {"configuration": ""}, "It is missing."),
        ("configuration", {"configuration": "gone"}, "does not exist"),
        ("source", {"machine": ""}, "No machine is chosen."),
        ("source", {"source": "disk"}, "There is no path."),
        ("layer", {"name": ""}, "It is missing."),
        ("layer", {"version": "a/b"}, "A name has 1 to 64"),
        ("layer", {"name": "Debian", "version": "12"}, "exists already"),
        ("layer", {"icon": "a b"}, "The name of an icon"),
    ],
)
def test_each_step_of_the_import_is_checked(
    console: Browser, step: str, wrong: dict[str, str], said: str
) -> None:
    assert console.send(f"/layers/import-os/check?step={step}", OS).status_code == 204
    answer = console.send(f"/layers/import-os/check?step={step}", {**OS, **wrong})
    assert answer.status_code == 422 and said in text_of(answer)
    assert answer.text.lstrip().startswith("<fieldset") and f'data-step="{step}"' in answer.text


def test_a_step_does_not_ask_for_later_ones(console: Browser) -> None:
    only = {"configuration": "prod"}
    assert console.send("/layers/import-os/check?step=configuration", only).status_code == 204
    only = {key: APP[key] for key in ("kind", "name", "version")}
    assert console.send("/layers/new/check?step=layer", only).status_code == 204


def test_what_the_import_will_do(console: Browser) -> None:
    said = text_of(console.send("/layers/import-os/review", OS))
    assert "Machine template" in said and "Are added" in said and "exists" not in said
    said = text_of(console.send("/layers/import-os/review", {**OS, "name": "debian", "source": "disk"}))
    assert "The OS layer exists" in said and "Disk file" in said


def test_import_from_a_machine(console: Browser, world: World) -> None:
    answer = console.send("/layers/import-os", OS)
    assert answer.headers["hx-redirect"] == "/layers?kind=os"
    asked = unpack(_task(world, TaskKind.IMPORT_OS).params, ImportOsTask)
    assert (asked.source.machine, asked.source.disk_path, asked.guest_tools) == ("m-1", None, True)
    assert (asked.layer.name, asked.version.name, asked.layer.icon) == ("Ubuntu", "24.04", "brand-ubuntu")


def test_import_from_a_disk(console: Browser, world: World) -> None:
    sent = {**OS, "source": "disk", "disk_path": "D:\\a b.vhdx"}
    del sent["guest_tools"]
    console.send("/layers/import-os", sent)
    asked = unpack(_task(world, TaskKind.IMPORT_OS).params, ImportOsTask)
    assert (asked.source.machine, asked.source.disk_path, asked.guest_tools) == (None, "D:\\a b.vhdx", False)


@pytest.mark.parametrize(("language", "said"), [("en", "A name has 1 to 64"), ("ja", "名前は1から64文字")])
def test_a_whole_form_that_is_refused_keeps_what_was_typed(browse: Make, language: str, said: str) -> None:
    browser = browse(language=language)
    answer = browser.send("/layers/import-os", {**OS, "name": "<b>/", "notes": "kept & so"})
    assert answer.status_code == 422 and said in text_of(answer)
    assert 'value="&lt;b&gt;/"' in answer.text and "kept &amp; so" in answer.text
    assert '<option value="m-1" selected>' in answer.text and 'value="brand-ubuntu" checked' in answer.text
    assert answer.text.count('aria-invalid="true"') == 1


def test_create_knows_its_kind(console: Browser) -> None:
    assert 'value="platform" checked' in console.get("/layers/new", kind="platform").text
    assert 'value="app" checked' in console.get("/layers/new").text
    assert 'value="app" checked' in console.get("/layers/new", kind="os").text


@pytest.mark.parametrize(
    ("step", "wrong", "said"),
    [
        ("layer", {"priority": "many"}, "It is no whole number."),
        ("layer", {"priority": "-1"}, "It is less than 0."),
        ("layer", {"name": "nginx"}, "Add a version to it"),
        ("layer", {"kind": "os"}, ""),
        ("base", {"os_version_id": ""}, "It is missing."),
        ("base", {"os_version_id": "v-app"}, "is needed here"),
        ("base", {"os_version_id": "v-edit"}, "cannot be used"),
        ("base", {"prerequisite_version_ids": "v-os2"}, "is needed here"),
        ("machine", {"configuration": ""}, "It is missing."),
        ("machine", {"run_once_upload_id": "../x"}, "characters that are not allowed"),
    ],
)
def test_each_step_of_creating_is_checked(
    console: Browser, step: str, wrong: dict[str, str], said: str
) -> None:
    assert console.send(f"/layers/new/check?step={step}", APP).status_code == 204
    answer = console.send(f"/layers/new/check?step={step}", {**APP, **wrong})
    if said:
        assert answer.status_code == 422 and said in text_of(answer)
    assert f'data-step="{step}"' in answer.text or not said


def test_a_configuration_that_does_not_work_is_said_at_its_field(console: Browser, world: World) -> None:
    with world.db.begin() as work:
        record = work.configurations.by_reference("prod")
        broken = {**record.settings, "template_vm": "gone"}
        work.configurations.replace(type(record)(record.id, "hyperv", "prod", broken, 0, 0))
    answer = console.send("/layers/new/check?step=machine", APP)
    assert answer.status_code == 422
    assert 'id="configuration-problem"' in answer.text and "gone" in answer.text


def test_create(console: Browser, world: World) -> None:
    said = text_of(console.send("/layers/new/review", APP))
    assert "Above all others" in said and "Debian 12" in said and "nginx 1.0" in said and "Manually" in said
    answer = console.send("/layers/new", APP)
    assert answer.headers["hx-redirect"] == "/layers?kind=app"
    asked = unpack(_task(world, TaskKind.CREATE_LAYER).params, CreateLayerTask)
    assert (asked.layer.name, asked.layer.kind, asked.layer.priority) == ("Chrome", LayerKind.APP, 2)
    assert asked.version.base_version_ids == ("v-os", "v-app")
    assert (asked.run_once, asked.auto_finalize) == (None, False)


def test_a_platform_layer_has_no_priority(console: Browser, world: World) -> None:
    sent = {**APP, "kind": "platform", "priority": "7", "auto_finalize": "yes"}
    assert console.send("/layers/new", sent).headers["hx-redirect"] == "/layers?kind=platform"
    asked = unpack(_task(world, TaskKind.CREATE_LAYER).params, CreateLayerTask)
    assert (asked.layer.kind, asked.layer.priority, asked.auto_finalize) == (LayerKind.PLATFORM, 0, True)


def test_an_archive_is_sent_by_itself(console: Browser, world: World) -> None:
    headers = {"X-Sekiso-CSRF": console.csrf, "Content-Type": "application/x-tar", "Accept-Language": "ja"}
    address = f"{ROOT}/uploads/run-once"
    refused = console.client.post(address, content=b"no tar", headers=headers)
    assert refused.status_code == 400 and "アップロード" in refused.json()["title"]
    found = console.client.post(address, content=tar_of(("run.sh", b"true")), headers=headers)
    sent = {**APP, "run_once_upload_id": found.json()["id"], "run_once_name": "a&b.tar"}
    assert "By the archive a&b.tar" in text_of(console.send("/layers/new/review", sent))
    # Kept when something else is wrong.
    again = console.send("/layers/new", {**sent, "name": "a/b"})
    assert again.status_code == 422 and found.json()["id"] in again.text and "a&amp;b.tar" in again.text
    console.send("/layers/new", sent)
    asked = unpack(_task(world, TaskKind.CREATE_LAYER).params, CreateLayerTask)
    assert asked.run_once == found.json()["id"]


def test_a_further_version_begins_as_the_one_before(console: Browser, world: World) -> None:
    answer = console.get("/layers/l-app/versions/new")
    assert '<option value="v-app" selected>1.0' in answer.text
    assert '<option value="v-os" selected>Debian 12' in answer.text
    sent = console.send("/layers/l-app/versions/new", FURTHER)
    assert sent.headers["hx-redirect"] == "/layers/l-app"
    asked = unpack(_task(world, TaskKind.CREATE_LAYER).params, CreateLayerTask)
    assert (asked.version.name, asked.version.previous_version_id) == ("2", "v-app")
    assert (asked.version.notes, asked.auto_finalize) == ("n", True)


@pytest.mark.parametrize(
    ("step", "wrong", "said"),
    [
        ("version", {"version": ""}, "It is missing."),
        ("version", {"version": "1.0"}, "exists already"),
        ("version", {"from_version_id": "v-os"}, "belongs to another layer"),
        ("base", {"prerequisite_version_ids": "v-app"}, "is there twice"),
        ("machine", {"configuration": "gone"}, "does not exist"),
    ],
)
def test_each_step_of_a_further_version_is_checked(
    console: Browser, step: str, wrong: dict[str, str], said: str
) -> None:
    assert console.send(f"/layers/l-app/versions/new/check?step={step}", FURTHER).status_code == 204
    answer = console.send(f"/layers/l-app/versions/new/check?step={step}", {**FURTHER, **wrong})
    assert answer.status_code == 422 and said in text_of(answer)


def test_a_further_version_of_an_os_layer_has_no_base(console: Browser, world: World) -> None:
    assert 'data-step="base"' not in console.get("/layers/l-os/versions/new").text
    sent = {**FURTHER, "version": "14", "from_version_id": "v-os2"}
    said = text_of(console.send("/layers/l-os/versions/new/review", sent))
    assert "OS layer Debian Version 14 Continues 13" in said
    assert console.send("/layers/l-os/versions/new", sent).headers["hx-redirect"] == "/layers/l-os"


def test_without_a_deployable_version_nothing_can_be_added(console: Browser, world: World) -> None:
    with world.db.begin() as work:
        work.versions.remove("v-edit")
    layer = world.services.layers.clone(APPLIANCE, "l-app", "empty").layer
    with world.db.begin() as work:
        for version in work.versions.of_layer(layer.id):
            work.versions.remove(version.id)
    assert "No deployable version" in text_of(console.get(f"/layers/{layer.id}/versions/new"))
    assert "Add version" not in text_of(console.get(f"/layers/{layer.id}"))


def test_choosing_versions(console: Browser, world: World) -> None:
    add_layers(world)
    part = console.part(
        "/layers/picker", field="os_version_id", os_version_id="v-os", os_version_id_text="os"
    )
    assert 'value="v-os" id="os_version_id-v-os" checked' in part.text  # chosen before, stays
    assert 'value="x-os-1"' in part.text and 'value="v-os2"' not in part.text
    part = console.part("/layers/picker", field="prerequisite_version_ids", os_version_id="x-os-1")
    assert 'value="x-one-2"' in part.text and 'value="v-app"' not in part.text and "x-pf" not in part.text
    # What was chosen on another OS layer is not chosen any more.
    query = {
        "field": "prerequisite_version_ids",
        "os_version_id": "v-os",
        "prerequisite_version_ids": "x-one-2",
    }
    assert "x-one-2" not in console.part("/layers/picker", **query).text
    nothing = console.part("/layers/picker", field="prerequisite_version_ids")
    assert "no deployable layer version to choose" in text_of(nothing)
    with_all = console.part("/layers/picker", field="with", os_layer_id="x-os", without="x-one")
    assert "x-pf-1" in with_all.text and "x-one" not in with_all.text


def test_several_configurations_are_chosen_from(console: Browser, world: World) -> None:
    world.services.configurations.create(APPLIANCE, "hyperv", settings(name="lab"))
    assert "selected" not in console.get("/layers/import-os").text.partition('id="configuration"')[2][:600]


def _task(world: World, kind: TaskKind) -> TaskRecord:
    (found,) = world.services.tasks.list(TaskFilter(kinds=frozenset({kind})))
    return found
