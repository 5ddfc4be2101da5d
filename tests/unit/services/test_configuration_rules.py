"""What a connector configuration must not be: each is refused at save and at test, and nothing is saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso.agent.link.errors import AgentSilentError
from sekiso.connectors.checks import CHECKS, CheckResult, CheckStatus
from sekiso.connectors.errors import ConfigurationInvalidError
from sekiso.model.connector import AgentInventory
from sekiso.services.configuration_views import ConfigurationView

from ...support.appliance import ADMIN, GOOD, HOST, Appliance

ON = {"offload": True}
G2 = {**ON, "generation": 2, "disk_format": "vhdx"}
NO_OFFLOAD = replace(HOST, offload=False, offload_hindrance="The host lacks room for the engine's machine.")
NO_VHDX = replace(HOST, disk_formats=HOST.disk_formats[:1])


@dataclass(frozen=True)
class Refused:
    """Settings that break a rule: the requirement, what differs from good ones, the rule and its field."""

    requirement: str
    given: Mapping[str, Any]
    field: str
    code: str
    host: AgentInventory | None = HOST

    @property
    def name(self) -> str:
        return f"{self.requirement} {self.code} {' '.join(f'{k}={v}' for k, v in self.given.items())}"[:90]


REFUSED = (
    # CC-1: fields, defaults and ranges
    Refused("CC-1", {"name": None}, "name", "missing"),
    Refused("CC-1", {"name": ""}, "name", "name-not-usable"),
    Refused("CC-1", {"name": " x"}, "name", "name-not-usable"),
    Refused("CC-1", {"name": "a\nb"}, "name", "name-not-usable"),
    Refused("CC-1", {"name": "x" * 65}, "name", "too-long"),
    Refused("CC-1", {"name": 4}, "name", "wrong-type"),
    Refused("CC-1", {"name": "Taken"}, "name", "name-taken"),
    Refused("CC-1", {"name": "ｔａｋｅｎ"}, "name", "name-taken"),
    Refused("CC-1", {"agent": None}, "agent", "missing"),
    Refused("CC-1", {"agent": "hv99"}, "agent", "agent-unknown"),
    Refused("CC-1", {"agent": ["hv01"]}, "agent", "wrong-type"),
    Refused("CC-1", {"cpus": 0}, "cpus", "too-small"),
    Refused("CC-1", {"cpus": 241}, "cpus", "too-large"),
    Refused("CC-1", {"cpus": True}, "cpus", "wrong-type"),
    Refused("CC-1", {"cpus": "4"}, "cpus", "wrong-type"),
    Refused("CC-1", {"cpus": 4.0}, "cpus", "wrong-type"),
    Refused("CC-1", {"cpus": None}, "cpus", "missing"),
    Refused("CC-1", {"cpus": 65}, "cpus", "cpus-exceed-generation1", replace(HOST, cpus=0)),
    Refused("CC-1", {"cpus": 33}, "cpus", "cpus-exceed-host"),
    Refused("CC-1", {"memory_mb": 31}, "memory_mb", "too-small"),
    Refused("CC-1", {"memory_mb": 8193}, "memory_mb", "not-a-multiple"),
    Refused("CC-1", {"memory_mb": 13 << 20}, "memory_mb", "too-large"),
    Refused("CC-1", {"memory_mb": 512 << 10}, "memory_mb", "memory-exceeds-host"),
    Refused("CC-1", {"network": None}, "network", "network-missing"),
    Refused("CC-1", {"network": "WAN"}, "network", "network-unknown"),
    Refused("CC-1", {"generation": 3}, "generation", "not-a-choice"),
    Refused("CC-1", {"generation": True}, "generation", "not-a-choice"),
    Refused("CC-1", {"disk_format": "qcow2"}, "disk_format", "not-a-choice"),
    Refused("CC-1", {"offload": 1}, "offload", "wrong-type"),
    Refused("CC-1", {"cache_gb": -1}, "cache_gb", "too-small"),
    Refused("CC-1", {"cache_gb": 501}, "cache_gb", "cache-exceeds-volume"),
    Refused("CC-1", {"colour": "blue"}, "colour", "unknown-setting"),
    # CC-2: offload, generation and disk format together
    Refused("CC-2", {"disk_format": "vhdx"}, "disk_format", "vhdx-needs-offload"),
    Refused("CC-2", {"generation": 2}, "generation", "generation2-needs-offload"),
    Refused("CC-2", {"generation": 2, "disk_format": "vhdx"}, "generation", "generation2-needs-offload"),
    Refused("CC-2", {**ON, "generation": 2}, "disk_format", "generation2-needs-vhdx"),
    Refused("CC-2", ON, "offload", "offload-not-available", NO_OFFLOAD),
    Refused("CC-2", {**ON, "disk_format": "vhdx"}, "disk_format", "format-not-on-host", NO_VHDX),
    # CC-3: firmware of the machine that results
    Refused("CC-3", {"template_vm": "Template UEFI"}, "template_vm", "uefi-template-needs-offload"),
    Refused("CC-3", {"template_vm": "t-secure"}, "template_vm", "uefi-template-needs-offload"),
    Refused("CC-3", {**G2, "template_vm": "t-bios"}, "generation", "generation-differs-from-template"),
    Refused("CC-3", {**ON, "template_vm": "t-uefi"}, "generation", "generation-differs-from-template"),
    Refused("CC-3", {**ON, "template_vm": "t-secure"}, "generation", "generation-differs-from-template"),
    # CC-4: the template VM
    Refused("CC-4", {"template_vm": "Bare"}, "template_vm", "template-without-adapter"),
    Refused("CC-4", {"template_vm": "Gold"}, "template_vm", "template-with-disk"),
    Refused("CC-4", {"template_vm": "Nobody"}, "template_vm", "template-unknown"),
    Refused("CC-4", {"template_vm": "Twin"}, "template_vm", "template-ambiguous"),
    Refused("CC-4", {"template_vm": "Loose", "network": None}, "network", "network-missing-for-template"),
    # CC-5: the storage path
    Refused("CC-5", {"storage_path": None}, "storage_path", "missing"),
    Refused("CC-5", {"storage_path": ""}, "storage_path", "path-empty"),
    Refused("CC-5", {"storage_path": "VMs"}, "storage_path", "path-relative"),
    Refused("CC-5", {"storage_path": r"M:\VMs"}, "storage_path", "path-mapped-drive"),
    Refused("CC-5", {"storage_path": "/var/lib/vms"}, "storage_path", "path-other-platform"),
    Refused("CC-5", {"storage_unc_path": r"D:\VMs"}, "storage_unc_path", "path-not-unc"),
    Refused(
        "CC-5",
        {"storage_path": r"\\fs\vms", "storage_unc_path": r"\\fs\other"},
        "storage_unc_path",
        "path-two-shares",
    ),
)


@dataclass(frozen=True)
class Saved:
    """What the appliance holds, to see that nothing of it was changed."""

    configurations: tuple[ConfigurationView, ...]
    actions: tuple[str, ...]

    @classmethod
    def of(cls, appliance: Appliance) -> Saved:
        return cls(appliance.configurations.list(), tuple(appliance.actions()))


@pytest.fixture
def host(module_appliance: Appliance) -> Callable[[AgentInventory | None], Appliance]:
    """The appliance with one agent, of which the host is as wanted, and the configuration `Taken`."""

    def with_host(inventory: AgentInventory | None) -> Appliance:
        appliance = module_appliance
        if not appliance.agents.list():
            appliance.add_agent()
            appliance.configurations.create(ADMIN, "hyperv", {**GOOD, "name": "Taken"})
        with appliance.db.read() as work:
            record = work.agents.by_reference("hv01")
        appliance.script(record).inventory = inventory or HOST
        appliance.agents.ask_inventory(record.id)
        return appliance

    return with_host


def failed(rows: list[CheckResult]) -> list[CheckResult]:
    return [row for row in rows if row.status is CheckStatus.FAILED]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused(case: Refused, host: Callable[[AgentInventory | None], Appliance]) -> None:
    appliance = host(case.host)
    values = {**GOOD, **case.given}
    before = Saved.of(appliance)
    with pytest.raises(ConfigurationInvalidError) as create:
        appliance.configurations.create(ADMIN, "hyperv", values)
    with pytest.raises(ConfigurationInvalidError) as update:
        appliance.configurations.update(
            ADMIN, "Taken", {"name": "Other", **case.given} if case.code != "name-taken" else {"name": ""}
        )
    assert (case.field, case.code) in {(v.field, v.code) for v in create.value.violations}
    if case.code != "name-taken":
        assert (case.field, case.code) in {(v.field, v.code) for v in update.value.violations}
    assert Saved.of(appliance) == before
    said = next(v for v in create.value.violations if (v.field, v.code) == (case.field, case.code))
    assert said.reason.endswith(".")
    assert said.remedy.endswith(".")
    check_test_agrees(appliance, values, case)


def check_test_agrees(appliance: Appliance, values: Mapping[str, Any], case: Refused) -> None:
    """The test refuses the same, in a row, or at once where nothing can be tested."""
    try:
        rows = list(appliance.configurations.test(ADMIN, "hyperv", values))
    except ConfigurationInvalidError as error:
        assert (case.field, case.code) in {(v.field, v.code) for v in error.violations}
        return
    assert case.field in {field for row in failed(rows) for field in row.fields}
    assert all(row.detail and row.what_to_do for row in failed(rows))


def test_everything_that_is_broken_is_named(appliance: Appliance) -> None:
    appliance.add_agent()
    values = {**GOOD, "cpus": 0, "network": "WAN", "storage_path": r"M:\VMs", "generation": 2}
    with pytest.raises(ConfigurationInvalidError) as caught:
        appliance.configurations.create(ADMIN, "hyperv", values)
    error = caught.value
    found = [v.field for v in error.violations]
    assert {"cpus", "network", "storage_path", "generation"} <= set(found)
    # In the order of the form, the first one in the text.
    assert (error.code, error.params["field"], error.params["reason"]) == (
        "configuration.invalid",
        found[0],
        error.violations[0].reason,
    )
    assert "violations" not in error.params
    assert appliance.configurations.list() == ()
    assert appliance.actions() == []


ALLOWED = (
    ({}, "bios"),
    (ON, "bios"),
    ({**ON, "disk_format": "vhdx"}, "bios"),
    (G2, "uefi"),
    ({"template_vm": "t-bios"}, "bios"),
    ({**ON, "template_vm": "t-bios"}, "bios"),
    ({**G2, "template_vm": "t-uefi"}, "uefi"),
    ({**G2, "template_vm": "Template Secure"}, "uefi-secure-boot"),
    ({"template_vm": "t-loose"}, "bios"),
    ({"template_vm": "t-bios", "network": None}, "bios"),
    ({"storage_path": r"\\fs\vms"}, "bios"),
    ({"storage_unc_path": r"\\hv01\vms"}, "bios"),
    ({"cache_gb": 0}, "bios"),
    ({"cache_gb": 100}, "bios"),
)


@pytest.mark.parametrize(("given_", "firmware"), ALLOWED)
def test_allowed(given_: Mapping[str, Any], firmware: str, appliance: Appliance) -> None:
    appliance.add_agent()
    values = {**GOOD, **given_}
    view = appliance.configurations.create(ADMIN, "hyperv", values)
    assert view.firmware == firmware
    assert view.violations == ()
    rows = list(appliance.configurations.test_saved(ADMIN, "Production"))
    assert failed(rows) == []
    assert [row.code for row in rows] == [check.code for check in CHECKS]


PURE = frozenset(c.code for c in CHECKS if not c.live)

SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(("Production", "Taken", "", " x", "x" * 65)),
        "agent": st.sampled_from(("hv01", "HV01", "hv99")),
        "offload": st.booleans(),
        "generation": st.sampled_from((1, 2)),
        "disk_format": st.sampled_from(("vhd", "vhdx")),
        "template_vm": st.sampled_from((None, "t-bios", "t-uefi", "t-secure", "Gold", "Bare", "Twin", "?")),
        "network": st.sampled_from((None, "LAN", "lan", "WAN")),
        "cpus": st.sampled_from((0, 1, 32, 33, 64, 65, 240, 241)),
        "memory_mb": st.sampled_from((31, 32, 33, 8192, 256 << 10, (256 << 10) + 2, 2 << 20)),
        "storage_path": st.sampled_from((r"C:\VMs", r"M:\VMs", "VMs", "/vms", r"\\fs\vms", r"C:\a|b", "")),
        "storage_unc_path": st.sampled_from((None, r"\\fs\vms", r"\\fs\x", r"C:\VMs")),
        "cache_gb": st.sampled_from((None, 0, 1, 500, 501, -1)),
    },
)
HOSTS = (HOST, NO_OFFLOAD, NO_VHDX)


@given(changed=SETTINGS, inventory=st.sampled_from(HOSTS))
def test_saving_and_testing_agree(
    changed: Mapping[str, Any], inventory: AgentInventory, module_appliance: Appliance
) -> None:
    appliance = module_appliance
    if not appliance.agents.list():
        appliance.add_agent()
        appliance.configurations.create(ADMIN, "hyperv", {**GOOD, "name": "Taken"})
    with appliance.db.read() as work:
        record = work.agents.by_reference("hv01")
    appliance.script(record).inventory = inventory
    appliance.agents.ask_inventory(record.id)
    values = {**GOOD, **changed}
    rows = failed(list(appliance.configurations.test(ADMIN, "hyperv", values)))
    broken = {field for row in rows if row.code in PURE for field in row.fields}
    try:
        view = appliance.configurations.create(ADMIN, "hyperv", values)
    except ConfigurationInvalidError as error:
        assert broken
        assert broken <= {v.field for v in error.violations}
    else:
        appliance.configurations.remove(ADMIN, view.id)
        assert broken == set()


def test_settings_are_judged_by_what_an_offline_agent_last_reported(appliance: Appliance) -> None:
    agent = appliance.add_agent(online=False)
    with pytest.raises(ConfigurationInvalidError) as caught:
        appliance.configurations.create(ADMIN, "hyperv", {**GOOD, "template_vm": "Gold"})
    assert caught.value.violations[0].code == "template-with-disk"
    view = appliance.configurations.create(ADMIN, "hyperv", GOOD)
    assert (view.agent_online, view.settings["agent"]) == (False, agent.id)
    rows = {row.code: row for row in appliance.configurations.test_saved(ADMIN, view.id)}
    assert rows["agent-reachable"].status is CheckStatus.FAILED
    assert "hv01" in rows["agent-reachable"].detail or agent.id in rows["agent-reachable"].detail
    assert rows["agent-reachable"].what_to_do
    assert rows["storage-probe"].status is CheckStatus.SKIPPED


def test_settings_are_judged_by_what_an_online_agent_reports_now(appliance: Appliance) -> None:
    agent = appliance.add_agent(inventory=replace(HOST, template_vms=(), switches=()))
    appliance.script(agent).inventory = HOST
    view = appliance.configurations.create(ADMIN, "hyperv", {**GOOD, "template_vm": "t-bios"})
    assert view.violations == ()
    appliance.script(agent).inventory = replace(HOST, template_vms=())
    with pytest.raises(ConfigurationInvalidError) as caught:
        appliance.configurations.update(ADMIN, view.id, {"cpus": 2})
    assert caught.value.violations[0].code == "template-unknown"
    # What was saved says now what is wrong with it.
    assert [v.code for v in appliance.configurations.get(view.id).violations] == ["template-unknown"]
    assert appliance.configurations.get(view.id).firmware == ""


def test_an_agent_that_does_not_answer_is_judged_by_its_last_report(appliance: Appliance) -> None:
    def silent(_: object) -> None:
        raise AgentSilentError(agent="hv01", method="host.inventory", timeout_s=60)

    agent = appliance.add_agent()
    appliance.script(agent).answers["host.inventory"] = silent
    assert appliance.configurations.create(ADMIN, "hyperv", GOOD).violations == ()


def test_an_unfit_agent_fails_the_test_but_keeps_nobody_from_saving(appliance: Appliance) -> None:
    unfit = replace(HOST, agent_version="99.0", machine_account=False, account="alice")
    appliance.add_agent(inventory=unfit)
    appliance.configurations.create(ADMIN, "hyperv", GOOD)
    rows = failed(list(appliance.configurations.test_saved(ADMIN, "Production")))
    assert {row.code for row in rows} >= {"agent-version", "agent-account"}


@pytest.mark.parametrize("state", ["revoked", "removed"])
def test_an_agent_that_is_gone(state: str, appliance: Appliance) -> None:
    appliance.add_agent()
    appliance.agents.revoke(ADMIN, "hv01")
    if state == "removed":
        appliance.agents.remove(ADMIN, "hv01")
    with pytest.raises(ConfigurationInvalidError) as caught:
        appliance.configurations.create(ADMIN, "hyperv", GOOD)
    assert caught.value.violations[0].code == "agent-unknown"
