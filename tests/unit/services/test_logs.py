"""The support bundle holds what helps, and no secret (OP-4)."""

from __future__ import annotations

import io
import json
import logging
import tarfile
from collections.abc import Mapping
from typing import Any

import pytest

from sekiso.appliance.log_file import log_file
from sekiso.model.library import Role
from sekiso.services.core import NotAllowedError
from sekiso.services.logs import LogService

from ...support.appliance import ADMIN, MANAGER, Appliance
from ...support.certificates import make
from ...support.system import system_services
from .test_health import new_task

PASSWORD = "correct horse battery"


@pytest.fixture
def services(appliance: Appliance) -> Mapping[str, Any]:
    return system_services(appliance.core, appliance.db, appliance.agents, appliance.settings)


def unpacked(service: LogService, days: int = 7) -> dict[str, bytes]:
    data = b"".join(service.bundle(ADMIN, days=days))
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        members = archive.getmembers()
        assert all(m.isfile() and m.name.startswith("sekiso-support/") for m in members)
        found: dict[str, bytes] = {}
        for member in members:
            content = archive.extractfile(member)
            assert content is not None
            found[member.name.removeprefix("sekiso-support/")] = content.read()
    return found


def test_what_is_in_it(appliance: Appliance, services: Mapping[str, Any]) -> None:
    appliance.add_agent("hv01")
    new_task(appliance, "old")
    appliance.clock.now_s += 3 * 86400
    new_task(appliance, "young")
    folder = appliance.state / "log"
    folder.mkdir()
    (folder / "appliance.log").write_bytes(b"now\n")
    (folder / "appliance.log.1").write_bytes(b"before\n")
    found = unpacked(services["logs"], days=2)
    assert (found["log/appliance.log"], found["log/appliance.log.1"]) == (b"now\n", b"before\n")
    documents = {name: json.loads(data) for name, data in found.items() if name.endswith(".json")}
    assert {check["code"] for check in documents["health.json"]["checks"]} >= {"database", "agents"}
    assert documents["about.json"]["version"]
    assert documents["database.json"]["revision"] >= "0003"
    assert documents["agents.json"][0]["name"] == "hv01"
    assert [task["id"] for task in documents["tasks.json"]] == ["young"]
    assert documents["settings.json"]["values"]["session_hours"] == 12
    assert "useHttpsFileTransfer" in documents["connector-settings.json"]["in_force"]
    assert documents["certificate.json"]["sha256"]
    assert appliance.actions()[-1] == "log.download"


def test_administrators_only(appliance: Appliance, services: Mapping[str, Any]) -> None:
    with pytest.raises(NotAllowedError):
        services["logs"].bundle(MANAGER)
    assert appliance.actions() == []


def test_no_secret_is_in_it(appliance: Appliance, services: Mapping[str, Any]) -> None:
    """Every secret there is was used, and logged by somebody careless."""
    appliance.users.add(ADMIN, "eve", PASSWORD, Role.ADMINISTRATOR)
    session = appliance.users.login("eve", PASSWORD)
    api_token = appliance.users.create_token(session.actor, "ci").token
    agent_token = appliance.agents.create_token(ADMIN).token
    made = make()
    services["certificates"].request(ADMIN)
    request_key = (appliance.state / "pki" / "request.pem").read_text().splitlines()[1]
    server_key = (appliance.state / "pki" / "server.key").read_text().splitlines()[1]
    log = logging.getLogger("sekiso.test")
    with log_file(appliance.state / "log"):
        log.error("a key: %s", made.key_pem())
        log.error("Authorization: Bearer %s", api_token)
        log.error("Cookie: sekiso_session=%s; a=b", session.secret)
        log.error("token %s of an agent", agent_token)
        log.error("postgresql://sekiso:%s@host/db", "hunter2")
        log.error("body: {'password': '%s'}", "hunter2")
        try:
            int(f"password=hunter2 token={api_token}")
        except ValueError:
            log.exception("it failed")
    everything = b"\n".join(unpacked(services["logs"]).values()).decode()
    assert "it failed" in everything and "(hidden)" in everything
    key_line = made.key_pem().splitlines()[1]
    for secret in (
        *(PASSWORD, session.secret, api_token, agent_token, agent_token.partition(".")[0]),
        *("hunter2", key_line, request_key, server_key, "PRIVATE KEY"),
    ):
        assert secret not in everything
    with appliance.db.read() as work:
        hashes = [user.password_hash for user in work.users.all()]
    assert not any(h in everything for h in hashes)


def test_what_cannot_be_looked_at_is_said(appliance: Appliance, services: Mapping[str, Any]) -> None:
    (appliance.state / "pki" / "server.pem").unlink()
    found = unpacked(services["logs"])
    assert "error" in json.loads(found["certificate.json"])
    checks = {c["code"]: c["state"] for c in json.loads(found["health.json"])["checks"]}
    assert checks["certificate"] == "problem"


def test_it_comes_in_pieces(appliance: Appliance, services: Mapping[str, Any]) -> None:
    assert len(list(services["logs"].bundle(ADMIN))) > 3
