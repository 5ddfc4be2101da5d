"""Long lists: pages that are narrowed, searched and sorted by the database (OP-1, OP-4, LY-7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from script.lib.console_estate import Size, fill
from sqlalchemy import event

from sekiso.errors import AlreadyExistsError, NotFoundError, RuleError
from sekiso.model.layer import LayerKind
from sekiso.model.library import ImageState, LayerRecord, VersionRecord, VersionState
from sekiso.model.listing import (
    AgentSort,
    AuditFilter,
    ImageFilter,
    ImageSort,
    ImageTally,
    LayerFilter,
    LayerSort,
    TaskSort,
    TemplateSort,
)
from sekiso.model.names import comparable_name
from sekiso.model.paging import EVERYTHING, Listing, Page
from sekiso.model.task import Subject, SubjectKind, TaskFilter, TaskState
from sekiso.store.database.api import AuditNote, UnitOfWork
from sekiso.store.database.database import Database

from . import samples

pytestmark = pytest.mark.slow

SIZE = Size(layers=150, tasks=60, agents=12, templates=12, images=40, audit=80)


@pytest.fixture
def work(db: Database) -> Iterator[UnitOfWork]:
    """A transaction that sees an estate and is undone."""
    with pytest.raises(RolledBackError), db.begin() as found:
        fill(found, SIZE)
        yield found
        raise RolledBackError


class RolledBackError(Exception):
    """Ends a transaction without a trace."""


def everything(page: Callable[[Listing], Page[Any]], listing: Listing, size: int) -> list[Any]:
    """Every row, by pages of a size; each page says how many there are."""
    rows: list[Any] = []
    while True:
        found = page(replace(listing, offset=len(rows), limit=size))
        assert (found.offset, found.limit) == (len(rows), size)
        rows += found.rows
        if not found.has_more:
            assert found.total == len(rows)
            return rows


# --- order ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sorted:
    """How a list is sorted, said in Python: `key` in the direction asked for, then `then`, upwards."""

    key: Callable[[Any], Any]
    then: Callable[[Any], Any] = lambda _: ()
    descending: bool = False

    def apply(self, rows: Iterable[Any], descending: bool | None) -> list[Any]:
        is_down = self.descending if descending is None else descending
        found = sorted(rows, key=lambda row: row.id, reverse=is_down)
        return sorted(sorted(found, key=self.then), key=self.key, reverse=is_down)


def by_name(row: Any) -> Any:
    return (comparable_name(row.name), *([row.kind] if isinstance(row, LayerRecord) else []))


def newest_first(row: Any) -> float:
    return -row.created_s


IMAGES = {
    ImageSort.NAME: Sorted(by_name),
    ImageSort.TEMPLATE: Sorted(lambda i: i.template_name, by_name),
    ImageSort.STATE: Sorted(lambda i: i.state, by_name),
    ImageSort.SIZE: Sorted(lambda i: i.file_bytes, by_name, descending=True),
    ImageSort.CREATED: Sorted(lambda i: i.created_s, descending=True),
}
TEMPLATES = {
    TemplateSort.NAME: Sorted(by_name),
    TemplateSort.CREATED: Sorted(lambda t: t.created_s, descending=True),
    TemplateSort.CHANGED: Sorted(lambda t: t.changed_s, descending=True),
}
TASKS = {
    TaskSort.CREATED: Sorted(lambda t: t.created_s, descending=True),
    TaskSort.KIND: Sorted(lambda t: t.kind, newest_first),
    TaskSort.STATE: Sorted(lambda t: t.state, newest_first),
    TaskSort.USER: Sorted(lambda t: comparable_name(t.requested_by), newest_first),
}
AGENTS = {
    AgentSort.NAME: Sorted(by_name),
    AgentSort.SEEN: Sorted(lambda a: a.last_seen_s or 0.0, descending=True),
    AgentSort.REGISTERED: Sorted(lambda a: a.registered_s, descending=True),
}


def layer_orders(versions: dict[str, list[VersionRecord]]) -> dict[LayerSort, Sorted]:
    def of(key: Callable[[Sequence[VersionRecord]], float]) -> Sorted:
        return Sorted(lambda layer: key(versions.get(layer.id, [])), by_name, descending=True)

    return {
        LayerSort.NAME: Sorted(by_name),
        LayerSort.PRIORITY: Sorted(lambda layer: layer.priority, by_name, descending=True),
        LayerSort.CREATED: Sorted(lambda layer: layer.created_s, descending=True),
        LayerSort.CHANGED: of(lambda found: max((v.created_s for v in found), default=0.0)),
        LayerSort.SIZE: of(lambda found: sum(v.file_bytes for v in found)),
        LayerSort.VERSIONS: of(len),
    }


def versions_by_layer(work: UnitOfWork) -> dict[str, list[VersionRecord]]:
    found: dict[str, list[VersionRecord]] = {}
    for version in work.versions.all():
        found.setdefault(version.layer_id, []).append(version)
    return found


def test_every_list_can_be_sorted_both_ways(work: UnitOfWork) -> None:
    lists: list[tuple[Callable[[Listing], Page[Any]], Sequence[Any], dict[Any, Sorted]]] = [
        (lambda listing: work.layers.page(LayerFilter(), listing), work.layers.all(), {}),
        (lambda listing: work.images.page(ImageFilter(), listing), work.images.all(), IMAGES),
        (work.templates.page, work.templates.all(), TEMPLATES),
        (lambda listing: work.tasks.page(TaskFilter(limit=1), listing), work.tasks.all(), TASKS),
        (work.agents.page, work.agents.all(), AGENTS),
    ]
    for page, rows, orders in lists:
        wanted = orders or layer_orders(versions_by_layer(work))
        assert set(wanted) == set(type(next(iter(wanted))))
        for sort, order in wanted.items():
            for descending in (None, True, False):
                listing = Listing(sort=sort, descending=descending)
                assert everything(page, listing, 17) == order.apply(rows, descending), (sort, descending)
        own = next(iter(wanted.values()))
        assert list(page(EVERYTHING).rows) == own.apply(rows, None)
        with pytest.raises(RuleError, match="Choose one of these: "):
            page(Listing(sort="colour"))


def test_pages_beyond_the_end(work: UnitOfWork) -> None:
    for offset, limit in ((500, 10), (0, 0), (2**40, 2**40), (SIZE.agents, 5)):
        page = work.agents.page(Listing(offset=offset, limit=limit))
        assert (page.rows, page.total, page.has_more) == ((), SIZE.agents, False)
        assert (page.first, page.last) == (0, 0)
    page = work.agents.page(Listing(offset=-3, limit=5))
    assert (page.offset, page.first, page.last, page.has_more) == (0, 1, 5, True)
    assert work.agents.page(Listing("nowhere")).total == 0


# --- search and filters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {"100% sure", "a_b", "Ａcme 勘定", "axb"}),
        ("  ", {"100% sure", "a_b", "Ａcme 勘定", "axb"}),
        ("%", {"100% sure"}),
        ("_", {"a_b"}),
        ("A_B", {"a_b"}),
        ("acme", {"Ａcme 勘定"}),
        ("ＡＣＭＥ", {"Ａcme 勘定"}),
        ("勘定　Acme", {"Ａcme 勘定"}),
        ("勘 acme x", set()),
        ("\0", set()),
        ("a", {"a_b", "Ａcme 勘定", "axb"}),
        ("a b", {"a_b", "axb"}),
        ("/", set()),
        (" ".join("abcdefghijk"), set()),
    ],
)
def test_words_are_searched(db: Database, text: str, found: set[str]) -> None:
    with db.begin() as work:
        for number, name in enumerate(("100% sure", "a_b", "Ａcme 勘定", "axb")):
            work.layers.add(replace(samples.APP_LAYER, id=str(number), name=name, os_layer_id=None))
        page = work.layers.page(LayerFilter(), Listing(text))
        assert {layer.name for layer in page.rows} == found
        assert page.total == len(found)


def test_layers_are_narrowed(work: UnitOfWork) -> None:
    versions, layers = versions_by_layer(work), work.layers.all()
    system = next(layer for layer in layers if layer.kind is LayerKind.OS)

    def listed(which: LayerFilter) -> list[str]:
        page = work.layers.page(which, replace(EVERYTHING, text="o"))
        assert page.total == len(page.rows)
        return [layer.id for layer in page.rows]

    def those(fits: Callable[[LayerRecord], bool]) -> list[str]:
        return [layer.id for layer in layers if fits(layer) and "o" in comparable_name(layer.name)]

    for kind in LayerKind:
        assert listed(LayerFilter(kind)) == those(lambda layer, kind=kind: layer.kind is kind)
    for state in VersionState:
        in_state = {v.layer_id for found in versions.values() for v in found if v.state is state}
        expected = those(lambda layer, ids=in_state: layer.id in ids and layer.os_layer_id == system.id)
        assert listed(LayerFilter(state=state, os_layer_id=system.id)) == expected


def test_what_a_list_of_layers_shows(work: UnitOfWork) -> None:
    versions, layers = versions_by_layer(work), work.layers.all()
    names = {layer.id: layer.name for layer in layers}
    empty = replace(samples.APP_LAYER, id="empty", os_layer_id=None)
    work.layers.add(empty)
    task = work.tasks.all()[0]
    held = next(v for v in work.versions.all() if v.state is VersionState.DEPLOYABLE)
    work.versions.hold(held.id, task.id)
    for summary in work.layers.summaries([*layers, empty]):
        mine = work.versions.of_layer(summary.layer.id)
        deployable = [v.id for v in mine if v.state is VersionState.DEPLOYABLE]
        own = {v.id for v in mine}
        users = {u for v in mine for u in work.versions.users_of(v.id) if u.id not in own}
        assert summary.versions == len(mine) == len(versions.get(summary.layer.id, []))
        assert (summary.newest.id if summary.newest else None) == (mine[-1].id if mine else None)
        assert (summary.deployable.id if summary.deployable else None) == (
            deployable[-1] if deployable else None
        )
        assert summary.file_bytes == sum(v.file_bytes for v in mine)
        assert summary.users == len(users), summary
        assert summary.os_layer_name == names.get(summary.layer.os_layer_id or "", "")
    assert work.layers.summaries([]) == ()


def test_choices_are_deployable_and_newest_first(work: UnitOfWork) -> None:
    layers = {layer.id: layer for layer in work.layers.all()}
    newest = sorted(work.versions.all(), key=lambda v: (v.created_s, v.id), reverse=True)
    ready = [v for v in newest if v.state is VersionState.DEPLOYABLE]

    def chosen(text: str = "", limit: int = 1000, **which: Any) -> list[str]:
        return [c.version_id for c in work.versions.choices(LayerFilter(**which), Listing(text, limit=limit))]

    assert chosen() == [v.id for v in ready]
    assert chosen(limit=3) == [v.id for v in ready[:3]]
    apps = [v for v in ready if layers[v.layer_id].kind is LayerKind.APP]
    assert chosen(kind=LayerKind.APP) == [v.id for v in apps]
    first, layer = apps[0], layers[apps[0].layer_id]
    on_it = [v.id for v in apps if layers[v.layer_id].os_layer_id == layer.os_layer_id]
    assert chosen(kind=LayerKind.APP, os_layer_id=layer.os_layer_id) == on_it
    assert first.id in chosen(f"{first.name} {layer.name.upper()}")
    assert chosen("nothing %") == []
    (choice, *_) = work.versions.choices(LayerFilter(LayerKind.APP), Listing(limit=1))
    assert (choice.layer_name, choice.version_name, choice.kind) == (layer.name, first.name, LayerKind.APP)
    assert (choice.os_layer_id, choice.file_bytes) == (layer.os_layer_id, first.file_bytes)


def test_images_and_templates(work: UnitOfWork) -> None:
    images = work.images.all()
    template = work.templates.get(images[0].template_id or "")
    which = ImageFilter(template.id, ImageState.PUBLISHED)
    expected = [i for i in images if i.template_id == template.id and i.state is ImageState.PUBLISHED]
    assert list(work.images.page(which, EVERYTHING).rows) == expected
    (found,) = work.images.page(ImageFilter(), Listing(images[3].name)).rows
    assert found == images[3]
    tallies = work.images.tallies([template.id, "nothing"])
    last_s = max(i.created_s for i in images if i.template_id == template.id)
    assert tallies == {template.id: ImageTally(len(expected), last_s), "nothing": ImageTally()}


def test_tasks_are_narrowed_and_searched(work: UnitOfWork) -> None:
    tasks = work.tasks.all()
    failed = frozenset({TaskState.FAILED})
    page = work.tasks.page(TaskFilter(failed), EVERYTHING)
    assert {t.id for t in page.rows} == {t.id for t in tasks if t.state is TaskState.FAILED}
    user, subject = tasks[5].requested_by, tasks[5].subjects[0].name
    found = work.tasks.page(TaskFilter(text=user), Listing(f"{subject} {user.upper()}"))
    assert tasks[5] in found.rows
    assert all(t.requested_by == user for t in found.rows)
    assert found.total == len(found.rows)


# --- audit ------------------------------------------------------------------------------------------------


def test_the_audit_history(work: UnitOfWork) -> None:
    entries = sorted(work.audit.list(limit=1000), key=lambda e: e.number)
    middle = entries[len(entries) // 2]

    def fits(entry: Any, which: AuditFilter, text: str) -> bool:
        searched = comparable_name(f"{entry.actor} {entry.action} {entry.subject_name}")
        return (
            (which.actor is None or entry.actor == which.actor)
            and (which.action is None or entry.action.startswith(which.action))
            and (which.subject_kind is None or entry.subject_kind == which.subject_kind)
            and (which.subject_id is None or entry.subject_id == which.subject_id)
            and (which.from_s is None or entry.time_s >= which.from_s)
            and (which.to_s is None or entry.time_s < which.to_s)
            and (which.before is None or entry.number < which.before)
            and all(word in searched for word in Listing(text).words)
        )

    filters = [
        AuditFilter(),
        AuditFilter(actor=middle.actor),
        AuditFilter(action="layer."),
        AuditFilter(action="%"),
        AuditFilter(subject_kind=SubjectKind.IMAGE),
        AuditFilter(subject_id=middle.subject_id),
        AuditFilter(from_s=middle.time_s),
        AuditFilter(to_s=middle.time_s),
        AuditFilter(from_s=entries[3].time_s, to_s=middle.time_s, before=30, action="layer"),
        AuditFilter(from_s=float("-1e300"), to_s=1e300),
    ]
    for which in filters:
        for text in ("", "ADMIN", f"{middle.action} {middle.actor}", "%"):
            wanted = [e for e in entries if fits(e, which, text)]

            def page(listing: Listing, which: AuditFilter = which) -> Page[Any]:
                return work.audit.page(which, listing)

            assert everything(page, Listing(text), 13) == wanted[::-1]
            assert everything(page, Listing(text, sort="number", descending=False), 13) == wanted
            assert list(work.audit.portion(which, text)) == wanted
            assert (
                list(work.audit.portion(which, text, after=20, limit=5))
                == [e for e in wanted if e.number > 20][:5]
            )
    with pytest.raises(RuleError):
        work.audit.page(AuditFilter(), Listing(sort="actor"))


# --- many at once -----------------------------------------------------------------------------------------


def test_many_records_at_once_all_or_none(db: Database) -> None:
    with db.begin() as work:
        samples.fill(work)
        copies = [replace(samples.TEMPLATE, id=str(n), name=f"copy {n}") for n in range(3)]
        work.templates.add_many(copies)
        work.templates.add_many([])
        assert work.templates.history("1") == (copies[1],)
        before = work.templates.all()
        taken = replace(copies[0], id="new", name="DESKTOP")
        with pytest.raises(AlreadyExistsError, match="DESKTOP"):
            work.templates.add_many([replace(copies[0], id="fine", name="fine"), taken])
        with pytest.raises(NotFoundError, match="v-gone"):
            work.templates.add_many([replace(taken, name="other", app_version_ids=("v-done", "v-gone"))])
        assert work.templates.all() == before


def test_many_audit_entries_at_once_are_one_chain(db: Database) -> None:
    subject = Subject(SubjectKind.USER, "u", "Eve")
    with db.begin() as work:
        assert work.audit.append_many([]) == ()
        first = work.audit.append(actor="a", action="x", subject=subject)
        added = work.audit.append_many([AuditNote("b", f"y{n}", subject, {"n": n}) for n in range(3)])
        last = work.audit.append(actor="c", action="z", subject=subject)
        assert [e.number for e in (first, *added, last)] == [1, 2, 3, 4, 5]
        assert list(work.audit.list()) == [last, *added[::-1], first]
        assert work.audit.verify() is None


# --- queries ----------------------------------------------------------------------------------------------


@contextmanager
def counted(work: UnitOfWork) -> Iterator[list[str]]:
    """Statements that are executed."""
    connection: Any = work.layers._connection  # type: ignore[attr-defined]
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(connection, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(connection, "before_cursor_execute", note)


def test_a_page_takes_as_many_queries_whatever_its_size(work: UnitOfWork) -> None:
    def queries(limit: int) -> list[int]:
        found: list[int] = []
        listing = Listing(limit=limit)
        readings: list[Callable[[], object]] = [
            lambda: work.layers.summaries(work.layers.page(LayerFilter(), listing).rows),
            lambda: work.versions.users_of_each([v.id for v in work.versions.all()][:limit]),
            lambda: work.images.page(ImageFilter(), listing),
            lambda: work.templates.page(listing),
            lambda: work.tasks.page(TaskFilter(), listing),
            lambda: work.audit.page(AuditFilter(), listing),
        ]
        for read in readings:
            with counted(work) as statements:
                read()
            found.append(len(statements))
        return found

    assert queries(3) == queries(10)
    assert max(queries(40)) <= 7
