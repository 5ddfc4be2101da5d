"""Every MUST FAIL of CC-1 … CC-9 at a running appliance, by REST and by command line, in both languages."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from script.lib.estate import Estate

from sekiso.hypervisors.facts import DiskAttachment, DiskController, MachineSpec, NetworkAdapter
from sekiso.hypervisors.qemu.driver import QemuDriver
from sekiso.model.machine import DiskFormat, Generation

pytestmark = [pytest.mark.slow]

GOOD: dict[str, Any] = {
    "agent": "host1",
    "network": "Isolated",
    "memory_mb": 1024,
    "cpus": 1,
}
UEFI = {"offload": True, "generation": 2, "disk_format": "vhdx"}


@dataclass(frozen=True)
class Case:
    """What is asked for, and how it must fail.

    Attributes:
        rule: the requirement.
        values: settings that differ from good ones.
        field: the field that is named.
        code: the rule's code.
    """

    rule: str
    values: dict[str, Any]
    field: str
    code: str


CASES = (
    Case("CC-1 name", {"name": "  "}, "name", "name-not-usable"),
    Case("CC-1 name taken", {"name": "TAKEN"}, "name", "name-taken"),
    Case("CC-1 agent", {"agent": "nobody"}, "agent", "agent-unknown"),
    Case("CC-1 CPUs", {"cpus": 0}, "cpus", "too-small"),
    Case("CC-1 memory", {"memory_mb": 1023}, "memory_mb", "not-a-multiple"),
    Case("CC-1 network", {"network": "No such switch"}, "network", "network-unknown"),
    Case("CC-1 type", {"cpus": "four"}, "cpus", "wrong-type"),
    Case("CC-1 unknown setting", {"cpu": 4}, "cpu", "unknown-setting"),
    Case("CC-1 cache size", {"cache_gb": -1}, "cache_gb", "too-small"),
    Case("CC-2 off, 1, VHDX", {"disk_format": "vhdx"}, "disk_format", "vhdx-needs-offload"),
    Case("CC-2 off, 2, VHD", {"generation": 2}, "generation", "generation2-needs-offload"),
    Case(
        "CC-2 off, 2, VHDX",
        {"generation": 2, "disk_format": "vhdx"},
        "generation",
        "generation2-needs-offload",
    ),
    Case("CC-2 on, 2, VHD", {"offload": True, "generation": 2}, "disk_format", "generation2-needs-vhdx"),
    Case("CC-3 off, UEFI template", {"template_vm": "uefi"}, "template_vm", "uefi-template-needs-offload"),
    Case(
        "CC-3 off, Secure Boot template",
        {"template_vm": "secure"},
        "template_vm",
        "uefi-template-needs-offload",
    ),
    Case(
        "CC-3 another generation",
        {**UEFI, "template_vm": "bios"},
        "generation",
        "generation-differs-from-template",
    ),
    Case("CC-4 no adapter", {"template_vm": "no adapter"}, "template_vm", "template-without-adapter"),
    Case("CC-4 a disk", {"template_vm": "with disk"}, "template_vm", "template-with-disk"),
    Case("CC-4 no such VM", {"template_vm": "nothing"}, "template_vm", "template-unknown"),
    Case("CC-5 relative", {"storage_path": "machines"}, "storage_path", ""),
    Case("CC-5 root", {"storage_path": "/"}, "storage_path", ""),
    Case("CC-5 Windows path on Linux", {"storage_path": "C:\\Virtual Machines"}, "storage_path", ""),
    Case("CC-5 UNC path on Linux", {"storage_unc_path": "\\\\server\\share"}, "storage_unc_path", ""),
)


class Rest:
    def __init__(self, estate: Estate, token: str) -> None:
        context = ssl.create_default_context(cafile=str(estate.appliance_state / "pki" / "server.pem"))
        self._http = httpx.Client(
            base_url=f"{estate.url}/api/v1",
            verify=context,
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        )

    def ask(self, method: str, path: str, body: Any = None, *, language: str = "en") -> httpx.Response:
        return self._http.request(method, path, json=body, headers={"Accept-Language": language}, timeout=60)

    def close(self) -> None:
        self._http.close()


@dataclass(frozen=True)
class World:
    estate: Estate
    rest: Rest

    def values(self, case: Case) -> dict[str, Any]:
        return {"name": "new", "storage_path": str(self.estate.storage), **GOOD, **case.values}

    def names(self) -> list[str]:
        return [c["name"] for c in self.rest.ask("GET", "/connector-configurations").json()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("must-fail")
    estate = Estate(folder / "estate")
    try:
        estate.start()
        make_templates(estate, folder)
        token = estate.json("token", "create", "tests")["token"]
        rest = Rest(estate, token)
        taken = {"name": "taken", "storage_path": str(estate.storage), **GOOD}
        assert rest.ask("POST", "/connector-configurations", {"values": taken}).status_code == 201
        yield World(estate, rest)
        rest.close()
    finally:
        estate.close()


def make_templates(estate: Estate, folder: Path) -> None:
    for name, *options in (
        ("bios", "--generation", 1),
        ("uefi", "--generation", 2),
        ("secure", "--generation", 2, "--secure-boot"),
    ):
        words = ("--storage", estate.machines, "--cpus", 1, "--memory", "512M")
        estate.run("host", "add-template", name, *words, *options)
    driver = QemuDriver(estate.machines)
    driver.create_machine(MachineSpec("no adapter", Generation.ONE, 1, 512 << 20))
    disk = folder / "a.raw"
    disk.write_bytes(bytes(1 << 20))
    attached = DiskAttachment(disk, DiskFormat.RAW, DiskController.IDE)
    driver.create_machine(
        MachineSpec("with disk", Generation.ONE, 1, 512 << 20, (NetworkAdapter("Isolated"),), (attached,))
    )


@pytest.mark.parametrize("case", CASES, ids=[c.rule for c in CASES])
def test_refused_with_code_field_and_texts_and_nothing_saved(world: World, case: Case) -> None:
    body = {"connector": "hyperv", "values": world.values(case)}
    shown = {}
    for language in ("en", "ja"):
        answer = world.rest.ask("POST", "/connector-configurations", body, language=language)
        problem = answer.json()
        assert answer.status_code == 422, problem
        assert problem["code"] == "configuration.invalid"
        rule = next(e for e in problem["errors"] if e["field"] == case.field)
        assert not case.code or rule["code"] == case.code, problem["errors"]
        assert rule["reason"]
        shown[language] = rule["reason"]
    assert shown["ja"] != shown["en"], "the text is translated"
    print(f"{case.rule} | 422 | {rule['code']} | {case.field} | {shown['en']} | {shown['ja']}")
    assert world.names() == ["taken"]
    actions = [e["action"] for e in world.rest.ask("GET", "/audit?action=configuration").json()]
    assert actions == ["configuration.create"]


@pytest.mark.parametrize("case", CASES, ids=[c.rule for c in CASES])
def test_the_test_of_a_configuration_fails_in_the_same_cases(world: World, case: Case) -> None:
    body = {"connector": "hyperv", "values": world.values(case)}
    answer = world.rest.ask("POST", "/connector-configurations/test", body)
    if answer.status_code == 422:
        # What has the wrong form cannot be tested at all.
        assert answer.json()["errors"][0]["field"] == case.field
        return
    failed = [row for row in answer.json() if row["status"] == "failed"]
    assert any(case.field in row["fields"] for row in failed), answer.json()


@pytest.mark.parametrize(
    ("language", "expected"),
    [("en", "VHDX needs offload compositing"), ("ja", "オフロードコンポジティング")],
)
def test_the_command_line_says_it_too(world: World, language: str, expected: str) -> None:
    words = ("connector", "create", "new", "--agent", "host1", "--storage-path", world.estate.storage)
    done = world.estate.run("--lang", language, *words, "--disk-format", "vhdx", check=False)
    assert done.returncode == 2
    assert expected in done.stderr
    assert world.names() == ["taken"]


def test_config_json_is_taken_as_it_is_or_refused_with_file_and_key(world: World) -> None:
    path = world.estate.appliance_state / "connectors" / "hyperv" / "config.json"
    assert json.loads(path.read_text()) == {"useHttpsFileTransfer": False, "ignoreCertificateErrors": True}
    good = path.read_text()
    for content, key in (
        ('{"useHttpsFileTransfer": "true"}', "useHttpsFileTransfer"),
        ('{"useHttpsFileTransfers": true}', "useHttpsFileTransfers"),
    ):
        path.write_text(content)
        answer = world.rest.ask("POST", "/connectors/hyperv/restart")
        problem = answer.json()
        said = f"{problem['title']} {problem['detail']}"
        print(f"CC-8 | {answer.status_code} | {problem['code']} | {key} | {said}")
        assert (answer.status_code, problem["code"], problem["params"]["key"]) == (
            400,
            "connector.config-key",
            key,
        )
        assert "config.json" in problem["title"]
        settings = world.rest.ask("GET", "/connectors/hyperv/settings").json()
        assert settings["in_force"] == {"useHttpsFileTransfer": False, "ignoreCertificateErrors": True}
        assert settings["problem"] and settings["pending_restart"]
    path.write_text(good)
    answer = world.rest.ask("PUT", "/connectors/hyperv/settings", {"values": {"useHttps": True}})
    assert answer.status_code == 400 and answer.json()["params"]["key"] == "useHttps"
    assert path.read_text() == good
    assert world.rest.ask("POST", "/connectors/hyperv/restart").status_code == 200
