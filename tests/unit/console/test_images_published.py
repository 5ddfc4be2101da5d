"""Pages of published images: list, page, boot test, removal (IM-2, IM-6)."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from sekiso.model.library import ImageState, Role
from sekiso.model.task import NewTask, Subject, SubjectKind, TaskFilter, TaskKind, TaskState

from ..web.world import PNG, World
from .conftest import Browser, Make, text_of


def change(world: World, **values: Any) -> None:
    with world.db.begin() as work:
        work.images.replace(replace(work.images.get("i-1"), **values))


def test_the_list_is_searched_and_narrowed(console: Browser, world: World) -> None:
    change(world, file_bytes=3 << 29)
    page = text_of(console.get("/images"))
    assert "web 2026-02-02 02-40-00" in page and "1.5 GB" in page and "hv01" in page and "Published" in page
    assert "web 2026" in text_of(console.get("/images", text="2026 WEB", state="published"))
    for narrowed in ({"text": "other"}, {"state": "failed"}, {"template": "none"}):
        assert "Nothing matches the search." in text_of(console.get("/images", **narrowed))
    assert console.get("/images", sort="size", order="desc").status_code == 200
    assert console.get("/images", sort="nonsense").status_code == 422


def test_an_empty_list_leads_to_the_templates(console: Browser, world: World) -> None:
    with world.db.begin() as work:
        work.images.remove("i-1")
        for task in work.tasks.list(TaskFilter()):
            work.tasks.remove(task.id)
    page = console.get("/images")
    assert "No images have been published yet" in text_of(page) and 'href="/images/templates"' in page.text


def test_publishing_shows_percent_and_step(console: Browser, world: World) -> None:
    change(world, state=ImageState.PUBLISHING)
    subject = Subject(SubjectKind.IMAGE, "i-1", "web")
    world.engine.start(NewTask("t-1", TaskKind.PUBLISH_IMAGE, (subject,), {}, "publisher"))
    with world.db.begin() as work:
        task = work.tasks.get("t-1")
        work.tasks.replace(replace(task, state=TaskState.RUNNING, percent=47.4, step="Creating the machine"))
    for path in ("/images", "/images/i-1"):
        page = console.get(path)
        assert "47% · Creating the machine" in text_of(page) and 'hx-trigger="sekiso:tasks' in page.text
    assert "Boot test now" not in text_of(page) and "/tasks/t-1" in page.text


def test_the_page_shows_how_it_was_made_and_tested(console: Browser, world: World) -> None:
    report = {"os_name": "Debian <12>", "services_state": "degraded", "failed_services": ["nginx.service"]}
    facts = {"cache_hit": True, "layers_sent": 2, "layer_wire_bytes": 1 << 20, "conflicts": -1}
    change(
        world,
        disk_path="C:\\Images\\web.vhd",
        machine_id="m-1",
        facts=facts,
        boot_test={"reported_s": 42.0, "report": report},
    )
    page = console.get("/images/i-1")
    said = text_of(page)
    assert "C:\\Images\\web.vhd" in page.text and "Debian &lt;12&gt;" in page.text and "m-1" in said
    assert "0:42" in said and "nginx.service" in said and "The disk was taken from it" in said
    assert "Not known" in said and 'src="/images/i-1/screenshot"' in page.text
    picture = console.get("/images/i-1/screenshot")
    assert picture.content == PNG and picture.headers["content-type"] == "image/png"


def test_a_report_that_says_nothing(console: Browser, world: World) -> None:
    change(world, boot_test={"reported_s": 1.0, "report": {}})
    assert console.get("/images/i-1").status_code == 200


def test_boot_test_and_removal(console: Browser, world: World) -> None:
    answer = console.send("/images/i-1/boot-test")
    assert answer.status_code == 204 and "sekiso:tasks" in answer.headers["hx-trigger"]
    answer = console.send("/images/i-1", method="DELETE")
    assert answer.headers["hx-redirect"] == "/images"
    kinds = {task.kind for task in world.services.tasks.list(TaskFilter(subject_id="i-1"))}
    assert kinds == {TaskKind.BOOT_TEST, TaskKind.DELETE_IMAGE}


def test_who_may_not_publish_looks_only(browse: Make) -> None:
    reader = browse(Role.READ_ONLY)
    page = reader.get("/images/i-1")
    assert page.status_code == 200 and "Boot test now" not in page.text and "hx-delete" not in page.text
    assert reader.send("/images/i-1/boot-test").status_code == 403
    assert reader.send("/images/i-1", method="DELETE").status_code == 403
    assert browse(Role.PUBLISHER).send("/images/i-1/boot-test").status_code == 204


@pytest.mark.parametrize("path", ["/images", "/images/i-1", "/images/templates"])
def test_pages_in_japanese(browse: Make, path: str) -> None:
    page = browse(language="ja").get(path)
    assert page.status_code == 200 and "公開" in text_of(page)


@pytest.mark.parametrize("path", ["/images", "/images/i-1", "/images/templates", "/images/templates/web"])
def test_a_page_is_left_as_it_is_until_something_changes(console: Browser, world: World, path: str) -> None:
    (again,) = re.findall(r'hx-get="([^"]*seen=[^"]*)"', console.get(path).text)
    answer = console.part(unescape(again))
    assert answer.status_code == 204 and not answer.content
    change(world, file_bytes=5 << 30, state=ImageState.DELETING)
    assert console.part(unescape(again)).status_code == 200


def test_the_newest_images_come_first(console: Browser, world: World) -> None:
    with world.db.begin() as work:
        first = work.images.get("i-1")
        work.images.add(replace(first, id="i-2", name="zoo", created_s=first.created_s + 1))
    said = text_of(console.get("/images"))
    assert said.index("zoo") < said.index("web 2026")
    said = text_of(console.get("/images", sort="name"))
    assert said.index("zoo") > said.index("web 2026")
