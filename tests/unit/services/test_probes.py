"""The live part of the test: rows as they come, what to do, nothing left behind (CC-5, CC-7)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from sekiso.agent.contract import Done, ProbeTransferParams, SamePlaceResult
from sekiso.agent.handlers.errors import StorageUnusableError
from sekiso.agent.link.errors import AgentOfflineError
from sekiso.connectors.checks import CHECKS, CheckResult, CheckStatus
from sekiso.connectors.errors import ConfigurationInvalidError
from sekiso.errors import SekisoError, VerificationError
from sekiso.transfer.errors import TransferCertificateError

from ...support.appliance import ADMIN, GOOD, HOST, Appliance, Script

PASSED, FAILED, SKIPPED = CheckStatus


def run(appliance: Appliance, **changed: Any) -> dict[str, CheckResult]:
    rows = list(appliance.configurations.test(ADMIN, "hyperv", {**GOOD, **changed}))
    assert [row.code for row in rows] == [check.code for check in CHECKS]
    return {row.code: row for row in rows}


def left_behind(appliance: Appliance) -> list[str]:
    probes = appliance.state / "scratch" / "probes"
    return [*appliance.grant_store.ids(), *(str(p) for p in (probes.rglob("*") if probes.is_dir() else ()))]


def raising(error: SekisoError) -> Callable[[object], Any]:
    def answer(_: object) -> Any:
        raise error

    return answer


@pytest.fixture
def script(appliance: Appliance) -> Script:
    return appliance.script(appliance.add_agent())


def test_every_row_passes_with_a_healthy_agent(appliance: Appliance, script: Script) -> None:
    rows = run(appliance, offload=True, template_vm="t-bios", storage_unc_path=r"\\hv01\vms")
    assert {code for code, row in rows.items() if row.status is not PASSED} == {"host-capacity"}
    assert rows["free-space"].detail == "At the storage path, 200 GB are free."
    assert left_behind(appliance) == []
    (down,) = appliance.agents_port.asked("transfer.probe-download")
    (up,) = appliance.agents_port.asked("transfer.probe-upload")
    assert down.name != up.name
    assert down.content != up.content
    assert (down.ticket.port, down.ticket.https, down.ticket.verify) == (1, False, False)


def test_rows_come_as_soon_as_they_are_known(appliance: Appliance, script: Script) -> None:
    rows = appliance.configurations.test(ADMIN, "hyperv", GOOD)
    assert appliance.agents_port.calls == []
    assert next(rows).code == "settings"
    assert appliance.agents_port.calls == []
    seen = [next(rows).code, next(rows).code]
    assert seen == ["agent-known", "agent-reachable"]
    assert [method for _, method, _ in appliance.agents_port.calls] == ["host.inventory"]
    rest = [row.code for row in rows]
    assert len(rest) == len(CHECKS) - 3


def test_a_test_that_is_given_up_leaves_nothing(appliance: Appliance, script: Script) -> None:
    rows = appliance.configurations.test(ADMIN, "hyperv", GOOD)
    for row in rows:
        if row.code == "transfer-to-agent":
            break
    del rows
    assert left_behind(appliance) == []


def test_nothing_is_tested_where_the_form_is_wrong(appliance: Appliance, script: Script) -> None:
    with pytest.raises(ConfigurationInvalidError) as caught:
        appliance.configurations.test(ADMIN, "hyperv", {**GOOD, "cpus": "four", "colour": 1})
    assert {v.field for v in caught.value.violations} == {"cpus", "colour"}
    assert appliance.agents_port.calls == []


def test_a_test_changes_nothing_that_is_saved(appliance: Appliance, script: Script) -> None:
    run(appliance)
    assert appliance.configurations.list() == ()
    assert appliance.actions() == []
    # What the agent reported is kept.
    assert appliance.agents.inventory("hv01") == script.inventory


Break = Callable[[Appliance, Script], None]


def offline(appliance: Appliance, script: Script) -> None:
    appliance.agents_port.offline |= appliance.agents_port.dispatchers.keys()


def answers(method: str, error: SekisoError) -> Break:
    return lambda _, script: script.answers.update({method: raising(error)})


def other_content(appliance: Appliance, script: Script) -> None:
    def answer(params: ProbeTransferParams) -> Done:
        return script.send_probe(replace(params, content="something else"))

    script.answers["transfer.probe-upload"] = answer


def vanishes(appliance: Appliance, script: Script) -> None:
    script.answers["transfer.probe-upload"] = lambda _: Done()


def other_place(appliance: Appliance, script: Script) -> None:
    script.answers["storage.probe-same-place"] = lambda _: SamePlaceResult(False)


def full(appliance: Appliance, script: Script) -> None:
    script.free_bytes = 5 << 30


def later(appliance: Appliance, script: Script) -> None:
    """What the agent last reported was in order; what it reports now is not."""
    script.inventory = replace(HOST, switches=(), template_vms=())


STORAGE = StorageUnusableError(path=r"C:\Virtual Machines", account="HV01$", reason="Access is denied.")
CERTIFICATE = TransferCertificateError(path="probe.txt", reason="The certificate has expired.")
SILENT = AgentOfflineError(agent="hv01")
BAD_FILE = VerificationError(what="The probe file", reason="It arrived with another content.", remedy="")
LIVE: Mapping[str, tuple[Break, Mapping[str, Any], set[str], set[str]]] = {
    "agent offline": (
        offline,
        {},
        {"agent-reachable"},
        {"agent-version", "network-switch", "storage-probe", "free-space", "transfer-to-agent"},
    ),
    "agent lost in the middle": (
        answers("storage.probe", SILENT),
        {},
        {"storage-probe"},
        {"free-space", "transfer-to-agent", "transfer-from-agent"},
    ),
    "path not writable": (
        answers("storage.probe", STORAGE),
        {"storage_unc_path": r"\\hv01\vms"},
        {"storage-probe"},
        {"same-place", "free-space", "transfer-to-agent", "transfer-from-agent"},
    ),
    "two places": (other_place, {"storage_unc_path": r"\\hv01\vms"}, {"same-place"}, set()),
    "no room": (full, {}, {"free-space"}, set()),
    "host has changed": (
        later,
        {"template_vm": "t-bios"},
        {"network-switch", "template-vm"},
        set(),
    ),
    "certificate": (
        answers("transfer.probe-download", CERTIFICATE),
        {},
        {"transfer-to-agent"},
        set(),
    ),
    "download damaged": (
        answers("transfer.probe-download", BAD_FILE),
        {},
        {"transfer-to-agent"},
        set(),
    ),
    "upload refused": (
        answers("transfer.probe-upload", CERTIFICATE),
        {},
        {"transfer-from-agent"},
        set(),
    ),
    "upload damaged": (other_content, {}, {"transfer-from-agent"}, set()),
    "upload vanished": (vanishes, {}, {"transfer-from-agent"}, set()),
}


@pytest.mark.parametrize("name", LIVE)
def test_what_only_the_agent_can_tell(name: str, appliance: Appliance, script: Script) -> None:
    break_it, changed, expected, skipped = LIVE[name]
    break_it(appliance, script)
    rows = run(appliance, **changed)
    failed = {code: row for code, row in rows.items() if row.status is FAILED}
    assert failed.keys() == expected
    for code, row in failed.items():
        assert row.detail, code
        assert row.what_to_do, code
    assert {code for code in skipped if rows[code].status is not SKIPPED} == set()
    assert left_behind(appliance) == []


def test_certificate_errors_are_said_in_the_words_of_the_copy(appliance: Appliance, script: Script) -> None:
    script.answers["transfer.probe-download"] = raising(CERTIFICATE)
    row = run(appliance)["transfer-to-agent"]
    assert row.detail == "\n".join(str(CERTIFICATE).splitlines()[:2])
    assert row.what_to_do


@pytest.mark.parametrize(
    ("ignore", "verify", "detail"),
    [
        (True, False, "The file arrived over HTTPS; certificate errors are ignored."),
        (False, True, "The file arrived over HTTPS, and the certificate was verified."),
    ],
)
def test_transfers_are_probed_with_the_settings_in_force(
    ignore: bool,
    verify: bool,
    detail: str,
    appliance: Appliance,
    script: Script,
) -> None:
    values = {"useHttpsFileTransfer": True, "ignoreCertificateErrors": ignore}
    appliance.settings.set(ADMIN, "hyperv", values)
    # Written, not in force.
    assert "HTTP," in run(appliance)["transfer-to-agent"].detail
    appliance.settings.restart(ADMIN, "hyperv")
    rows = run(appliance)
    assert rows["transfer-to-agent"].detail == rows["transfer-from-agent"].detail == detail
    ticket = appliance.agents_port.asked("transfer.probe-upload")[-1].ticket
    assert (ticket.port, ticket.https, ticket.verify) == (2, True, verify)


def test_a_grant_of_a_probe_is_bound_to_its_agent_and_short(appliance: Appliance, script: Script) -> None:
    seen: list[tuple[str, float]] = []

    def look(params: ProbeTransferParams) -> Done:
        (grant_id,) = appliance.grant_store.ids()
        grant = appliance.grant_store.get(grant_id)
        assert grant is not None
        seen.append((grant.principal, grant.expires_s))
        assert params.ticket.secret not in repr(params)
        assert oct(grant.path.stat().st_mode)[-3:] in ("600", "644")
        assert oct(grant.path.parent.stat().st_mode)[-3:] == "700"
        return Done()

    script.answers["transfer.probe-download"] = look
    run(appliance)
    ((principal, expires_s),) = seen
    assert principal == appliance.agents.get("hv01").id
    assert expires_s - time.time() < 3600


def test_leftovers_of_a_killed_appliance_are_cleared(appliance: Appliance, script: Script) -> None:
    old = appliance.state / "scratch" / "probes" / "0123"
    old.mkdir(parents=True)
    (old / "probe.txt").write_text("x")
    fresh = old.with_name("4567")
    fresh.mkdir()
    os.utime(old, (0, 0))
    run(appliance)
    assert not old.exists()
    assert fresh.exists()
