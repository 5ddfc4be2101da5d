"""What is changed is written down with it or not at all; several at once do not undo each other (OP-4)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from sekiso.connectors.errors import ConfigurationInvalidError
from sekiso.errors import RuleError, SekisoError
from sekiso.model.library import Role
from sekiso.services.core import Actor
from sekiso.services.users import LoginFailedError
from sekiso.store.database.audit import AuditTable

from ...support.appliance import ADMIN, GOOD, HOST, Appliance

SECRET = "correct horse"


def at_once(works: Iterable[Callable[[], Any]]) -> list[Any]:
    """Do things at the same time; return what each returned or raised."""
    every = list(works)
    outcomes: list[Any] = [None] * len(every)
    gate = threading.Barrier(len(every))

    def run(index: int) -> None:
        gate.wait()
        try:
            outcomes[index] = every[index]()
        except SekisoError as error:
            outcomes[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(every))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


@pytest.fixture
def filled(appliance: Appliance) -> Appliance:
    """An appliance with something of everything."""
    appliance.users.first_start(SECRET)
    appliance.users.add(ADMIN, "ada", SECRET, Role.ADMINISTRATOR)
    appliance.add_agent()
    appliance.add_agent("hv02")
    appliance.configurations.create(ADMIN, "hyperv", GOOD)
    appliance.agents.create_token(ADMIN, name="hv03")
    return appliance


def everything(appliance: Appliance) -> object:
    with appliance.db.read() as work:
        agents = [replace(a, inventory=None, inventory_s=None) for a in work.agents.all()]
        users, credentials = work.users.all(), work.credentials.all()
        rest = work.configurations.all(), work.tokens.all(), work.audit.list(limit=1000)
    config = (appliance.state / "connectors" / "hyperv" / "config.json").read_bytes()
    return agents, users, credentials, rest, config, appliance.settings.get("hyperv")


def admin_of(appliance: Appliance) -> Actor:
    with appliance.db.read() as work:
        record = work.users.by_reference("admin")
    return Actor(record.name, record.role, record.id)


CHANGES: dict[str, Callable[[Appliance], object]] = {
    "configuration.create": lambda a: a.configurations.create(ADMIN, "hyperv", {**GOOD, "name": "New"}),
    "configuration.change": lambda a: a.configurations.update(ADMIN, "Production", {"cpus": 1}),
    "configuration.clone": lambda a: a.configurations.clone(ADMIN, "Production", "Copy"),
    "configuration.delete": lambda a: a.configurations.remove(ADMIN, "Production"),
    "configuration.apply": lambda a: a.configurations.apply(
        ADMIN,
        [
            {
                "kind": "connector-configuration",
                "version": 1,
                "connector": "hyperv",
                "settings": {**GOOD, "name": name},
            }
            for name in ("One", "Two")
        ],
        source="f",
    ),
    "connector.set": lambda a: a.settings.set(ADMIN, "hyperv", {"useHttpsFileTransfer": True}),
    "agent.create-token": lambda a: a.agents.create_token(ADMIN),
    "agent.remove-token": lambda a: a.agents.remove_token(ADMIN, a.agents.tokens()[0].id),
    "agent.rename": lambda a: a.agents.rename(ADMIN, "hv01", "x"),
    "agent.revoke": lambda a: a.agents.revoke(ADMIN, "hv01", force=True),
    "agent.remove": lambda a: a.agents.remove(ADMIN, "hv02"),
    "user.create": lambda a: a.users.add(ADMIN, "x", SECRET, Role.READ_ONLY),
    "user.change": lambda a: a.users.change(ADMIN, "ada", role=Role.READ_ONLY),
    "user.delete": lambda a: a.users.remove(ADMIN, "ada"),
    "user.login": lambda a: a.users.login("ada", SECRET),
    "user.change-password": lambda a: a.users.change_password(admin_of(a), SECRET, "another one"),
    "token.create": lambda a: a.users.create_token(admin_of(a), "ci"),
}


@pytest.mark.parametrize("action", CHANGES)
def test_nothing_is_changed_that_cannot_be_written_down(
    action: str, filled: Appliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LostError(RuntimeError):
        pass

    def lost(*_: object, **__: object) -> None:
        raise LostError

    before = everything(filled)
    with monkeypatch.context() as patch:
        patch.setattr(AuditTable, "append", lost)
        with pytest.raises(LostError):
            CHANGES[action](filled)
    assert everything(filled) == before
    assert filled.disconnected == []


@pytest.mark.parametrize("action", CHANGES)
def test_each_change_is_written_down_once(action: str, filled: Appliance) -> None:
    count = len(filled.actions())
    CHANGES[action](filled)
    written = filled.actions()[count:]
    expected = "configuration.create" if action == "configuration.clone" else action
    # One entry for each object.
    assert written == [expected] * (2 if action == "configuration.apply" else 1)
    entry = filled.entries()[-1]
    assert entry.actor in ("admin", "ada")
    assert entry.subject_id
    assert filled.audit.verify(ADMIN).whole


def test_a_restart_is_in_force_and_written_down_or_neither(
    filled: Appliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.settings.set(ADMIN, "hyperv", {"useHttpsFileTransfer": True})
    before = filled.settings.get("hyperv")
    with monkeypatch.context() as patch:
        patch.delattr(AuditTable, "append")
        with pytest.raises(AttributeError):
            filled.settings.restart(ADMIN, "hyperv")
    assert filled.settings.get("hyperv") == before


def test_one_of_many_gets_a_name(filled: Appliance) -> None:
    values = {**GOOD, "name": "Wanted"}
    outcomes = at_once([lambda: filled.configurations.create(ADMIN, "hyperv", values)] * 6)
    refused = [o for o in outcomes if isinstance(o, ConfigurationInvalidError)]
    assert len(refused) == 5
    assert {v.code for error in refused for v in error.violations} == {"name-taken"}
    assert [c.name for c in filled.configurations.list()] == ["Production", "Wanted"]


def test_changes_at_once_keep_each_other(filled: Appliance) -> None:
    changes = [{"cpus": 8}, {"memory_mb": 2048}, {"cache_gb": 7}, {"network": "DMZ"}]
    at_once([lambda c=c: filled.configurations.update(ADMIN, "Production", c) for c in changes])
    settings = filled.configurations.get("Production").settings
    assert [settings[key] for c in changes for key in c] == [8, 2048, 7, "DMZ"]


def test_no_failed_login_is_lost(filled: Appliance) -> None:
    outcomes = at_once([lambda: filled.users.login("ada", "something else")] * 10)
    assert {type(o) for o in outcomes} == {LoginFailedError}
    assert {u.name for u in filled.users.list() if u.locked} == {"ada"}
    with pytest.raises(LoginFailedError):
        filled.users.login("ada", SECRET)


def test_two_administrators_do_not_remove_each_other(filled: Appliance) -> None:
    outcomes = at_once(
        [lambda: filled.users.remove(ADMIN, "ada"), lambda: filled.users.remove(ADMIN, "admin")]
    )
    assert [type(o) for o in outcomes].count(RuleError) == 1
    assert len(filled.users.list()) == 1


def test_who_looks_waits_for_nobody(filled: Appliance) -> None:
    session = filled.users.login("admin", SECRET)
    looks: list[Callable[[], object]] = [
        lambda: filled.users.authenticate(session.secret),
        filled.users.list,
        filled.agents.list,
        lambda: filled.agents.get("hv01"),
        filled.configurations.list,
        lambda: filled.configurations.form("hyperv", GOOD),
        filled.configurations.export,
        lambda: filled.settings.get("hyperv"),
        lambda: filled.audit.list(ADMIN),
    ]
    # A transaction that takes its time; in one thread, so that waiting for it would never end.
    with filled.db.begin() as work:
        work.settings.put("x", 1)
        for look in looks:
            assert look() is not None


def test_an_agent_that_reports_meanwhile_keeps_its_report(filled: Appliance) -> None:
    with filled.db.read() as work:
        agent = work.agents.by_reference("hv01")
    filled.script(agent).inventory = replace(HOST, host_name="new")
    at_once(
        [
            lambda: filled.agents.rename(ADMIN, "hv01", "renamed"),
            lambda: filled.agents.inventory(agent.id, refresh=True),
        ]
    )
    view = filled.agents.get(agent.id)
    assert (view.name, view.host_name) == ("renamed", "new")
