"""The pages of a layer and of a version, and what can be done there (LY-3, LY-4, LY-7)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sekiso.model.library import Role, VersionState
from sekiso.model.task import NewTask, Subject, SubjectKind, TaskFilter, TaskKind, TaskState
from sekiso.services.core import APPLIANCE

from ..web.world import World
from .conftest import Browser, Make, text_of


def test_a_layer(console: Browser) -> None:
    answer = console.get("/layers/l-app")
    said = text_of(answer)
    assert "App layer" in said and "1.1 Editing Packaging machine" in said and "1.0 Deployable" in said
    assert 'href="/layers/versions/v-edit/machine"' in answer.text
    assert 'href="/layers/versions/v-edit"' in answer.text  # uses 1.0
    assert "Layers made on it" not in said


def test_an_os_layer_says_what_depends_on_it(console: Browser) -> None:
    answer = console.get("/layers/l-os")
    said = text_of(answer)
    assert "Layers made on it" in said and 'href="/layers/l-app"' in answer.text
    assert "web Image template 12" in said and "Clone" not in said


def test_what_is_not_there(console: Browser) -> None:
    assert console.get("/layers/gone").status_code == 404
    assert console.get("/layers/versions/gone").status_code == 404
    # Deleted while its page was open.
    for path in ("/layers/gone/state", "/layers/versions/gone/state"):
        answer = console.part(path)
        assert answer.status_code == 204 and answer.headers["hx-redirect"] == "/layers"


def test_its_state_comes_again(console: Browser) -> None:
    for path in ("/layers/l-app/state", "/layers/versions/v-app/state"):
        part = console.part(path)
        assert part.status_code == 200 and "<html" not in part.text


def test_change(console: Browser, world: World) -> None:
    dialog = console.part("/layers/l-app/change").text
    assert 'value="nginx"' in dialog and 'name="priority"' in dialog
    sent = {"name": "web", "notes": "two\r\nlines", "icon": "world", "priority": "9"}
    answer = console.send("/layers/l-app/change", sent)
    assert answer.headers["hx-redirect"] == "/layers/l-app"
    layer = world.services.layers.get("l-app").layer
    assert (layer.name, layer.notes, layer.icon, layer.priority) == ("web", "two\nlines", "world", 9)


@pytest.mark.parametrize(("language", "said"), [("en", "A name has 1 to 64"), ("ja", "名前は1から64文字")])
def test_a_change_that_is_refused_keeps_what_was_typed(browse: Make, language: str, said: str) -> None:
    browser = browse(language=language)
    sent = {"name": "a/b", "notes": "mine", "icon": "", "priority": "1"}
    answer = browser.send("/layers/l-app/change", sent)
    assert answer.status_code == 422 and said in text_of(answer)
    assert 'value="a/b"' in answer.text and "mine" in answer.text
    answer = browser.send("/layers/l-app/change", {**sent, "name": "x", "priority": "many"})
    assert answer.status_code == 422 and 'value="many"' in answer.text
    assert 'name="priority"' not in browser.part("/layers/l-os/change").text


def test_clone(console: Browser, world: World) -> None:
    assert console.send("/layers/l-app/clone", name="").status_code == 422
    answer = console.send("/layers/l-app/clone", name="nginx")
    assert answer.status_code == 422 and "exists already" in text_of(answer)
    answer = console.send("/layers/l-app/clone", name="copy")
    copy = world.services.layers.get("copy")
    assert answer.headers["hx-redirect"] == f"/layers/{copy.layer.id}"
    assert [view.version.name for view in copy.versions] == ["1.0"]


def test_deleting_a_layer_that_is_used_names_who_uses_it(console: Browser) -> None:
    dialog = console.part("/layers/l-os/delete")
    assert "cannot be deleted while it is in use: nginx" in text_of(dialog)
    assert 'type="submit"' not in dialog.text
    answer = console.send("/layers/l-os/delete")
    assert answer.status_code == 422 and "nginx" in text_of(answer)


def test_deleting_a_layer(console: Browser, world: World) -> None:
    clone = world.services.layers.clone(APPLIANCE, "l-app", "copy").layer
    assert "Delete copy with all its versions?" in text_of(console.part(f"/layers/{clone.id}/delete"))
    answer = console.send(f"/layers/{clone.id}/delete")
    assert answer.headers["hx-redirect"] == "/layers?kind=app"
    assert _kinds(world, clone.id) == [TaskKind.DELETE_LAYER_VERSION]


def test_a_version(console: Browser) -> None:
    answer = console.get("/layers/versions/v-app")
    said = text_of(answer)
    assert "Deployable" in said and "Made on Debian 12" in said and "nginx 1.1 Layer version" in said
    assert 'href="/layers/versions/v-os"' in answer.text
    assert 'href="/api/v1/layer-versions/v-app/export"' in answer.text


def test_a_version_that_is_being_edited(console: Browser, world: World) -> None:
    answer = console.get("/layers/versions/v-edit")
    said = text_of(answer)
    assert "Open packaging machine" in said and "Finalize" in said and "Discard" in said
    assert "Delete" not in said and "export" not in answer.text
    with world.db.begin() as work:
        work.versions.replace(replace(work.versions.get("v-edit"), state=VersionState.BROKEN, packaging=None))
    said = text_of(console.get("/layers/versions/v-edit"))
    assert "Discard" in said and "Finalize" not in said


def test_a_version_that_a_task_works_on(console: Browser, world: World) -> None:
    _creation(world, TaskState.RUNNING)
    with world.db.begin() as work:
        work.versions.replace(replace(work.versions.get("v-edit"), holder_task_id="t-create"))
    said = text_of(console.get("/layers/versions/v-edit"))
    assert "Create a layer version" in said and "Finalize" not in said and "Discard" not in said


def test_finalize(console: Browser, world: World) -> None:
    _creation(world, TaskState.ACTION_REQUIRED)
    assert "Something is unfinished" not in text_of(console.part("/layers/versions/v-edit/finalize"))
    with world.db.begin() as work:
        version = work.versions.get("v-edit")
        assert version.packaging is not None
        packaging = replace(version.packaging, gate=("apt: <b>busy</b>",))
        work.versions.replace(replace(version, packaging=packaging))
    dialog = console.part("/layers/versions/v-edit/finalize")
    assert "&lt;b&gt;busy" in dialog.text and 'name="override_gate"' in dialog.text


def test_finalizing_what_cannot_be_says_why(console: Browser) -> None:
    answer = console.send("/layers/versions/v-edit/finalize")
    assert answer.status_code == 422 and "does not exist" in text_of(answer)


def test_discard(console: Browser, world: World) -> None:
    answer = console.send("/layers/versions/v-edit/discard")
    assert answer.headers["hx-redirect"] == "/layers/l-app"
    assert _kinds(world, "v-edit") == [TaskKind.DISCARD_PACKAGING]
    answer = console.send("/layers/versions/v-app/discard")
    assert answer.status_code == 409 and "sekiso:failure" in json.loads(answer.headers["hx-trigger"])


def test_deleting_a_version(console: Browser, world: World) -> None:
    assert "while it is in use: nginx" in text_of(console.part("/layers/versions/v-app/delete"))
    assert console.send("/layers/versions/v-app/delete").status_code == 422
    assert "Delete Debian 13 ?" in text_of(console.part("/layers/versions/v-os2/delete"))
    assert console.send("/layers/versions/v-os2/delete").headers["hx-redirect"] == "/layers/l-os"
    assert _kinds(world, "v-os2") == [TaskKind.DELETE_LAYER_VERSION]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/layers/l-app/change",
            "/layers/l-app/clone",
            "/layers/l-app/delete",
            "/layers/l-app/versions/new",
        ),
        *(
            "/layers/versions/v-edit/finalize",
            "/layers/versions/v-os2/delete",
            "/layers/import-os",
            "/layers/new",
        ),
    ],
)
@pytest.mark.parametrize("role", [Role.PUBLISHER, Role.READ_ONLY])
def test_changing_is_for_layer_managers(browse: Make, path: str, role: Role) -> None:
    browser = browse(role)
    assert browser.get(path).status_code == 403
    assert browser.send(path, name="x").status_code == 403
    assert browser.send("/layers/versions/v-edit/discard").status_code == 403


def _kinds(world: World, subject_id: str) -> list[TaskKind]:
    return [task.kind for task in world.services.tasks.list(TaskFilter(subject_id=subject_id))]


def _creation(world: World, state: TaskState) -> None:
    subjects = (
        Subject(SubjectKind.LAYER_VERSION, "v-edit", "nginx 1.1"),
        Subject(SubjectKind.LAYER, "l-app", "nginx"),
    )
    world.engine.start(NewTask("t-create", TaskKind.CREATE_LAYER, subjects, {}, "admin"))
    with world.db.begin() as work:
        work.tasks.replace(replace(work.tasks.get("t-create"), state=state))
