"""Pages of image templates: list, page, publishing, cloning, deleting, export, revisions (IM-1, IM-2)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sekiso.console.pages.images.revisions import changes
from sekiso.model.library import Role, TemplateRecord, VersionState
from sekiso.model.task import TaskFilter, TaskKind
from sekiso.services.core import APPLIANCE
from sekiso.services.templates import TemplateWish

from ..web.world import ROOT, World
from .conftest import Browser, Make, text_of

LIST = "/images/templates"


@pytest.fixture
def template(world: World) -> TemplateRecord:
    return world.services.templates.get("web").template


def change(world: World, **wish: object) -> TemplateRecord:
    base = TemplateWish("web", "prod", "v-os", ("v-app",))
    return world.services.templates.change(APPLIANCE, "web", replace(base, **wish)).template


def test_the_list_is_searched_sorted_and_paged(console: Browser, world: World) -> None:
    for number in range(55):
        world.services.templates.create(APPLIANCE, TemplateWish(f"kiosk {number:02}", "prod", "v-os"))
    page = console.get(LIST)
    assert page.status_code == 200 and "kiosk 00" in page.text and "1–50 of 56" in text_of(page)
    assert ">web<" not in page.text and ">web<" in console.get(LIST, offset=50).text
    assert ">web<" in console.get(LIST, sort="name", order="desc").text
    found = console.get(LIST, text="KIOSK 07")
    assert "kiosk 07" in found.text and "kiosk 08" not in found.text
    assert "Nothing matches the search." in text_of(console.get(LIST, text="nothing"))


def test_an_empty_list_leads_on(browse: Make, world: World) -> None:
    world.services.templates.remove(APPLIANCE, "web")
    page = browse().get(LIST)
    assert "There are no image templates yet" in text_of(page) and 'href="/images/templates/new"' in page.text
    assert 'href="/images/templates/new"' not in browse(Role.READ_ONLY).get(LIST).text


def test_the_page_names_layers_in_merge_order(console: Browser, template: TemplateRecord) -> None:
    page = text_of(console.get(f"{LIST}/{template.id}"))
    assert page.index("Debian") < page.index("nginx") and "web 2026-02-02 02-40-00" in page
    assert "This image template cannot be published now." not in page


def test_the_page_warns_of_versions_that_are_not_deployable(
    console: Browser, world: World, template: TemplateRecord
) -> None:
    with world.db.begin() as work:
        work.versions.replace(replace(work.versions.get("v-app"), state=VersionState.BROKEN))
    page = text_of(console.get(f"{LIST}/{template.id}"))
    assert "This image template cannot be published now." in page and "Not deployable" in page


@pytest.mark.parametrize("role", [Role.READ_ONLY, Role.PUBLISHER])
def test_who_may_publish_sees_the_buttons(browse: Make, template: TemplateRecord, role: Role) -> None:
    browser, may = browse(role), role is Role.PUBLISHER
    for path in (
        LIST,
        f"{LIST}/{template.id}",
        f"{LIST}/{template.id}/plan",
        f"{LIST}/{template.id}/revisions",
    ):
        page = browser.get(path)
        assert page.status_code == 200
        assert ("/images/templates/publish" in page.text) is may
    for path in (
        f"{LIST}/new",
        f"{LIST}/{template.id}/edit",
        f"{LIST}/publish",
        f"{LIST}/{template.id}/clone",
    ):
        assert (browser.get(path).status_code == 200) is may
    assert (browser.send(f"{LIST}/{template.id}", method="DELETE").status_code == 204) is may


def test_several_are_published_at_once(console: Browser, world: World, template: TemplateRecord) -> None:
    other = world.services.templates.create(APPLIANCE, TemplateWish("other", "prod", "v-os")).template
    dialog = console.part(f"{LIST}/publish?templates={template.id}&templates={other.id}")
    assert "web" in text_of(dialog) and "other" in text_of(dialog)
    answer = console.send(f"{LIST}/publish", {"templates": [template.id, other.id], "count": "2"})
    assert answer.headers["hx-redirect"] == "/images" and "Images: 4." in answer.headers["hx-trigger"]
    tasks = world.services.tasks.list(TaskFilter(kinds=frozenset({TaskKind.PUBLISH_IMAGE})))
    names = {task.subjects[0].name for task in tasks}
    assert sum(name.startswith("other ") for name in names) == 2
    waiting = text_of(console.get("/images"))
    assert all(name in waiting for name in names)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_too_many_images_are_refused_in_the_dialog(
    browse: Make, template: TemplateRecord, language: str
) -> None:
    answer = browse(language=language).send(f"{LIST}/publish", {"templates": [template.id], "count": "51"})
    assert answer.status_code == 422 and 'value="51"' in answer.text
    problem = answer.text.partition('id="count-problem"')[2].partition("</div>")[0]
    assert "50" in problem and ("more than" in problem) is (language == "en")


def test_nothing_selected_is_said(console: Browser) -> None:
    assert "No image template is selected." in text_of(console.part(f"{LIST}/publish"))


def test_clone_and_delete(console: Browser, world: World, template: TemplateRecord) -> None:
    where = f"{LIST}/{template.id}"
    assert "Name of the copy" in text_of(console.part(f"{where}/clone"))
    for name, said in (("", "It is missing."), ("web", "exists already"), ("a<b", "printable")):
        answer = console.send(f"{where}/clone", {"name": name})
        assert answer.status_code == 422 and "a<b" not in answer.text
        assert said in text_of(answer)
    answer = console.send(f"{where}/clone", {"name": "second"})
    copy = world.services.templates.get("second").template
    assert answer.headers["hx-redirect"] == f"{LIST}/{copy.id}"
    answer = console.send(where, method="DELETE")
    assert answer.headers["hx-redirect"] == LIST and [
        v.template.name for v in world.services.templates.list()
    ] == ["second"]
    image = console.get("/images/i-1")
    assert image.status_code == 200 and "(deleted)" in text_of(image)


def test_an_export_is_what_the_rest_api_takes(
    console: Browser, world: World, template: TemplateRecord
) -> None:
    answer = console.get(f"{LIST}/{template.id}/export")
    assert "web.json" in answer.headers["content-disposition"]
    body = answer.json()
    assert body["configuration"] == "prod" and body["app_version_ids"] == ["v-app"]
    world.services.templates.remove(APPLIANCE, template.id)
    assert world.client(Role.PUBLISHER).post(f"{ROOT}/image-templates", json=body).status_code == 201
    again = world.services.templates.get("web").template
    assert replace(again, id="", created_s=0.0, changed_s=0.0) == replace(
        template, id="", created_s=0.0, changed_s=0.0
    )


def test_revisions_are_compared(console: Browser, world: World, template: TemplateRecord) -> None:
    where = f"{LIST}/{template.id}/revisions"
    assert "There is one revision." in text_of(console.get(where))
    change(world, os_version_id="v-os2", app_version_ids=(), size_bytes=40 << 30)
    change(world, os_version_id="v-os2", app_version_ids=(), size_bytes=40 << 30, notes="<b>new</b>")
    page = console.get(where)
    assert "Differences between revision 2 and revision 3" in text_of(page)
    assert "&lt;b&gt;new&lt;/b&gt;" in page.text and "<b>new" not in page.text
    page = text_of(console.get(where, older=3, newer=1))
    assert "Differences between revision 1 and revision 3" in page
    assert "Debian 13" in page and "nginx 1.0" in page and "40 GB" in page


def test_changes_name_what_came_and_went(template: TemplateRecord) -> None:
    after = replace(template, app_version_ids=("v-2",), boot_test=True, revision=2, changed_s=1.0)
    apps, test = changes(template, after)
    assert (apps.added, apps.removed, test.field, test.after) == (("v-2",), ("v-app",), "boot_test", True)


def test_what_is_not_there(console: Browser) -> None:
    of_templates = (f"{LIST}/none{end}" for end in ("", "/plan", "/edit", "/revisions", "/export"))
    for path in (*of_templates, "/images/none", "/images/none/screenshot"):
        assert console.get(path).status_code == 404
