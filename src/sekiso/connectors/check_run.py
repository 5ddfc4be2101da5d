"""Carries out the test of a connector configuration in order (CC-7).

A check whose prerequisite failed is skipped, not reported as a second failure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sekiso.connectors.base import Connector, Surroundings
from sekiso.connectors.checks import CHECKS, Check, CheckResult, CheckStatus, LiveProbes, StorageProbe
from sekiso.errors import SekisoError, fill
from sekiso.model.connector import TransferPolicy, TransferScheme
from sekiso.model.machine import Violation
from sekiso.model.storage_path import HostPlatform, StoragePath, parse_storage_path, same_place_question

#: Less than this and no packaging machine can be made.
MIN_FREE_BYTES = 10 << 30
_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})(?:\.|$|[a-z+-])")
#: Where an error does not say itself what to do.
_LOOK = "Look at the log of the agent's service on its host."
_NOT_REPORTED = "The agent has not reported its host yet."


@dataclass(slots=True)
class _Run:
    """One test under way; what was found so far decides what is asked next."""

    connector: Connector[Any]
    settings: Any
    surroundings: Surroundings
    appliance_version: str
    live: LiveProbes | None
    policy: TransferPolicy
    groups: Mapping[str, tuple[Violation, ...]] = field(init=False)
    blocked: set[str] = field(default_factory=set[str])
    probe: StorageProbe | None = None

    def __post_init__(self) -> None:
        self.judge()

    def judge(self) -> None:
        self.groups = self.connector.grouped_violations(self.settings, self.surroundings)


def run_checks(
    connector: Connector[Any],
    settings: Any,
    surroundings: Surroundings,
    *,
    appliance_version: str,
    live: LiveProbes,
    policy: TransferPolicy,
) -> Iterator[CheckResult]:
    """Carry out the whole test, yielding each row as soon as it is known.

    Args:
        connector: the connector type.
        settings: the settings under test.
        surroundings: agents and other names; its inventory gives way to what the agent reports now.
        appliance_version: version of the appliance.
        live: carries out what needs the agent.
        policy: how files travel, as the connector's config.json says.
    """
    run = _Run(connector, settings, surroundings, appliance_version, live, policy)
    for check in CHECKS:
        yield _note(run, check, _result(run, check))


def pure_results(
    connector: Connector[Any], settings: Any, surroundings: Surroundings, *, appliance_version: str
) -> tuple[CheckResult, ...]:
    """Evaluate the checks that need only the settings and what the agent last reported.

    Those that need a report are skipped where there is none.
    """
    run = _Run(connector, settings, surroundings, appliance_version, None, TransferPolicy())
    return tuple(_note(run, check, _result(run, check)) for check in CHECKS if not check.live)


def _note(run: _Run, check: Check, result: CheckResult) -> CheckResult:
    stopped = set(check.depends_on) & run.blocked
    if result.status is CheckStatus.FAILED or (result.status is CheckStatus.SKIPPED and stopped):
        run.blocked.add(check.code)
    return result


def _result(run: _Run, check: Check) -> CheckResult:
    broken = run.groups.get(check.code, ())
    not_applicable = run.connector.hindered_checks(run.settings).get(check.code)
    if not_applicable and not broken:
        return CheckResult(check.code, CheckStatus.SKIPPED, not_applicable)
    stopper = next((c for c in CHECKS if c.code in check.depends_on and c.code in run.blocked), None)
    if stopper is not None:
        return CheckResult(
            check.code, CheckStatus.SKIPPED, f"This needs the check {stopper.title}, which did not pass."
        )
    if check.needs_inventory and run.surroundings.inventory is None:
        return CheckResult(check.code, CheckStatus.SKIPPED, _NOT_REPORTED)
    if check.live:
        return _live_result(run, check)
    broken = (*broken, *_agent_faults(run, check.code))
    return _failed_by_rules(check.code, broken) if broken else _passed(check)


def _agent_faults(run: _Run, code: str) -> Iterator[Violation]:
    inventory = run.surroundings.inventory
    if inventory is None:
        return
    if code == "agent-version" and not _versions_fit(inventory.agent_version, run.appliance_version):
        yield Violation(
            "agent",
            "agent-version",
            f"The agent has version {inventory.agent_version}, the appliance {run.appliance_version}.",
            "Install the agent of the appliance's version on that machine.",
        )
    if code == "agent-account" and not inventory.machine_account:
        yield Violation(
            "agent",
            "agent-account",
            f"The agent runs as {inventory.account} instead of the machine's own account.",
            "Install the agent as a service again, as its instructions say.",
        )


def _versions_fit(agent: str, appliance: str) -> bool:
    """Whether both speak one contract: the same major version, and before 1.0 the same minor one too."""
    parsed = [_VERSION.match(version) for version in (agent, appliance)]
    pairs = [(int(m[1]), int(m[2])) for m in parsed if m]
    if len(pairs) < 2:
        return False
    (agent_major, agent_minor), (major, minor) = pairs
    return agent_major == major and (major > 0 or agent_minor == minor)


def _failed_by_rules(code: str, broken: tuple[Violation, ...]) -> CheckResult:
    return CheckResult(
        code,
        CheckStatus.FAILED,
        "\n".join(dict.fromkeys(v.reason for v in broken)),
        "\n".join(dict.fromkeys(v.remedy for v in broken if v.remedy)),
        tuple(dict.fromkeys(v.field for v in broken)),
    )


def _passed(check: Check) -> CheckResult:
    return CheckResult(check.code, CheckStatus.PASSED, check.proves)


def _live_result(run: _Run, check: Check) -> CheckResult:
    if run.live is None:
        raise ValueError(f"{check.code} needs live probes")
    try:
        return _PROBES[check.code](run, check, run.live)
    except SekisoError as error:
        texts = (fill(t, error.params) for t in (error.brief, error.why))
        detail = "\n".join(t for t in texts if t)
        what_to_do = fill(error.resolution, error.params) or _LOOK
        return CheckResult(check.code, CheckStatus.FAILED, detail, what_to_do)


def _reach_agent(run: _Run, check: Check, live: LiveProbes) -> CheckResult:
    inventory = live.reach_agent(run.connector.place(run.settings).agent)
    run.surroundings = replace(run.surroundings, inventory=inventory)
    run.judge()
    return _passed(check)


def _probe_storage(run: _Run, check: Check, live: LiveProbes) -> CheckResult:
    run.probe = live.probe_storage(_path(run))
    return _passed(check)


def _probe_free_space(run: _Run, check: Check, _: LiveProbes) -> CheckResult:
    free_bytes = run.probe.free_bytes if run.probe else 0
    if free_bytes < MIN_FREE_BYTES:
        return CheckResult(
            check.code,
            CheckStatus.FAILED,
            f"Only {free_bytes >> 30} GB are free at the storage path; "
            f"{MIN_FREE_BYTES >> 30} GB are the least to work with.",
            "Free some space or choose another place.",
            ("storage_path",),
        )
    return CheckResult(
        check.code, CheckStatus.PASSED, f"At the storage path, {free_bytes >> 30} GB are free."
    )


def _probe_same_place(run: _Run, check: Check, live: LiveProbes) -> CheckResult:
    place = run.connector.place(run.settings)
    first = parse_storage_path(place.path, _platform(run))
    second = parse_storage_path(place.unc_path or "", _platform(run))
    if not isinstance(first, StoragePath) or not isinstance(second, StoragePath):
        return CheckResult(check.code, CheckStatus.SKIPPED, "One of the two paths is not valid.")
    question = same_place_question(first, second)
    if question is None or live.probe_same_place(question):
        return _passed(check)
    return CheckResult(
        check.code,
        CheckStatus.FAILED,
        f"{first.text} and {second.text} are not the same folder.",
        "Give the UNC path of the same folder, or leave it out.",
        ("storage_unc_path",),
    )


def _probe_transfer_to_agent(run: _Run, check: Check, live: LiveProbes) -> CheckResult:
    live.probe_transfer_to_agent(_path(run), run.policy)
    return CheckResult(check.code, CheckStatus.PASSED, _arrival(run.policy))


def _probe_transfer_from_agent(run: _Run, check: Check, live: LiveProbes) -> CheckResult:
    live.probe_transfer_from_agent(_path(run), run.policy)
    return CheckResult(check.code, CheckStatus.PASSED, _arrival(run.policy))


def _arrival(policy: TransferPolicy) -> str:
    if policy.scheme is TransferScheme.HTTP:
        return "The file arrived over HTTP, which does not encrypt it."
    if policy.verify:
        return "The file arrived over HTTPS, and the certificate was verified."
    return "The file arrived over HTTPS; certificate errors are ignored."


def _platform(run: _Run) -> HostPlatform:
    inventory = run.surroundings.inventory
    return inventory.platform if inventory else HostPlatform.WINDOWS


def _path(run: _Run) -> str:
    """The storage path in its one spelling; the rules have accepted it by now."""
    path = run.connector.place(run.settings).path
    parsed = parse_storage_path(path, _platform(run))
    return parsed.text if isinstance(parsed, StoragePath) else path


_PROBES: dict[str, Callable[[_Run, Check, LiveProbes], CheckResult]] = {
    "agent-reachable": _reach_agent,
    "storage-probe": _probe_storage,
    "same-place": _probe_same_place,
    "free-space": _probe_free_space,
    "transfer-to-agent": _probe_transfer_to_agent,
    "transfer-from-agent": _probe_transfer_from_agent,
}
