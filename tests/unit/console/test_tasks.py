"""Tasks: the bar, the history, one task with its log (OP-1, OP-3)."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from typing import Any

import pytest

from sekiso.console.pages.tasks import OPEN_COOKIE
from sekiso.console.subjects import place_of
from sekiso.model.library import Role
from sekiso.model.task import NewTask, Subject, SubjectKind, TaskKind, TaskState

from ..web.world import World
from .conftest import Browser, Make, text_of

VERSION = Subject(SubjectKind.LAYER_VERSION, "v-edit", "nginx 1.1")
LAYER = Subject(SubjectKind.LAYER, "l-app", "nginx")
IMAGE = Subject(SubjectKind.IMAGE, "i-1", "web 2026")
ERROR = {"code": "busy", "params": {"what": "The image", "name": "web", "task": "t", "holder": "boot-test"}}


def add(
    world: World, task_id: str, kind: TaskKind, state: TaskState, *subjects: Subject, **changes: Any
) -> None:
    """Put a task into the world, in any state."""
    world.engine.start(NewTask(task_id, kind, subjects, {}, changes.pop("by", "someone")))
    with world.db.begin() as work:
        work.tasks.replace(replace(work.tasks.get(task_id), state=state, **changes))


def publish(world: World, task_id: str, state: TaskState = TaskState.RUNNING, **changes: Any) -> None:
    add(world, task_id, TaskKind.PUBLISH_IMAGE, state, IMAGE, **changes)


@pytest.fixture
def world(world: World) -> World:
    """Nothing runs."""
    world.services.tasks.cancel(
        world.services.users.login("administrator", "a long password").actor, "t-queued"
    )
    with world.db.begin() as work:
        work.tasks.replace(replace(work.tasks.get("t-queued"), state=TaskState.CANCELED, ended_s=1.0))
    return world


# The bar


def test_the_bar_is_on_every_page_and_empty_while_nothing_runs(console: Browser) -> None:
    assert 'hx-get="/tasks/bar"' in console.get("/").text
    answer = console.part("/tasks/bar")
    # Not even white space: an empty bar is not shown.
    assert (answer.status_code, answer.text) == (200, "")


@pytest.mark.parametrize(("language", "step"), [("en", "Preparing"), ("ja", "準備")])
def test_one_running_task_in_the_bar(world: World, browse: Make, language: str, step: str) -> None:
    publish(world, "t-1", percent=41.7, step="Preparing")
    bar = browse(language=language).part("/tasks/bar")
    assert step in text_of(bar) and "41%" in text_of(bar) and "web 2026" in text_of(bar)
    assert (
        "<details" not in bar.text and 'hx-post="/tasks/t-1/cancel"' in bar.text and "hx-confirm" in bar.text
    )


def test_what_waits_for_a_person_leads_there(world: World, console: Browser) -> None:
    required = TaskState.ACTION_REQUIRED
    add(world, "t-1", TaskKind.CREATE_LAYER, required, VERSION, LAYER, action="Do it.", percent=100.0)
    bar = console.part("/tasks/bar")
    assert 'href="/layers/versions/v-edit/machine"' in bar.text and "Do it." in text_of(bar)
    assert "everything that was installed" in bar.text


def test_several_are_folded_as_they_were_left(world: World, console: Browser) -> None:
    for number in range(3):
        publish(world, f"t-{number}")
    bar = console.part("/tasks/bar")
    assert "Running: 3" in text_of(bar) and re.search(r"<details[^>]*>", bar.text)
    assert not re.search(r"<details[^>]* open", bar.text)
    console.client.cookies.set(OPEN_COOKIE, "open")
    assert re.search(r"<details[^>]* open", console.part("/tasks/bar").text)


def test_the_bar_does_not_grow_without_end(world: World, console: Browser) -> None:
    for number in range(20):
        publish(world, f"t-{number}")
    bar = text_of(console.part("/tasks/bar"))
    assert "Running: 20" in bar and "8 more are not shown here." in bar


def test_a_failure_is_shown_for_a_minute_or_until_dismissed(world: World, console: Browser) -> None:
    now_s = time.time()
    publish(world, "t-old", TaskState.FAILED, error=ERROR, ended_s=now_s - 61)
    publish(world, "t-new", TaskState.FAILED, error=ERROR, ended_s=now_s - 1)
    bar = console.part("/tasks/bar")
    assert "t-new" in bar.text and "t-old" not in bar.text and "The image web is busy." in text_of(bar)
    # It goes by itself: nothing happens then that would have the bar refreshed.
    assert re.search(r'hx-trigger="load delay:\d+s"', bar.text)
    assert console.send("/tasks/t-new/dismiss").text == ""
    assert console.part("/tasks/bar").text == ""


def test_who_may_not_cancel_has_no_button(world: World, browse: Make) -> None:
    publish(world, "t-1")
    add(world, "t-2", TaskKind.IMPORT_OS, TaskState.RUNNING, VERSION)
    shown = {role: browse(role).part("/tasks/bar").text for role in Role}
    assert ["/t-1/cancel" in shown[role] for role in Role] == [role is not Role.READ_ONLY for role in Role]
    managers = (Role.ADMINISTRATOR, Role.LAYER_MANAGER)
    assert ["/t-2/cancel" in shown[role] for role in Role] == [role in managers for role in Role]


# The history


def test_the_filter_of_the_history(world: World, console: Browser) -> None:
    publish(world, "t-run", by="alice")
    add(world, "t-make", TaskKind.CREATE_LAYER, TaskState.COMPLETE, VERSION, LAYER, by="bob")

    def shown(**query: str) -> set[str]:
        return set(re.findall(r'id="task-(t-[\w-]+)"', console.get("/tasks", **query).text))

    assert shown() == {"t-run", "t-make", "t-queued", "t-failed"}
    assert shown(state="in-progress") == {"t-run"}
    assert shown(state="failed") == {"t-failed"}
    assert shown(kind="create-layer") == {"t-make"}
    assert shown(text="ALICE") == {"t-run"} and shown(text="nginx") == {"t-make"}
    assert shown(subject="l-app") == {"t-make"}
    assert shown(state="nonsense", kind="nonsense") == shown()
    page = console.get("/tasks", text="nothing like it")
    assert "No task fits the filter." in text_of(page)


def test_pages_of_the_history_newest_first(world: World, console: Browser) -> None:
    for number in range(60):
        publish(world, f"t-{number:02}", created_s=2_000_000_000.0 + number)
    first = console.get("/tasks", state="running")
    assert first.text.index('id="task-t-59"') < first.text.index('id="task-t-58"')
    assert "1–50 of 60" in text_of(first) and "/tasks?state=running&amp;offset=50" in first.text
    second = console.get("/tasks", state="running", offset="50")
    assert "51–60 of 60" in text_of(second)
    # What refreshes itself stays at its place.
    assert 'hx-get="/tasks?offset=50&amp;state=running"' in second.text


def test_the_list_alone_for_the_page_and_whole_from_the_history_of_the_browser(console: Browser) -> None:
    part = console.part("/tasks", state="failed")
    assert "<html" not in part.text and 'id="task-list"' in part.text
    headers = {"HX-Request": "true", "HX-History-Restore-Request": "true"}
    assert "<html" in console.client.get("/tasks", headers=headers).text


def test_the_history_of_one_object_says_so(world: World, console: Browser) -> None:
    publish(world, "t-1")
    page = console.get("/tasks", subject="i-1")
    assert "Only of web 2026" in text_of(page)


# One task


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ("The image web is busy.", "test whether an image starts", "What to do", "Wait until")),
        ("ja", ("webは処理中です。", "イメージの起動テスト", "対処方法", "キャンセルしてください")),
    ],
)
def test_why_a_task_failed(world: World, browse: Make, language: str, said: tuple[str, ...]) -> None:
    publish(world, "t-1", TaskState.FAILED, error=ERROR, ended_s=time.time())
    text = text_of(browse(language=language).get("/tasks/t-1"))
    missing = [part for part in said if part not in text]
    assert not missing, text


def test_an_error_of_another_version_is_shown_all_the_same(world: World, console: Browser) -> None:
    publish(world, "t-1", TaskState.FAILED, error={"code": "unheard-of"}, ended_s=time.time())
    assert console.get("/tasks/t-1").status_code == 200 and console.part("/tasks/bar").status_code == 200


def test_how_far_a_task_is(world: World, console: Browser) -> None:
    publish(world, "t-1", percent=99.6, done=3 << 30, total=8 << 30, unit="bytes", step="copy")
    text = text_of(console.part("/tasks/t-1/facts"))
    assert "3 GB of 8 GB" in text and "99%" in text and "Copying the disk" in text


def test_what_came_out_in_words(world: World, console: Browser) -> None:
    found = {
        "cache_hit": True,
        "layers_sent": 3,
        "layer_wire_bytes": 1 << 30,
        "disk_wire_bytes": 0,
        "conflicts": 4,
    }
    publish(world, "t-1", TaskState.COMPLETE, result=found, started_s=100.0, ended_s=3700.0)
    page = console.get("/tasks/t-1")
    text = text_of(page)
    assert "The image is published." in text and "3 (1 GB)" in text and "1:00:00" in text
    assert "The disk was taken from it" in text and 'href="/images/i-1"' in page.text


@pytest.mark.parametrize("kind", list(TaskKind))
def test_every_kind_says_what_came_out(world: World, browse: Make, kind: TaskKind) -> None:
    add(world, "t-1", kind, TaskState.COMPLETE, VERSION, LAYER, result={}, ended_s=1.0)
    for language in ("en", "ja"):
        page = browse(language=language).get("/tasks/t-1")
        outcome = re.search(r'<p class="mb-0">\s*(\S.*?)\s*</p>', page.text, re.DOTALL)
        assert outcome is not None, page.text
        assert (language == "ja") == bool(re.search(r"[\u3040-\u30ff]", outcome[1]))


def test_only_new_lines_of_the_log(world: World, console: Browser) -> None:
    publish(world, "t-1")
    with world.db.begin() as work:
        for text in ("Canceling.", "<b>bold</b>"):
            work.tasks.log("t-1", text)
    page = console.get("/tasks/t-1")
    following = re.search(r'hx-get="(/tasks/t-1/log\?after=(\d+))"', page.text)
    assert following is not None and "<b>bold" not in page.text and "&lt;b&gt;bold" in page.text
    assert console.part(following[1]).status_code == 204
    with world.db.begin() as work:
        work.tasks.log("t-1", "This is attempt 2.")
    more = console.part(following[1])
    assert "This is attempt 2." in text_of(more) and "bold" not in more.text
    assert f"after={int(following[2]) + 1}" in more.text and "every 2s" in more.text


def test_nobody_asks_for_the_log_of_what_has_ended(world: World, console: Browser) -> None:
    publish(world, "t-1", TaskState.COMPLETE, ended_s=1.0)
    assert "every 2s" not in console.get("/tasks/t-1").text


def test_the_log_as_a_file(world: World, browse: Make) -> None:
    publish(world, "t-1")
    with world.db.begin() as work:
        for number in range(1001):
            work.tasks.log("t-1", f"This is attempt {number}.")
    answer = browse(language="ja").get("/tasks/t-1/log.txt")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''publish-image-t-1.txt"
    lines = answer.text.splitlines()
    assert "web 2026" in lines[0] and len([line for line in lines if re.search(r"\b\d+回目", line)]) == 1001
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+\d\d:\d\d  ", lines[2])


def test_cancel_and_retry(world: World, console: Browser) -> None:
    publish(world, "t-1", TaskState.QUEUED)
    answer = console.send("/tasks/t-1/cancel")
    events = json.loads(answer.headers["hx-trigger"])
    assert answer.status_code == 204 and set(events) == {"sekiso:notice", "sekiso:tasks"}
    assert world.services.tasks.get("t-1").state in (TaskState.CANCELING, TaskState.CANCELED)
    assert 'hx-post="/tasks/t-failed/retry"' in console.get("/tasks/t-failed").text
    assert console.send("/tasks/t-failed/retry").status_code == 204
    assert world.services.tasks.get("t-failed").attempt == 2


def test_who_may_not_is_refused(world: World, browse: Make) -> None:
    reader, publisher = browse(Role.READ_ONLY), browse(Role.PUBLISHER)
    add(world, "t-1", TaskKind.IMPORT_OS, TaskState.QUEUED, VERSION)
    assert (
        "/cancel" not in reader.get("/tasks/t-1").text and "/cancel" not in publisher.get("/tasks/t-1").text
    )
    for browser in (reader, publisher):
        answer = browser.send("/tasks/t-1/cancel")
        assert answer.status_code == 403 and "sekiso:failure" in answer.headers["hx-trigger"]
    assert world.services.tasks.get("t-1").state is TaskState.QUEUED


def test_there_is_no_such_task(console: Browser) -> None:
    for path in ("", "/facts", "/log", "/log.txt"):
        assert console.get(f"/tasks/nothing{path}").status_code == 404
    for path in ("cancel", "retry", "dismiss"):
        assert console.send(f"/tasks/nothing/{path}").status_code == 404


def test_names_are_no_markup(world: World, console: Browser) -> None:
    name = "<script>alert(1)</script>\"'"
    add(
        world,
        "t-1",
        TaskKind.PUBLISH_IMAGE,
        TaskState.RUNNING,
        Subject(SubjectKind.IMAGE, "i'\"<", name),
        by=name,
        step=name,
    )
    for path in ("/tasks", "/tasks/t-1", "/tasks/bar", "/tasks?subject=i%27%22%3C", f"/tasks?text={name}"):
        text = console.get(path).text
        assert "alert(1)" in text and "<script>alert" not in text


@pytest.mark.parametrize("kind", [kind for kind in SubjectKind if place_of(Subject(kind, "x", ""))])
def test_links_to_objects_lead_to_pages(console: Browser, kind: SubjectKind) -> None:
    answer = console.get(place_of(Subject(kind, "x", "x")))
    # The object is not there, but its page is.
    assert answer.status_code == 404 and "There is no page at" not in text_of(answer)
