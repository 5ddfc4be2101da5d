"""The audit history: who did what, seen by administrators, and every tampering (OP-4)."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from sekiso.services.core import Actor, NotAllowedError

from ...support.appliance import ADMIN, GOOD, MANAGER, PUBLISHER, READER, Appliance

SECURE = {"useHttpsFileTransfer": True}


@pytest.fixture
def busy(appliance: Appliance) -> Appliance:
    """An appliance where something was done."""
    appliance.add_agent()
    appliance.configurations.create(ADMIN, "hyperv", GOOD)
    appliance.configurations.update(ADMIN, "Production", {"cpus": 2})
    appliance.settings.set(Actor("ada", ADMIN.role), "hyperv", SECURE)
    appliance.configurations.remove(ADMIN, "Production")
    return appliance


def test_listed_newest_first_and_filtered(busy: Appliance) -> None:
    every = busy.audit.list(ADMIN)
    assert [e.action for e in every] == [
        "configuration.delete",
        "connector.set",
        "configuration.change",
        "configuration.create",
    ]
    assert [e.number for e in every] == [4, 3, 2, 1]
    assert [e.action for e in busy.audit.list(ADMIN, actor="ada")] == ["connector.set"]
    assert len(busy.audit.list(ADMIN, action="configuration.")) == 3
    assert len(busy.audit.list(ADMIN, subject_id=every[0].subject_id)) == 3
    assert [e.number for e in busy.audit.list(ADMIN, before=3, limit=1)] == [2]


def test_whole_until_somebody_changes_it(busy: Appliance) -> None:
    assert busy.audit.verify(ADMIN).whole
    with closing(sqlite3.connect(busy.state / "sekiso.db")) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        changed = connection.execute("UPDATE audit SET actor = 'eve' WHERE number = 2")
        assert changed.rowcount == 1
    verdict = busy.audit.verify(ADMIN)
    assert (verdict.whole, verdict.first_broken) == (False, 2)


@pytest.mark.parametrize("actor", [MANAGER, PUBLISHER, READER], ids=lambda a: a.role.value)
def test_seen_by_administrators_only(actor: Actor, busy: Appliance) -> None:
    with pytest.raises(NotAllowedError):
        busy.audit.list(actor)
    with pytest.raises(NotAllowedError):
        busy.audit.verify(actor)
