"""The test of a configuration, row by row (CC-7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from sekiso.connectors.base import Surroundings
from sekiso.connectors.check_run import pure_results, run_checks
from sekiso.connectors.checks import CHECKS, CheckResult, CheckStatus, StorageProbe, has_passed
from sekiso.connectors.hyperv.connector import HyperVConnector
from sekiso.connectors.hyperv.rules import grouped_violations
from sekiso.connectors.hyperv.settings import HyperVSettings
from sekiso.errors import VerificationError
from sekiso.model.connector import AgentInventory, TransferPolicy, TransferScheme
from sekiso.model.storage_path import SamePlaceQuestion

from .hyperv.examples import AROUND, GIB, GOOD, HOST

PASSED, FAILED, SKIPPED = CheckStatus
HTTPS = TransferPolicy(TransferScheme.HTTPS, verify=True)


@dataclass
class Agent:
    """An agent in memory that answers as it is told."""

    inventory: AgentInventory = HOST
    free_bytes: int = 100 * GIB
    same: bool = True
    broken: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list[str])

    def note(self, what: str) -> None:
        self.asked.append(what)
        if what.split(maxsplit=1)[0] in self.broken:
            raise VerificationError(what="The probe", reason="It did not arrive.", remedy="Try again later.")

    def reach_agent(self, reference: str) -> AgentInventory:
        self.note(f"reach {reference}")
        return self.inventory

    def probe_storage(self, path: str) -> StorageProbe:
        self.note(f"storage {path}")
        return StorageProbe("SYSTEM", self.free_bytes)

    def probe_same_place(self, question: SamePlaceQuestion) -> bool:
        self.note(f"same {question.written.text} {question.read.text}")
        return self.same

    def probe_transfer_to_agent(self, path: str, policy: TransferPolicy) -> None:
        self.note(f"to {path} {policy.scheme}")

    def probe_transfer_from_agent(self, path: str, policy: TransferPolicy) -> None:
        self.note(f"from {path} {policy.scheme}")


def rows(
    agent: Agent, settings: HyperVSettings = GOOD, around: Surroundings = AROUND
) -> dict[str, CheckResult]:
    found = run_checks(
        HyperVConnector(), settings, around, appliance_version="0.1.5", live=agent, policy=HTTPS
    )
    return {r.code: r for r in found}


def not_passed(results: dict[str, CheckResult]) -> dict[str, CheckStatus]:
    return {code: r.status for code, r in results.items() if r.status is not PASSED}


def test_declared_in_an_order_that_works() -> None:
    codes = [c.code for c in CHECKS]
    assert len(set(codes)) == len(codes)
    for index, check in enumerate(CHECKS):
        assert set(check.depends_on) <= set(codes[:index])
        assert check.proves.endswith(".")
    assert set(grouped_violations(GOOD, AROUND)) <= {c.code for c in CHECKS if not c.live}


def test_all_good() -> None:
    agent = Agent()
    results = rows(agent)
    assert list(results) == [c.code for c in CHECKS]
    assert not_passed(results) == {"offload": SKIPPED, "template-vm": SKIPPED, "same-place": SKIPPED}
    assert has_passed(tuple(results.values()))
    path = r"C:\Virtual Machines"
    assert agent.asked == ["reach hv01", f"storage {path}", f"to {path} https", f"from {path} https"]
    assert results["free-space"].detail == "At the storage path, 100 GB are free."
    assert "verified" in results["transfer-to-agent"].detail


def test_one_failure_is_not_told_twice() -> None:
    results = rows(Agent(broken=("reach",)))
    assert {c for c, r in results.items() if r.status is FAILED} == {"agent-reachable"}
    reached = results["agent-reachable"]
    assert "It did not arrive." in reached.detail
    assert reached.what_to_do == "Try again later."
    assert results["transfer-to-agent"].status is SKIPPED
    assert {c for c, r in results.items() if r.status is PASSED} == {
        "settings",
        "agent-known",
        "storage-path",
    }


def test_what_the_agent_says_now_counts() -> None:
    moved = replace(HOST, switches=(), agent_version="0.2.0", account="bob", machine_account=False)
    results = rows(Agent(inventory=moved))
    assert not_passed(results).items() >= {"network-switch": FAILED, "agent-version": FAILED}.items()
    assert results["agent-account"].status is FAILED
    assert "bob" in results["agent-account"].detail
    assert results["transfer-to-agent"].status is SKIPPED
    assert results["network-switch"].fields == ("network",)


@pytest.mark.parametrize(
    ("changes", "agent", "code"),
    [
        ({"name": "Test"}, Agent, "settings"),
        ({"agent": "hv99"}, Agent, "agent-known"),
        ({"cpus": 129}, Agent, "settings"),
        ({"storage_path": r"M:\x"}, Agent, "storage-path"),
        ({"template_vm": "Gold"}, Agent, "template-vm"),
        ({"offload": True}, lambda: Agent(replace(HOST, offload=False)), "offload"),
        ({}, lambda: Agent(free_bytes=10 * GIB - 1), "free-space"),
        ({}, lambda: Agent(broken=("storage",)), "storage-probe"),
        ({}, lambda: Agent(broken=("to",)), "transfer-to-agent"),
        ({}, lambda: Agent(broken=("from",)), "transfer-from-agent"),
        ({"storage_unc_path": r"\\hv01\vm"}, lambda: Agent(same=False), "same-place"),
    ],
)
def test_each_failure_has_its_row(changes: dict[str, object], agent: Callable[[], Agent], code: str) -> None:
    results = rows(agent(), replace(GOOD, **changes))
    assert results[code].status is FAILED
    assert results[code].what_to_do
    assert not has_passed(tuple(results.values()))


def test_same_place() -> None:
    agent = Agent()
    results = rows(agent, replace(GOOD, storage_unc_path=r"\\hv01\vm"))
    assert results["same-place"].status is PASSED
    assert r"same C:\Virtual Machines \\hv01\vm" in agent.asked


def test_pure_checks() -> None:
    def pure(settings: HyperVSettings, around: Surroundings) -> dict[str, CheckResult]:
        found = pure_results(HyperVConnector(), settings, around, appliance_version="0.1.0")
        return {r.code: r for r in found}

    assert set(pure(GOOD, AROUND)) == {c.code for c in CHECKS if not c.live}
    assert has_passed(tuple(pure(GOOD, AROUND).values()))
    unknown = pure(GOOD, Surroundings())
    assert {r.status for c, r in unknown.items() if c.startswith("agent-v")} == {SKIPPED}
    assert unknown["network-switch"].detail == "The agent has not reported its host yet."


@pytest.mark.parametrize(
    ("agent", "appliance", "fits"),
    [
        *(("0.1.0", "0.1.9", True), ("0.1.0", "0.2.0", False), ("1.0.0", "1.9.2", True)),
        *(("2.0", "1.0", False), ("", "1.0", False), ("1.2.3rc1", "1.0", True), ("x.y", "x.y", False)),
    ],
)
def test_versions(agent: str, appliance: str, fits: bool) -> None:
    around = replace(AROUND, inventory=replace(HOST, agent_version=agent))
    found = pure_results(HyperVConnector(), GOOD, around, appliance_version=appliance)
    status = next(r.status for r in found if r.code == "agent-version")
    assert (status is PASSED) == fits
