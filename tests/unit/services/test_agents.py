"""Agents: tokens to register them, what they report, names, revoking (AG-1, AG-3)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from sekiso.agent.link.errors import AgentOfflineError
from sekiso.errors import AlreadyExistsError, InUseError, NotFoundError, RuleError
from sekiso.services.agents import MAX_TOKEN_S
from sekiso.services.core import Actor, NotAllowedError

from ...support.appliance import (
    ADMIN,
    FINGERPRINT,
    GOOD,
    HOST,
    MANAGER,
    PUBLISHER,
    READER,
    Appliance,
)


def test_what_an_agent_shows(appliance: Appliance) -> None:
    agent = appliance.add_agent()
    appliance.add_agent("hv02", inventory=None, online=False)
    configuration = appliance.configurations.create(ADMIN, "hyperv", GOOD)
    first, second = appliance.agents.list()
    assert (first.id, first.name, first.online, first.revoked) == (agent.id, "hv01", True, False)
    assert (first.version, first.host_name) == (HOST.agent_version, "hv01")
    assert (first.hypervisor, first.hypervisor_version, first.platform) == (
        "Hyper-V",
        "10.0.20348",
        "windows",
    )
    assert [u.id for u in first.used_by] == [configuration.id]
    assert (second.name, second.online, second.version, second.used_by) == ("hv02", False, "", ())
    assert appliance.agents.get(agent.id) == appliance.agents.get("HV01") == first


def test_inventory_as_last_reported_or_now(appliance: Appliance) -> None:
    agent = appliance.add_agent()
    now = replace(HOST, host_name="renamed")
    appliance.script(agent).inventory = now
    assert appliance.agents.inventory("hv01") == HOST
    assert appliance.agents.inventory("hv01", refresh=True) == now
    assert appliance.agents.inventory("hv01") == now
    appliance.agents_port.offline.add(agent.id)
    with pytest.raises(AgentOfflineError):
        appliance.agents.inventory("hv01", refresh=True)
    assert appliance.agents.inventory("hv01") == now


def test_an_agent_that_has_never_reported(appliance: Appliance) -> None:
    appliance.add_agent(inventory=None, online=False)
    assert appliance.agents.inventory("hv01") is None
    assert appliance.configurations.form("hyperv", {"agent": "hv01"}).sections


# --- registration tokens ------------------------------------------------------------------------------------


def test_a_token_names_the_certificate_and_is_kept_as_a_hash(appliance: Appliance) -> None:
    made = appliance.agents.create_token(ADMIN, name="hv03", valid_s=600)
    secret, _, fingerprint = made.token.partition(".")
    assert fingerprint == FINGERPRINT
    assert made.expires_s == appliance.clock.now_s + 600
    (shown,) = appliance.agents.tokens()
    assert (shown.id, shown.agent_name, shown.created_by) == (made.id, "hv03", "admin")
    assert (shown.expires_s, shown.used_s) == (made.expires_s, None)
    with appliance.db.begin() as work:
        assert secret not in repr((work.tokens.all(), work.audit.list()))
        used = work.tokens.use(hashlib.sha256(secret.encode()).hexdigest(), appliance.clock())
    assert used is not None
    assert used.id == made.id
    assert appliance.actions() == ["agent.create-token"]


def test_a_token_is_made_invalid(appliance: Appliance) -> None:
    made = appliance.agents.create_token(ADMIN)
    appliance.agents.remove_token(ADMIN, made.id)
    assert appliance.agents.tokens() == ()
    with pytest.raises(NotFoundError):
        appliance.agents.remove_token(ADMIN, made.id)
    assert appliance.actions() == ["agent.create-token", "agent.remove-token"]


@pytest.mark.parametrize("valid_s", [0, 59.9, MAX_TOKEN_S + 1, -1, float("nan"), float("inf")])
def test_times_of_tokens(valid_s: float, appliance: Appliance) -> None:
    with pytest.raises(RuleError) as caught:
        appliance.agents.create_token(ADMIN, valid_s=valid_s)
    assert caught.value.params["field"] == "valid_s"
    assert appliance.agents.tokens() == ()


@pytest.mark.parametrize("name", [" x", "a\nb", "x" * 65])
def test_names_that_cannot_be_used(name: str, appliance: Appliance) -> None:
    appliance.add_agent()
    for give in (
        lambda: appliance.agents.create_token(ADMIN, name=name),
        lambda: appliance.agents.rename(ADMIN, "hv01", name),
    ):
        with pytest.raises(RuleError) as caught:
            give()
        assert caught.value.params["field"] == "name"
    assert appliance.actions() == []


# --- names and revoking -------------------------------------------------------------------------------------


def test_a_new_name_reaches_the_configurations(appliance: Appliance) -> None:
    agent = appliance.add_agent()
    appliance.configurations.create(ADMIN, "hyperv", GOOD)
    with appliance.db.begin() as work:
        record = work.configurations.by_reference("Production")
        # As an import by hand would have left it.
        work.configurations.replace(replace(record, settings={**record.settings, "agent": "HV01"}))
    assert appliance.agents.rename(ADMIN, "hv01", "hv-tokyo").name == "hv-tokyo"
    view = appliance.configurations.get("Production")
    assert (view.agent_name, view.settings["agent"], view.violations) == ("hv-tokyo", agent.id, ())
    assert appliance.entries()[-1].details == {"before": "hv01"}


def test_names_are_unique(appliance: Appliance) -> None:
    appliance.add_agent()
    appliance.add_agent("hv02")
    with pytest.raises(AlreadyExistsError):
        appliance.agents.rename(ADMIN, "hv02", "HV01")
    assert [a.name for a in appliance.agents.list()] == ["hv01", "hv02"]
    assert appliance.actions() == []


def test_an_agent_in_use_is_neither_revoked_nor_removed(appliance: Appliance) -> None:
    appliance.add_agent()
    appliance.configurations.create(ADMIN, "hyperv", GOOD)
    for try_it in (
        lambda: appliance.agents.revoke(ADMIN, "hv01"),
        lambda: appliance.agents.remove(ADMIN, "hv01"),
    ):
        with pytest.raises(InUseError) as caught:
            try_it()
        assert caught.value.params["users"] == "Production"
    assert appliance.agents.get("hv01").online
    assert appliance.disconnected == []
    assert appliance.actions() == ["configuration.create"]


def test_revoked_by_force_it_is_disconnected_and_named_in_its_configurations(appliance: Appliance) -> None:
    agent = appliance.add_agent()
    appliance.configurations.create(ADMIN, "hyperv", GOOD)
    view = appliance.agents.revoke(ADMIN, "hv01", force=True)
    assert (view.revoked, view.online) == (True, False)
    assert appliance.disconnected == [agent.id]
    assert [v.code for v in appliance.configurations.get("Production").violations] == ["agent-unknown"]
    assert appliance.actions()[-1] == "agent.revoke"


def test_removed(appliance: Appliance) -> None:
    agent = appliance.add_agent()
    appliance.agents.remove(ADMIN, "hv01")
    assert appliance.agents.list() == ()
    assert appliance.disconnected == [agent.id]
    assert appliance.actions() == ["agent.remove"]


def test_agents_that_do_not_exist(appliance: Appliance) -> None:
    tries: list[Callable[[], object]] = [
        lambda: appliance.agents.get("x"),
        lambda: appliance.agents.inventory("x"),
        lambda: appliance.agents.rename(ADMIN, "x", "y"),
        lambda: appliance.agents.revoke(ADMIN, "x"),
        lambda: appliance.agents.remove(ADMIN, "x"),
    ]
    for try_it in tries:
        with pytest.raises(NotFoundError):
            try_it()


@pytest.mark.parametrize("actor", [MANAGER, PUBLISHER, READER], ids=lambda a: a.role.value)
def test_only_administrators_manage_agents(actor: Actor, appliance: Appliance) -> None:
    appliance.add_agent()
    token = appliance.agents.create_token(ADMIN)
    tries: list[Callable[[], object]] = [
        lambda: appliance.agents.create_token(actor),
        lambda: appliance.agents.remove_token(actor, token.id),
        lambda: appliance.agents.rename(actor, "hv01", "x"),
        lambda: appliance.agents.revoke(actor, "hv01"),
        lambda: appliance.agents.remove(actor, "hv01"),
    ]
    for try_it in tries:
        with pytest.raises(NotAllowedError):
            try_it()
    assert appliance.actions() == ["agent.create-token"]
