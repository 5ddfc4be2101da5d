"""How the appliance is: each thing that can be wrong, once (OP-4)."""

from __future__ import annotations

import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from sekiso.agent.certificate_folder import CertificateFolder
from sekiso.model.task import TaskKind, TaskRecord, TaskState
from sekiso.services.certificates import CertificateService
from sekiso.services.health import HealthCheck, HealthService, HealthState, HealthView
from sekiso.store.database.errors import DatabaseUnavailableError

from ...support.appliance import ADMIN, Appliance
from ...support.certificates import make
from ...support.system import NAMES, MemoryServers, memory_vitals


class Rig:
    def __init__(self, appliance: Appliance) -> None:
        self.appliance = appliance
        self.folder = CertificateFolder(appliance.state / "pki")
        self.servers = MemoryServers(appliance.core)
        self.folder.open(NAMES)
        self.certificates = CertificateService(appliance.core, self.folder, self.servers)

    def look(self, **vitals: Any) -> HealthView:
        service = HealthService(
            self.appliance.core,
            memory_vitals(self.appliance.db, **vitals),
            self.certificates,
            self.appliance.settings,
        )
        return service.look()

    def check(self, code: str, **vitals: Any) -> HealthCheck:
        found = next(c for c in self.look(**vitals).checks if c.code == code)
        assert found.text.endswith(".")
        assert bool(found.what_to_do) == (found.state is not HealthState.OK)
        return found


@pytest.fixture
def rig(appliance: Appliance) -> Rig:
    return Rig(appliance)


def new_task(appliance: Appliance, task_id: str) -> TaskRecord:
    task = TaskRecord(
        task_id, TaskKind.IMPORT_OS, TaskState.QUEUED, (), {}, "admin", created_s=appliance.clock.now_s
    )
    with appliance.db.begin() as work:
        work.tasks.add(task)
    return task


def state(rig: Rig, code: str, **vitals: Any) -> tuple[str, str]:
    found = rig.check(code, **vitals)
    return found.state.value, found.text


def test_all_is_well(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100 << 30))  # pyright: ignore[reportUnknownLambdaType]
    rig.appliance.add_agent("hv01")
    view = rig.look()
    assert view.state is HealthState.OK
    assert len({check.code for check in view.checks}) == len(view.checks) == 12
    assert {check.state for check in view.checks} == {HealthState.OK}


@pytest.mark.parametrize(("free_gib", "expected"), [(0.5, "problem"), (5, "warning"), (11, "ok")])
def test_free_space(rig: Rig, monkeypatch: pytest.MonkeyPatch, free_gib: float, expected: str) -> None:
    usage = SimpleNamespace(free=int(free_gib * (1 << 30)))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)  # pyright: ignore[reportUnknownLambdaType]
    for code in ("state-space", "layer-space"):
        found, text = state(rig, code)
        assert found == expected and f"{free_gib:.1f} GiB" in text


def test_a_database_that_does_not_answer_is_one_problem_of_many(rig: Rig) -> None:
    def fail() -> Any:
        raise DatabaseUnavailableError(database="sqlite", reason="It is gone.")

    found, text = state(rig, "database", database=fail)
    assert found == "problem" and "It is gone." in text
    assert rig.look(database=fail).state is HealthState.PROBLEM
    assert rig.check("task-engine").state is HealthState.OK


def test_engine_and_transfer_servers(rig: Rig) -> None:
    assert state(rig, "task-engine", engine_works=lambda: False)[0] == "problem"
    found, text = state(rig, "transfer-servers", transfer_servers=lambda: {8021: True, 8022: False})
    assert found == "problem" and "8022" in text and "8021" not in text


@pytest.mark.parametrize(
    ("days", "expected"), [(40, "ok"), (29, "warning"), (0.5, "warning"), (-1, "problem")]
)
def test_the_certificate_ends(rig: Rig, days: float, expected: str) -> None:
    made = make(days=(-5, 60))
    rig.folder.present.key.write_text(made.key_pem())
    rig.folder.present.certificate.write_text(made.pem)
    rig.appliance.clock.now_s = made.certificate.not_valid_after_utc.timestamp() - days * 86400
    assert state(rig, "certificate")[0] == expected


def test_agents_that_do_not_know_the_certificate(rig: Rig) -> None:
    rig.appliance.add_agent("hv01")
    rig.certificates.generate(ADMIN)
    found, text = state(rig, "certificate-agents")
    assert found == "warning" and "hv01" in text


def test_agents(rig: Rig) -> None:
    assert state(rig, "agents")[0] == "warning"
    rig.appliance.add_agent("hv01")
    assert state(rig, "agents")[0] == "ok"
    for number in range(12):
        rig.appliance.add_agent(f"away{number:02}", online=False)
    found, text = state(rig, "agents")
    assert found == "warning" and "hv01" not in text and "away09, …" in text
    for number in range(12):
        rig.appliance.agents.revoke(ADMIN, f"away{number:02}")
    assert state(rig, "agents")[0] == "ok"


@pytest.mark.parametrize(("days", "expected"), [(None, "ok"), (20, "ok"), (13, "warning"), (-1, "problem")])
def test_certificates_of_agents(rig: Rig, days: float | None, expected: str) -> None:
    record = rig.appliance.add_agent("hv01")
    end_s = None if days is None else rig.appliance.clock.now_s + days * 86400
    with rig.appliance.db.begin() as work:
        work.agents.replace(replace(record, certificate_expires_s=end_s))
    assert state(rig, "agent-certificates")[0] == expected
    assert rig.appliance.agents.get("hv01").certificate_expires_s == end_s


def test_clocks(rig: Rig) -> None:
    record = rig.appliance.add_agent("hv01")
    assert state(rig, "agent-clocks", skews_s=lambda: {record.id: -100.0, "gone": 1e6})[0] == "ok"
    found, text = state(rig, "agent-clocks", skews_s=lambda: {record.id: -200.0})
    assert found == "warning" and "hv01" in text


def test_tasks_that_have_failed(rig: Rig) -> None:
    assert state(rig, "tasks") == ("ok", "No task has failed.")
    for task_id in ("t1", "t2"):
        task = new_task(rig.appliance, task_id)
        with rig.appliance.db.begin() as work:
            work.tasks.move(task.id, TaskState.FAILED, ended_s=rig.appliance.clock.now_s)
    assert state(rig, "tasks") == ("warning", "2 tasks have failed.")
    rig.appliance.clock.now_s += 86401
    assert state(rig, "tasks")[0] == "ok"


def test_config_json(rig: Rig) -> None:
    path = rig.appliance.state / "connectors" / "hyperv" / "config.json"
    rig.appliance.settings.set(ADMIN, "hyperv", {"useHttpsFileTransfer": True})
    assert "something else" in state(rig, "connector-settings")[1]
    path.write_text("{")
    found, text = state(rig, "connector-settings")
    assert found == "warning" and "config.json" in text
