"""Layers, versions, templates and images: what is special about each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from sekiso.errors import AlreadyExistsError, AmbiguousNameError, BusyError, NotFoundError
from sekiso.model.layer import LayerKind
from sekiso.model.library import TemplateRecord
from sekiso.model.task import Subject, SubjectKind, TaskState
from sekiso.store.database.api import UnitOfWork
from sekiso.store.database.database import Database

from . import samples


@pytest.fixture
def filled(db: Database) -> Database:
    with db.begin() as work:
        samples.fill(work)
    return db


def test_a_layers_name_is_unique_in_its_kind(filled: Database) -> None:
    with filled.begin() as work:
        with pytest.raises(AlreadyExistsError, match="The layer EDITOR"):
            work.layers.add(replace(samples.APP_LAYER, id="x", name="EDITOR"))
        work.layers.add(replace(samples.APP_LAYER, id="x", name="EDITOR", kind=LayerKind.PLATFORM))
        with pytest.raises(AmbiguousNameError) as caught:
            work.layers.by_reference("editor")
        assert caught.value.params["ids"] == "layer-app (app), x (platform)"
        assert work.layers.by_reference("editor", LayerKind.PLATFORM).id == "x"
        assert work.layers.by_reference("x").id == "x"
        with pytest.raises(NotFoundError):
            work.layers.by_reference("x", LayerKind.APP)
        with pytest.raises(NotFoundError):
            work.layers.by_reference("editor", LayerKind.OS)


def test_the_next_priority_is_above_every_app_layer(db: Database) -> None:
    with db.begin() as work:
        assert work.layers.next_priority() == 1
        work.layers.add(replace(samples.OS_LAYER, priority=99))
        assert work.layers.next_priority() == 1
        work.layers.add(samples.APP_LAYER)
        assert work.layers.next_priority() == samples.APP_LAYER.priority + 1


def test_versions_by_layer_content_and_machine(filled: Database) -> None:
    with filled.begin() as work:
        assert [v.id for v in work.versions.of_layer("layer-app")] == ["v-app", "v-done"]
        assert work.versions.of_layer("nothing") == ()
        assert [v.id for v in work.versions.by_identity("e" * 64)] == ["v-done"]
        assert work.versions.by_identity("") == ()
        assert [v.id for v in work.versions.editing()] == ["v-app"]
        with pytest.raises(AlreadyExistsError, match=r"The layer version 1\.0 "):
            work.versions.add(replace(samples.DONE_VERSION, id="x", name="1.0 "))
        work.versions.add(replace(samples.DONE_VERSION, id="x", name="1.0", layer_id="layer-os"))


def test_what_uses_a_version(filled: Database) -> None:
    template = Subject(SubjectKind.TEMPLATE, "tpl-1", "Desktop")
    image = Subject(SubjectKind.IMAGE, "image-1", samples.IMAGE.name)
    done = Subject(SubjectKind.LAYER_VERSION, "v-done", "Editor 0.9")
    app = Subject(SubjectKind.LAYER_VERSION, "v-app", "Editor 1.0")
    holder = Subject(SubjectKind.TASK, "task-1", "create-layer Editor")
    with filled.begin() as work:
        assert work.versions.users_of("v-os") == (done, app, template, image)
        assert work.versions.users_of("v-done") == (template, image)
        assert work.versions.users_of("v-app") == (template, holder)
        assert work.versions.users_of("nothing") == ()
        work.templates.replace(replace(samples.TEMPLATE, platform_version_id="v-done", app_version_ids=()))
        assert work.versions.users_of("v-done") == (template, image)
        # A version that continues another needs it until it has content of its own.
        work.versions.replace(replace(samples.APP_VERSION, previous_version_id="v-done", base_version_ids=()))
        assert app in work.versions.users_of("v-done")
        work.versions.replace(
            replace(samples.APP_VERSION, previous_version_id="v-done", base_version_ids=(), identity="1" * 64)
        )
        assert app not in work.versions.users_of("v-done")


def test_what_uses_a_configuration(filled: Database) -> None:
    def users(work: UnitOfWork) -> list[tuple[SubjectKind, str]]:
        return [(user.kind, user.id) for user in work.configurations.users_of("conf-1")]

    with filled.begin() as work:
        work.tasks.add(samples.task("in-lane", lane="conf-1"))
        about = Subject(SubjectKind.CONFIGURATION, "conf-1", "Site 1")
        work.tasks.add(samples.task("about", subjects=(about,), state=TaskState.ACTION_REQUIRED))
        work.tasks.add(samples.task("elsewhere", lane="conf-2"))
        for state in (TaskState.COMPLETE, TaskState.FAILED, TaskState.CANCELED):
            work.tasks.add(samples.task(state.value, lane="conf-1", state=state))
        assert users(work) == [
            (SubjectKind.TEMPLATE, "tpl-1"),
            (SubjectKind.LAYER_VERSION, "v-app"),
            (SubjectKind.TASK, "about"),
            (SubjectKind.TASK, "in-lane"),
            (SubjectKind.TASK, "task-1"),
        ]
        assert work.configurations.users_of("conf-gone") == ()  # images only remember it


HELD: dict[str, tuple[str, str]] = {
    "versions": ("v-done", "The layer version Editor 0.9 is busy."),
    "images": ("image-1", f"The image {samples.IMAGE.name} is busy."),
}


@pytest.mark.parametrize("table", HELD)
def test_one_task_at_a_time(filled: Database, table: str) -> None:
    record_id, busy = HELD[table]
    with filled.begin() as work:
        rows = getattr(work, table)
        rows.let_go(record_id, "task-1")
        work.tasks.add(samples.task("a"))
        work.tasks.add(samples.task("b"))
        assert rows.hold(record_id, "a").holder_task_id == "a"
        assert rows.hold(record_id, "a").holder_task_id == "a"
        with pytest.raises(BusyError) as caught:
            rows.hold(record_id, "b")
        assert caught.value.params["task"] == "a"
        assert caught.value.params["holder"] == "publish-image Desktop"
        assert caught.value.render().startswith(busy)
        rows.let_go(record_id, "b")
        assert rows.get(record_id).holder_task_id == "a"
        rows.let_go(record_id, "a")
        assert rows.hold(record_id, "b").holder_task_id == "b"
        with pytest.raises(NotFoundError, match="The task nothing"):
            rows.let_go(record_id, "b")
            rows.hold(record_id, "nothing")
        with pytest.raises(NotFoundError):
            rows.hold("nothing", "a")
        rows.let_go("nothing", "a")
        rows.hold(record_id, "b")
        work.tasks.remove("b")
        assert rows.get(record_id).holder_task_id is None


@pytest.mark.parametrize("table", HELD)
def test_of_many_tasks_one_gets_hold(filled: Database, other: Database, table: str) -> None:
    record_id, _ = HELD[table]
    tasks = [f"racer-{number}" for number in range(12)]
    with filled.begin() as work:
        getattr(work, table).let_go(record_id, "task-1")
        for task_id in tasks:
            work.tasks.add(samples.task(task_id))
    barrier = Barrier(len(tasks))

    def race(task_id: str) -> str:
        database = filled if int(task_id[-1]) % 2 else other
        barrier.wait()
        try:
            with database.begin() as work:
                getattr(work, table).hold(record_id, task_id)
        except BusyError as exc:
            return str(exc.params["task"])
        return task_id

    with ThreadPoolExecutor(len(tasks)) as pool:
        holders = set(pool.map(race, tasks))
    assert len(holders) == 1
    with filled.read() as work:
        assert getattr(work, table).get(record_id).holder_task_id in holders


def test_earlier_revisions_are_history(filled: Database) -> None:
    second = replace(samples.TEMPLATE, revision=2, name="Desk", app_version_ids=("v-done",), changed_s=8.0)
    third = replace(second, revision=3, name="Desk 3", os_version_id="v-done", changed_s=9.0)
    with filled.begin() as work:
        assert work.templates.history("tpl-1") == (samples.TEMPLATE,)
        work.templates.replace(second)
        work.templates.replace(third)
        assert work.templates.history("tpl-1") == (third, second, samples.TEMPLATE)
        with pytest.raises(AlreadyExistsError, match="A later revision"):
            work.templates.replace(replace(second, notes="late"))
        corrected = replace(third, notes="corrected")
        work.templates.replace(corrected)
        assert work.templates.history("tpl-1") == (corrected, second, samples.TEMPLATE)
        # What an earlier revision used is not in use any more.
        work.images.remove("image-1")
        assert all(user.kind is not SubjectKind.TEMPLATE for user in work.versions.users_of("v-app"))
        work.versions.remove("v-app")
        assert work.templates.history("tpl-1")[-1].app_version_ids == ("v-done", "v-app")
        work.templates.remove("tpl-1")
        assert work.templates.history("tpl-1") == ()


def test_a_refused_revision_leaves_no_history(filled: Database) -> None:
    with filled.begin() as work:
        work.templates.add(replace(samples.TEMPLATE, id="tpl-2", name="Other"))

        def refused(record: TemplateRecord, error: type[Exception], call: Callable[..., None]) -> None:
            with pytest.raises(error):
                call(record)

        taken = replace(samples.TEMPLATE, revision=2, name="OTHER")
        refused(taken, AlreadyExistsError, work.templates.replace)
        refused(replace(taken, id="tpl-3"), AlreadyExistsError, work.templates.add)
        refused(replace(samples.TEMPLATE, id="tpl-3"), NotFoundError, work.templates.replace)
        assert work.templates.history("tpl-1") == (samples.TEMPLATE,)
        assert work.templates.history("tpl-3") == ()


def test_images_outlive_their_template(filled: Database) -> None:
    with filled.begin() as work:
        newer = replace(samples.IMAGE, id="newer", name="Desktop 2", created_s=8.0)
        work.images.add(newer)
        assert work.images.of_template("tpl-1") == (newer, samples.IMAGE)
        work.templates.remove("tpl-1")
        assert work.images.get("newer") == replace(newer, template_id=None)
        assert work.images.of_template("tpl-1") == ()
