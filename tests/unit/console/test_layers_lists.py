"""The list of layers (LY-7): kinds, search, order, pages, views, what to do where there is nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sekiso.model.layer import GuestFamily, LayerKind
from sekiso.model.library import AgentRecord, LayerRecord, Role
from sekiso.model.task import NewTask, Subject, SubjectKind, TaskKind, TaskState
from sekiso.services.core import APPLIANCE

from ..web.world import INVENTORY, NOW_S, PASSWORD, World, make_world, settings
from .conftest import Browser, Make, text_of


def test_kinds_are_tabs(console: Browser) -> None:
    assert "Debian" in text_of(console.get("/layers"))
    said = text_of(console.get("/layers", kind="app"))
    assert "nginx on Debian 1.1 Editing" in said and "Versions 2" in said
    assert "No platform layer yet" in text_of(console.get("/layers", kind="platform"))


@pytest.mark.parametrize(("language", "said"), [("en", "Last changed"), ("ja", "最終変更")])
def test_as_a_table(browse: Make, language: str, said: str) -> None:
    browser = browse(language=language)
    answer = browser.get("/layers", kind="app", view="list")
    assert "<table" in answer.text and said in text_of(answer)
    assert "<table" in browser.get("/layers", kind="app").text  # the choice is kept
    assert "<table" not in browser.get("/layers", kind="app", view="cards").text


def test_search_and_order(console: Browser) -> None:
    assert "Debian" in text_of(console.get("/layers", text="deb"))
    nothing = console.get("/layers", text="<zzz>")
    assert (
        "No layer matches" in text_of(nothing)
        and "&lt;zzz&gt;" in nothing.text
        and "<zzz>" not in nothing.text
    )
    for sort in ("changed", "created", "size", "versions", "name"):
        assert console.get("/layers", sort=sort).status_code == 200
    assert "Priority" in text_of(console.get("/layers", kind="app"))
    assert "Priority" not in text_of(console.get("/layers"))
    assert console.get("/layers", sort="colour").status_code == 422
    assert console.get("/layers", kind="colour").status_code == 422


def test_only_the_layers_come_again(console: Browser) -> None:
    headers = {"HX-Request": "true", "HX-Target": "layers-list"}
    part = console.client.get("/layers?kind=app", headers=headers).text
    assert part.lstrip().startswith('<div id="layers-list"') and "<html" not in part
    # The whole page where the browser goes back.
    whole = console.client.get("/layers?kind=app", headers={"HX-Request": "true"}).text
    assert "<html" in whole


def test_pages(console: Browser, world: World) -> None:
    _many(world, 60)
    first = console.get("/layers", kind="app")
    assert first.text.count('class="card layer-card"') == 48 and "1–48 of 61" in text_of(first)
    second = console.get("/layers", kind="app", offset=48)
    assert second.text.count('class="card layer-card"') == 13 and 'rel="prev"' in second.text


def test_names_are_only_text(console: Browser, world: World) -> None:
    with world.db.begin() as work:
        evil = replace(work.layers.get("l-app"), name="<script>alert(1)</script>", icon="../../x")
        work.layers.replace(evil)
    for path in (
        "/layers?kind=app&view=cards",
        "/layers?kind=app&view=list",
        "/layers/l-app",
        "/layers/versions/v-app",
    ):
        answer = console.get(path)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text and "&lt;script&gt;alert" in answer.text
    assert "<script>alert" not in console.part("/layers/l-app/delete").text
    assert "<script>alert" not in console.part("/layers/l-app/change").text


def test_layers_on_one_os_layer(console: Browser) -> None:
    answer = console.get("/layers", kind="app", os="l-os")
    assert "nginx" in text_of(answer) and "Made on Debian" in text_of(answer)
    assert "nginx" in text_of(console.get("/layers", kind="app", os="gone"))


def test_tasks_that_work_on_layers(console: Browser, world: World) -> None:
    _start(world, "t-1", TaskKind.FINALIZE_LAYER, "l-app", "nginx 1.1", {})
    with world.db.begin() as work:
        task = work.tasks.get("t-1")
        work.tasks.replace(replace(task, state=TaskState.RUNNING, percent=42.7))
        work.versions.replace(replace(work.versions.get("v-edit"), holder_task_id="t-1"))
    assert "Finalize a layer version 42%" in text_of(console.get("/layers", kind="app"))


def test_layers_that_wait_to_be_made(console: Browser, world: World) -> None:
    _start(world, "t-1", TaskKind.CREATE_LAYER, "l-new", "Chrome 1", {"layer": {"kind": "app"}})
    assert "Waiting to be made Chrome 1" in text_of(console.get("/layers", kind="app"))
    assert "Chrome" not in text_of(console.get("/layers", kind="os"))
    _start(world, "t-2", TaskKind.CREATE_LAYER, "l-app", "nginx 2", {"layer": {"kind": "app"}})
    assert "nginx 2" not in text_of(console.get("/layers", kind="app"))


@pytest.mark.parametrize(
    ("role", "can"), [(Role.LAYER_MANAGER, True), (Role.PUBLISHER, False), (Role.READ_ONLY, False)]
)
def test_who_may_not_change_sees_no_buttons(browse: Make, role: Role, can: bool) -> None:
    browser = browse(role)
    assert ("Import OS layer" in text_of(browser.get("/layers"))) is can
    assert ("Create app layer" in text_of(browser.get("/layers", kind="app"))) is can
    assert ("Add version" in text_of(browser.get("/layers/l-app"))) is can
    assert ("/api/v1/layer-versions/v-app/export" in browser.get("/layers/versions/v-app").text) is can


class TestNothingYet:
    """What the list says on an appliance that has nothing."""

    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[World]:
        folder = tmp_path / "empty"
        folder.mkdir()
        made = make_world(folder)
        made.services.users.add(APPLIANCE, Role.ADMINISTRATOR.value, PASSWORD, Role.ADMINISTRATOR)
        yield made
        made.close()

    @pytest.mark.parametrize("kind", ["os", "platform", "app"])
    def test_one_thing_after_the_other(self, console: Browser, world: World, kind: str) -> None:
        assert "No agent yet" in text_of(console.get("/layers", kind=kind))
        with world.db.begin() as work:
            work.agents.add(AgentRecord("a-1", "hv01", "1" * 64, inventory=INVENTORY, registered_s=NOW_S))
        answer = console.get("/layers", kind=kind)
        assert "No connector configuration yet" in text_of(answer) and 'href="/connectors"' in answer.text
        assert "No connector configuration yet" in text_of(console.get("/layers/import-os"))
        assert "No connector configuration yet" in text_of(console.get("/layers/new"))
        world.services.configurations.create(APPLIANCE, "hyperv", settings(name="prod"))
        assert "No OS layer yet" in text_of(console.get("/layers", kind=kind))
        assert "No OS layer yet" in text_of(console.get("/layers/new"))


def _many(world: World, count: int) -> None:
    with world.db.begin() as work:
        for number in range(count):
            family = GuestFamily.LINUX
            work.layers.add(
                LayerRecord(f"m-{number}", LayerKind.APP, f"many {number}", "", "", 1, family, "l-os", NOW_S)
            )


def _start(
    world: World, task_id: str, kind: TaskKind, layer_id: str, name: str, params: dict[str, object]
) -> None:
    subjects = (
        Subject(SubjectKind.LAYER_VERSION, f"{layer_id}-v", name),
        Subject(SubjectKind.LAYER, layer_id, name),
    )
    world.engine.start(NewTask(task_id, kind, subjects, params, "admin"))
