"""The layer disk cache of a configuration, shown and cleared (IM-4)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sekiso.agent.contract import CachedDisk, CacheFacts, ClearCacheParams
from sekiso.agent.link.errors import AgentOfflineError
from sekiso.errors import NotFoundError
from sekiso.model.library import AgentRecord
from sekiso.model.machine import DiskFormat, Generation
from sekiso.services.core import Actor, NotAllowedError

from ...support.appliance import ADMIN, GOOD, HOST, MANAGER, PUBLISHER, READER, Appliance

DISK = CachedDisk("k1", ("a" * 64,), DiskFormat.VHD, Generation.ONE, 1 << 30, 3, 1.0, 2.0, ("v1",))
FULL = CacheFacts((DISK,), 1 << 30, 3, 1, 0, 0)
LEFT = CacheFacts((), 0, 3, 1, 1, 0)


@pytest.fixture
def agent(appliance: Appliance) -> AgentRecord:
    found = appliance.add_agent()
    appliance.configurations.create(ADMIN, "hyperv", {**GOOD, "cache_gb": 10, "template_vm": "t-bios"})
    script = appliance.script(found)
    script.answers.update({"cache.list": lambda _: FULL, "cache.clear": lambda _: LEFT})
    return found


def test_shown(appliance: Appliance, agent: AgentRecord) -> None:
    assert appliance.cache.show("production") == FULL
    (params,) = appliance.agents_port.asked("cache.list")
    assert params.storage_path == r"C:\Virtual Machines"


@pytest.mark.parametrize(
    ("keys", "sent"), [(None, None), (["k1"], ("k1",)), ([], ())], ids=["all", "one", "none"]
)
def test_cleared(
    keys: list[str] | None, sent: tuple[str, ...] | None, appliance: Appliance, agent: AgentRecord
) -> None:
    assert appliance.cache.clear(MANAGER, "Production", keys) == LEFT
    assert appliance.agents_port.asked("cache.clear") == [ClearCacheParams(r"C:\Virtual Machines", sent)]
    entry = appliance.entries()[-1]
    assert (entry.actor, entry.action, entry.subject_name) == ("maya", "cache.clear", "Production")
    assert entry.details == ({} if keys is None else {"keys": keys})


def test_seen_and_cleared_whatever_else_is_wrong(appliance: Appliance, agent: AgentRecord) -> None:
    with appliance.db.begin() as work:
        work.agents.replace(replace(work.agents.get(agent.id), inventory=replace(HOST, template_vms=())))
    assert appliance.configurations.get("Production").violations
    assert appliance.cache.show("Production") == FULL
    assert appliance.cache.clear(ADMIN, "Production") == LEFT


def test_an_agent_that_is_away(appliance: Appliance, agent: AgentRecord) -> None:
    appliance.agents_port.offline.add(agent.id)
    with pytest.raises(AgentOfflineError):
        appliance.cache.show("Production")
    with pytest.raises(AgentOfflineError):
        appliance.cache.clear(ADMIN, "Production")
    # What did not happen is not written down.
    assert appliance.actions() == ["configuration.create"]


def test_a_configuration_that_does_not_exist(appliance: Appliance) -> None:
    with pytest.raises(NotFoundError):
        appliance.cache.show("x")
    with pytest.raises(NotFoundError):
        appliance.cache.clear(ADMIN, "x")


@pytest.mark.parametrize("actor", [PUBLISHER, READER], ids=lambda a: a.role.value)
def test_cleared_by_layer_managers(actor: Actor, appliance: Appliance, agent: AgentRecord) -> None:
    with pytest.raises(NotAllowedError):
        appliance.cache.clear(actor, "Production")
    assert appliance.agents_port.asked("cache.clear") == []
