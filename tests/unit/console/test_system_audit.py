"""The audit history: filter, pages, words, export, chain (OP-4)."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

import sekiso
from sekiso.model.library import Role
from sekiso.model.task import Subject, SubjectKind
from sekiso.wording import deed_of, deeds

from .conftest import Browser, Make, text_of

AUDIT = "/system/audit"
_ACTION = re.compile(
    r'action="([a-z-]+\.[a-z-]+)"|_audit\([^"\n]*"([a-z-]+\.[a-z-]+)"|_exchange\([^"\n]*"([a-z-]+\.[a-z-]+)"'
)


def test_every_action_of_the_source_has_words() -> None:
    source = Path(sekiso.__file__).parent
    found = {
        name
        for folder in ("services", "agent", "appliance", "tasks", "web")
        for path in (source / folder).rglob("*.py")
        for match in _ACTION.finditer(path.read_text(encoding="utf-8"))
        for name in match.groups()
        if name
    }
    assert len(found) > 35 and found - set(deeds()) == set()


@pytest.mark.parametrize("action", deeds())
def test_words_in_both_languages(action: str) -> None:
    assert deed_of(action, "en") != action
    assert deed_of(action, "ja") != deed_of(action, "en")


def _add(console: Browser, count: int = 1, **entry: str) -> None:
    with console.world.db.begin() as work:
        for number in range(count):
            subject = Subject(
                SubjectKind(entry.get("kind", "layer")), "l-1", entry.get("name", f"layer {number}")
            )
            work.audit.append(
                actor=entry.get("actor", "eve"), action=entry.get("action", "layer.create"), subject=subject
            )


def test_entries_are_in_words_with_their_details(console: Browser) -> None:
    page = text_of(console.get(AUDIT))
    assert "Logged in User administrator" in page
    assert "Appliance User created User read-only Role: Read-only" in page
    users = console.world.services.users
    console.send(f"/system/users/{users.get('publisher').id}/role", {"role": "layer-manager"})
    page = text_of(console.get(AUDIT))
    assert "User changed User publisher Role: Layer manager Disabled: No New password: No" in page


def test_settings_that_changed_are_told_before_and_after(console: Browser) -> None:
    console.send("/system/settings", {"session_hours": "8"})
    assert "Longest session (hours): 12 → 8" in text_of(console.get(AUDIT))


def test_what_is_gone_has_no_link(console: Browser) -> None:
    _add(console, action="layer.delete", name="gone")
    _add(console, action="layer.create", name="there")
    page = console.get(AUDIT).text
    assert re.search(r'href="/layers/l-1"[^>]*>there<', page) and not re.search(r"href[^>]*>gone<", page)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"actor": "eve"}, 3),
        ({"action": "layer.delete"}, 1),
        ({"kind": "layer"}, 2),
        ({"kind": "image", "actor": "eve"}, 1),
        ({"text": "SPECIAL"}, 1),
        ({"text": "nothing of the kind"}, 0),
        ({"actor": "eve", "from": "2999-01-01"}, 0),
        ({"actor": "eve", "to": "1999-12-31"}, 0),
        ({"actor": "eve", "from": "no date", "kind": "no kind"}, 3),
    ],
)
def test_filter(console: Browser, query: dict[str, str], count: int) -> None:
    _add(console, action="layer.create")
    _add(console, action="layer.delete")
    _add(console, action="image.delete", kind="image", name="special")
    assert f"Entries: {count}" in text_of(console.part(f"{AUDIT}/rows", **query))
    page = console.get(AUDIT, **query)
    assert f"Entries: {count}" in text_of(page) and "Clear the filter" in text_of(page)


def test_days_are_those_of_the_reader(console: Browser) -> None:
    _add(console)
    with console.world.db.begin() as work:
        (entry,) = work.audit.list(actor="eve")
    console.client.cookies.set("sekiso_zone", "Pacific/Kiritimati")  # fourteen hours ahead
    there = datetime.fromtimestamp(entry.time_s, UTC).timestamp() + 14 * 3600
    day = datetime.fromtimestamp(there, UTC).date().isoformat()
    assert "Entries: 1" in text_of(console.part(f"{AUDIT}/rows", **{"actor": "eve", "from": day, "to": day}))


def test_pages(console: Browser) -> None:
    _add(console, 120)
    page = console.get(AUDIT, actor="eve", offset=50)
    assert "51–100 of 120" in text_of(page)
    assert 'href="/system/audit?actor=eve&amp;offset=100"' in page.text


def test_export_as_csv(console: Browser) -> None:
    _add(console, actor="=cmd()", name='a,"b"')
    answer = console.get(f"{AUDIT}/export", format="csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert re.fullmatch(
        r'attachment; filename="sekiso-audit-[\d-]+\.csv"', answer.headers["content-disposition"]
    )
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [row["Number"] for row in rows] == [str(number + 1) for number in range(len(rows))]
    assert (rows[-1]["Who"], rows[-1]["Name"], rows[-1]["Action"]) == ("'=cmd()", 'a,"b"', "layer.create")
    assert rows[0]["Details"] == "Role: Administrator"


def test_export_as_json_lines_follows_the_filter(console: Browser) -> None:
    _add(console, 3)
    answer = console.get(f"{AUDIT}/export", format="jsonl", actor="eve")
    entries = [json.loads(line) for line in answer.text.splitlines()]
    assert len(entries) == 3 and {entry["actor"] for entry in entries} == {"eve"}
    assert set(entries[0]) >= {"number", "time_s", "action", "subject_id", "details", "hash"}
    assert console.get(f"{AUDIT}/export", format="exe").status_code == 422


def test_headings_of_the_export_are_in_the_readers_language(browse: Make) -> None:
    answer = browse(language="ja").get(f"{AUDIT}/export")
    assert answer.content.decode("utf-8-sig").startswith("番号,")


def test_the_chain(console: Browser) -> None:
    assert 'hx-get="/system/audit/chain" hx-trigger="load"' in console.get(AUDIT).text
    assert "The history is whole" in text_of(console.part(f"{AUDIT}/chain"))
    with closing(sqlite3.connect(console.world.state / "sekiso.db")) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute("UPDATE audit SET actor = 'nobody' WHERE number = 2")
    assert "from entry 2 on it cannot be trusted" in text_of(console.part(f"{AUDIT}/chain"))


@pytest.mark.parametrize("role", [Role.LAYER_MANAGER, Role.PUBLISHER, Role.READ_ONLY])
def test_only_administrators(browse: Make, role: Role) -> None:
    browser = browse(role)
    for path in (AUDIT, f"{AUDIT}/rows", f"{AUDIT}/chain", f"{AUDIT}/export"):
        assert browser.get(path).status_code == 403
    assert AUDIT not in browser.get("/system/agents").text
