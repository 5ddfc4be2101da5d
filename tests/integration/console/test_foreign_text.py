"""Names that are programs: shown as they are on every page, and run nowhere (OP-4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from sekiso.model.task import Subject, SubjectKind, TaskState
from tests.support.chromium import reading
from tests.unit.web.world import PASSWORD, World

from .conftest import Served
from .test_crawl import Crawler

pytestmark = pytest.mark.slow

EVIL = (
    "\"><img src=x onerror='window.hacked=1'><script>window.hacked=1</script>{{7*7}}"
    '<a href="javascript:hacked=1">\'`${1}'
)
_HARM = """() => window.hacked !== undefined
  || document.querySelector('img[src="x"], a[href^="javascript:"], script:not([src])') !== null"""


def _spoil(record: Any) -> Any:
    """Return a record whose texts for people are the program."""
    texts = {"name", "notes", "template_name", "host_name", "description", "machine_name", "requested_by"}
    # Names are unique.
    return replace(record, **{f.name: f"{record.id} {EVIL}" for f in fields(record) if f.name in texts})


def _spoil_world(world: World) -> None:
    with world.db.begin() as work:
        for store in (work.layers, work.configurations, work.templates, work.images):
            for record in list(store.all()):
                store.replace(_spoil(record))
        for layer in list(work.layers.all()):
            for version in list(work.versions.of_layer(layer.id)):
                work.versions.replace(_spoil(version))
        for agent in list(work.agents.all()):
            inventory = replace(agent.inventory, host_name=EVIL, account=EVIL) if agent.inventory else None
            work.agents.replace(replace(agent, name=f"{agent.id} {EVIL}", inventory=inventory))
        work.audit.append(
            actor=EVIL,
            action="layer.change",
            subject=Subject(SubjectKind.LAYER, "l-os", EVIL),
            details={EVIL: EVIL},
        )
    subjects = (Subject(SubjectKind.LAYER, "l-os", EVIL),)
    world.add_task("t-evil", TaskState.FAILED, step=EVIL, subjects=subjects)
    with world.db.begin() as work:
        work.tasks.log("t-evil", EVIL)


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(Path(tmp_path_factory.mktemp("spoiled")))
    _spoil_world(made.world)
    yield made
    made.close()


def test_no_page_runs_what_a_name_holds(chromium: Browser, spoiled: Served) -> None:
    harmed: list[str] = []
    shown = 0
    with reading(chromium, spoiled.base, "en") as reader:
        reader.log_in("administrator", PASSWORD)
        crawler = Crawler(reader)
        for path in crawler.paths():
            harmed += [path] if reader.page.evaluate(_HARM) else []
            shown += "<script>window.hacked=1</script>" in reader.page.inner_text("body")
            for dialog in crawler.open_dialogs():
                harmed += [f"{path} → {dialog}"] if reader.page.evaluate(_HARM) else []
        blocked = [fault for fault in reader.take() if "Content Security Policy" in fault]
    assert (harmed, blocked) == ([], [])
    assert shown > 10
