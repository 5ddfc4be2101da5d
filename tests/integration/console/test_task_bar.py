"""The bar of tasks and the log of a task, live in a real browser (OP-1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from sekiso.agent.pki import load_server_certificate
from sekiso.console.app import Site, create_console
from sekiso.model.task import NewTask, Subject, SubjectKind, TaskFilter, TaskKind, TaskState
from sekiso.web.app import create_app
from sekiso.web.server import serve
from tests.support.chromium import Reader, accessibility_faults, overflow, reading
from tests.unit.web.world import PASSWORD, World

from .conftest import Served

pytestmark = pytest.mark.slow

IMAGE = Subject(SubjectKind.IMAGE, "i-1", "web 2026")
VERSION = Subject(SubjectKind.LAYER_VERSION, "v-edit", "nginx 1.1")


def change(world: World, task_id: str, **changes: Any) -> None:
    with world.db.begin() as work:
        work.tasks.replace(replace(work.tasks.get(task_id), **changes))


def run(world: World, task_id: str, kind: TaskKind = TaskKind.PUBLISH_IMAGE, **changes: Any) -> None:
    """Put a task into the world that runs."""
    subject = VERSION if kind is TaskKind.CREATE_LAYER else IMAGE
    world.engine.start(NewTask(task_id, kind, (subject,), {}, "someone"))
    change(world, task_id, **{"state": TaskState.RUNNING, **changes})


@pytest.fixture
def world(served: Served) -> World:
    """Nothing runs any more."""
    for task in served.world.services.tasks.list(TaskFilter()):
        change(served.world, task.id, state=TaskState.COMPLETE, ended_s=1.0)
    return served.world


@pytest.fixture
def reader(chromium: Browser, served: Served, world: World) -> Iterator[Reader]:
    with reading(chromium, served.base, "en") as found:
        found.log_in("administrator", PASSWORD)
        yield found
        assert found.take() == []


def bar(page: Page) -> Any:
    return page.locator("#task-bar")


def test_tasks_come_move_and_go(reader: Reader, world: World) -> None:
    page = reader.page
    reader.open("/tasks")
    expect(bar(page)).to_be_hidden()
    run(world, "b-1", percent=10.0, step="Preparing")
    expect(bar(page)).to_contain_text("Preparing")
    expect(page.locator("#task-list")).to_contain_text("web 2026")
    change(world, "b-1", percent=55.0)
    expect(bar(page)).to_contain_text("55%")
    expect(page.locator("#task-list")).to_contain_text("55%")
    change(world, "b-1", state=TaskState.COMPLETE, ended_s=1.0)
    expect(bar(page)).to_be_hidden()


def test_refreshes_take_no_focus_and_no_question(reader: Reader, world: World) -> None:
    page = reader.page
    run(world, "c-1", percent=1.0)
    reader.open("/tasks")
    button = bar(page).get_by_role("button", name="Cancel the task Publish an image web 2026")
    button.focus()
    change(world, "c-1", percent=2.0)
    expect(bar(page)).to_contain_text("2%")
    expect(button).to_be_focused()
    button.press("Enter")
    change(world, "c-1", percent=3.0)
    # Longer than it takes the bar to refresh.
    page.wait_for_timeout(2000)
    expect(bar(page)).to_contain_text("2%")
    page.locator("#confirm").get_by_role("button", name="Cancel the task").click()
    expect(page.locator("#notices")).to_contain_text("The task is being canceled.")
    assert world.services.tasks.get("c-1").state in (TaskState.CANCELING, TaskState.CANCELED)
    # What was not refreshed meanwhile is caught up with.
    expect(bar(page)).not_to_contain_text("2%")


def test_several_are_one_line_that_stays_as_it_was_left(reader: Reader, world: World) -> None:
    page = reader.page
    for number in range(8):
        run(world, f"d-{number}", percent=1.0)
    run(
        world,
        "d-act",
        TaskKind.CREATE_LAYER,
        state=TaskState.ACTION_REQUIRED,
        action="Install what the layer is to hold in the packaging machine nginx 1.1, then shut it down.",
    )
    reader.open("/tasks")
    expect(bar(page)).to_contain_text("Action required: 1")
    assert bar(page).bounding_box()["height"] < 60
    page.locator("#task-fold-summary").click()
    link = bar(page).get_by_role("link", name="Packaging machine")
    expect(link).to_be_visible()
    change(world, "d-1", percent=44.0)
    expect(bar(page)).to_contain_text("44%")
    expect(link).to_be_visible()
    assert accessibility_faults(page) == []
    reader.open("/")
    expect(link).to_be_visible()
    link.click()
    page.wait_for_url("**/layers/versions/v-edit/machine")
    page.locator("#task-fold-summary").click()
    expect(link).to_be_hidden()


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_it_covers_nothing(chromium: Browser, served: Served, world: World, width: int, theme: Any) -> None:
    for number in range(8):
        run(world, f"e-{width}-{number}", percent=1.0)
    with reading(chromium, served.base, "ja", width=width, theme=theme) as reader:
        reader.log_in("administrator", PASSWORD)
        reader.open("/tasks")
        page = reader.page
        expect(bar(page)).to_contain_text("実行中: 8")
        page.locator("#task-fold-summary").click()
        page.wait_for_timeout(200)
        page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
        last = page.locator("#task-list").bounding_box()
        assert last is not None
        assert last["y"] + last["height"] <= bar(page).bounding_box()["y"]
        assert not overflow(page) and accessibility_faults(page) == []
        assert reader.take() == []


def test_the_log_grows(reader: Reader, world: World) -> None:
    page = reader.page
    run(world, "f-1")
    reader.open("/tasks/f-1")
    expect(page.locator("[data-log]")).to_contain_text("Nothing has been written yet.")
    for number in range(60):
        with world.db.begin() as work:
            work.tasks.log("f-1", f"This is attempt {number}.")
    lines = page.locator("[data-log] li:not([hidden])")
    expect(lines).to_have_count(60)
    end = "(log) => log.scrollHeight - log.scrollTop - log.clientHeight < 2 && log.scrollTop > 0"
    assert page.locator("[data-log]").evaluate(end)
    change(world, "f-1", state=TaskState.COMPLETE, ended_s=1.0)
    expect(page.locator("#task-facts")).to_contain_text("The image is published.")


def test_a_page_outlives_a_restart_of_the_appliance(chromium: Browser, tmp_path: Path) -> None:
    served = Served(tmp_path)
    try:
        with reading(chromium, served.base, "en") as reader:
            reader.log_in("administrator", PASSWORD)
            run(served.world, "g-1", percent=5.0)
            reader.open("/tasks/g-1")
            expect(bar(reader.page)).to_contain_text("5%")
            _restart(served, reader.page)
            with served.world.db.begin() as work:
                work.tasks.log("g-1", "This is attempt 2.")
            change(served.world, "g-1", percent=77.0)
            expect(reader.page.locator("#task-facts")).to_contain_text("77%")
            expect(reader.page.locator("[data-log]")).to_contain_text("This is attempt 2.")
            expect(reader.page.locator("#notices")).not_to_contain_text("cannot be reached")
    finally:
        served.close()


def _restart(served: Served, page: Page) -> None:
    """End the server and start it again, with its state, at its port."""
    port = served.server.port
    served.console.state.live.stop()
    served.server.stop()
    expect(page.locator("#notices")).to_contain_text("The appliance cannot be reached.")
    state = served.world.state
    certificate = load_server_certificate(state / "pki-web", ("localhost", "127.0.0.1"))
    served.console = create_console(served.world.services)
    site = Site(create_app(served.world.services), served.console)
    served.server = serve(site, "127.0.0.1", port, certificate.certificate, certificate.key)
