"""Long lists of the services: the same as one by one, by few queries; the audit history as a stream."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from script.lib.console_estate import Size, fill
from sqlalchemy import event

from sekiso.errors import RuleError
from sekiso.model.layer import LayerKind
from sekiso.model.library import ImageState, VersionState
from sekiso.model.listing import AuditFilter, LayerFilter
from sekiso.model.paging import Listing, Page
from sekiso.model.task import Subject, SubjectKind, TaskFilter
from sekiso.services import audit
from sekiso.services.core import NotAllowedError
from sekiso.store.database.database import Database

from ...support.appliance import ADMIN, MANAGER
from ...support.library import Library, open_library

SIZE = Size(layers=60, tasks=30, agents=9, templates=6, images=20, audit=40)


@pytest.fixture(scope="module")
def estate() -> Iterator[Library]:
    """An estate that tests read, or add audit entries to."""
    with open_library() as found:
        with found.core.db.begin() as work:
            fill(work, SIZE)
        yield found


@contextmanager
def counted(library: Library) -> Iterator[list[str]]:
    """Statements that are executed."""
    database: Any = library.core.db
    assert isinstance(database, Database)
    engine: Any = database._engine
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_layers_are_listed_as_they_are_shown_one_by_one(estate: Library) -> None:
    every = estate.layers.list()
    assert len(every) == SIZE.layers
    assert [estate.layers.get(view.layer.id) for view in every] == list(every)
    for view in every[:20]:
        assert [estate.layers.version(v.version.id) for v in view.versions] == list(view.versions)
    apps = estate.layers.list(LayerKind.APP)
    assert apps == tuple(view for view in every if view.layer.kind is LayerKind.APP)
    some = estate.layers.listed(LayerFilter(LayerKind.APP), Listing(offset=5, limit=10))
    assert (some.rows, some.total) == (apps[5:15], len(apps))


def test_a_page_of_layers_says_what_the_layers_say(estate: Library) -> None:
    page = estate.layers.page(listing=Listing(limit=SIZE.layers))
    for row, view in zip(page.rows, estate.layers.list(), strict=True):
        own = {v.version.id for v in view.versions}
        users = {user for v in view.versions for user in v.used_by if user.id not in own}
        assert (row.layer, row.versions, row.file_bytes) == (view.layer, len(own), view.file_bytes)
        assert (row.users, row.os_layer_name) == (len(users), view.os_layer_name)
    editing = estate.layers.page(kind=LayerKind.APP, state=VersionState.EDITING)
    assert all(row.layer.kind is LayerKind.APP for row in editing.rows)
    assert estate.layers.page(os_layer_id="nothing") == Page((), 0, 0, 50)
    with pytest.raises(RuleError):
        estate.layers.page(listing=Listing(sort="weight"))


def test_versions_to_choose_from(estate: Library) -> None:
    every = estate.layers.choices(limit=1000)
    assert len(estate.layers.choices()) == 20
    assert [c.created_s for c in every] == sorted((c.created_s for c in every), reverse=True)
    app = estate.layers.choices(LayerKind.APP, limit=1)[0]
    assert app in estate.layers.choices(LayerKind.APP, app.layer_name.upper(), os_layer_id=app.os_layer_id)
    assert estate.layers.choices(LayerKind.OS, app.layer_name) == ()
    assert estate.layers.version(app.version_id).version.state is VersionState.DEPLOYABLE


def test_images_and_templates_as_they_are_shown_one_by_one(estate: Library) -> None:
    images, templates = estate.images.list(), estate.templates.list()
    assert (len(images), len(templates)) == (SIZE.images, SIZE.templates)
    assert [estate.images.get(view.image.id) for view in images] == list(images)
    assert [estate.templates.get(view.template.id) for view in templates] == list(templates)
    assert all(view.configuration_name and view.agent_name and view.layers for view in images)
    template = images[0].image.template_id
    of_it = estate.images.page(template=template, listing=Listing(limit=1000))
    published = estate.images.page(template=template, state=ImageState.PUBLISHED)
    view = estate.templates.get(template or "")
    assert view.images == published.total
    assert view.last_published_s == max(i.image.created_s for i in of_it.rows)
    assert estate.templates.page(Listing(limit=2)).rows == templates[:2]


def test_tasks_and_agents(estate: Library) -> None:
    page = estate.appliance.tasks.page(TaskFilter(), Listing(limit=10))
    assert (len(page.rows), page.total) == (10, SIZE.tasks)
    agents = estate.appliance.agents
    assert agents.page(Listing("hv01", limit=5)).rows == tuple(a for a in agents.list() if a.name == "hv01")


def test_lists_take_few_queries(estate: Library) -> None:
    services, listing = estate.appliance, Listing(limit=50)
    for read, most in (
        (estate.layers.list, 14),
        (lambda: estate.layers.page(listing=listing), 8),
        (lambda: estate.layers.choices(LayerKind.APP), 3),
        (estate.images.list, 8),
        (estate.templates.list, 8),
        (lambda: services.tasks.page(TaskFilter(), listing), 5),
        (services.agents.list, 5),
        (lambda: services.audit.page(ADMIN, None, listing), 4),
    ):
        with counted(estate) as statements:
            read()
        assert len(statements) <= most, statements


def test_the_audit_history_is_exported_in_portions(estate: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    service = estate.appliance.audit
    every = service.page(ADMIN, None, Listing(limit=1000)).rows[::-1]
    monkeypatch.setattr(audit, "_EXPORTED_AT_ONCE", 7)
    assert tuple(service.export(ADMIN)) == every
    which = AuditFilter(action="layer")
    assert list(service.export(ADMIN, which)) == [e for e in every if e.action.startswith("layer")]
    few = list(service.export(ADMIN, replace(which, before=20), "admin"))
    assert few == [e for e in every if e.number < 20 and e.action.startswith("layer") and e.actor == "admin"]


def test_what_is_added_meanwhile_is_not_exported(estate: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    service = estate.appliance.audit
    monkeypatch.setattr(audit, "_EXPORTED_AT_ONCE", 7)
    total = service.page(ADMIN).total
    coming = service.export(ADMIN)
    first = list(itertools.islice(coming, 3))
    # Nobody who reads slowly keeps others from writing.
    with estate.core.db.begin() as work:
        work.audit.append(actor="x", action="late", subject=Subject(SubjectKind.USER, "u", "u"))
    assert [e.number for e in (*first, *coming)] == list(range(1, total + 1))


def test_the_audit_history_is_for_administrators(estate: Library) -> None:
    service = estate.appliance.audit
    with pytest.raises(NotAllowedError):
        service.page(MANAGER)
    with pytest.raises(NotAllowedError):
        service.export(MANAGER)
