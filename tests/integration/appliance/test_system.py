"""The appliance itself, as processes of their own: certificate, health, figures, bundle (OP-4, OP-2).

No machine is started.
"""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from script.lib.estate import Estate

from sekiso.agent.settings import load_settings

pytestmark = pytest.mark.slow
_S = 60.0


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    found = Estate(tmp_path_factory.mktemp("estate"))
    try:
        found.start()
        yield found
    finally:
        for name in [*found.processes]:
            found.stop(name)


def until(what: Callable[[], bool], name: str) -> None:
    deadline = time.monotonic() + _S
    while not what():
        assert time.monotonic() < deadline, f"{name} does not come"
        time.sleep(0.1)


def shown(port: int) -> str:
    """Fingerprint of what a server shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain) as secured,
    ):
        return hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()


def every(estate: Estate) -> dict[str, str]:
    return {name: shown(estate.ports[name]) for name in ("api", "https", "link")}


def online(estate: Estate) -> set[str]:
    return {a["name"] for a in estate.json("agent", "list")["agents"] if a["online"]}


def register(estate: Estate, name: str) -> Path:
    state, token = estate.folder / name, estate.folder / f"{name}.token"
    token.touch(mode=0o600)
    token.write_text(estate.json("agent", "token")["token"])
    estate.run(
        *("agent", "register", "--appliance", estate.url, "--token-file", token, "--name", name),
        *("--state", state, "--storage", estate.folder / f"{name}-machines"),
    )
    return state


def session_of(estate: Estate) -> dict[str, Any]:
    return json.loads((estate.folder / "profile.json").read_text())


def test_a_certificate_is_exchanged_while_everything_runs(estate: Estate) -> None:
    away = register(estate, "away")
    before = shown(estate.ports["api"])
    assert set(every(estate).values()) == {before}
    pid = estate.processes["appliance"].pid
    names = ("--name", "localhost", "--name", "127.0.0.1", "--name", "new.example")
    estate.run("certificate", "generate", *names, "--yes")
    # The profile has followed: this needs no new login.
    view = estate.json("certificate", "show")
    after = view["sha256"]
    assert after != before and "new.example" in view["names"]
    assert every(estate) == {"api": after, "https": after, "link": before}
    assert [a["name"] for a in view["waiting_agents"]] == ["away"]
    assert estate.processes["appliance"].pid == pid and estate.processes["appliance"].poll() is None
    # The agent that was connected knows both, and comes back.
    assert set(load_settings(estate.folder / "agent").pins) == {before, after}
    estate.stop("agent")
    until(lambda: "host1" not in online(estate), "its end")
    estate.start_agent()
    # One that registers now pins the new one, and is told of the one on the link.
    late = register(estate, "late")
    assert set(load_settings(late).pins) == {before, after}
    # The appliance starts with what is in force, and the link still shows the former one.
    estate.stop("appliance")
    estate.start_appliance()
    assert every(estate) == {"api": after, "https": after, "link": before}
    # The last ones come, and learn of it over the former one.
    for name, state in (("away", away), ("late", late)):
        estate._spawn(name, "agent", "run", "--state", state)  # pyright: ignore[reportPrivateUsage]
    until(lambda: online(estate) == {"host1", "away", "late"}, "all agents")
    until(lambda: shown(estate.ports["link"]) == after, "the new one on the link")
    assert estate.json("certificate", "show")["waiting_agents"] == []
    for name in ("away", "late"):
        estate.stop(name)
    estate._spawn("away", "agent", "run", "--state", away)  # pyright: ignore[reportPrivateUsage]
    until(lambda: load_settings(away).pins == (after,), "the new one alone")
    until(lambda: "away" in online(estate), "the agent by the new one")
    estate.stop("away")


def test_transfers_are_verified_by_the_new_one_at_once(estate: Estate) -> None:
    estate.run("connector", "set", "hyperv", "useHttpsFileTransfer=true", "ignoreCertificateErrors=false")
    estate.run("connector", "restart", "hyperv")
    estate.storage.mkdir(exist_ok=True)
    estate.run(
        *("connector", "create", "prod", "--agent", "host1", "--storage-path", estate.storage),
        *("--generation", "1", "--disk-format", "vhd", "--no-offload"),
        *("--cpus", "1", "--memory-mb", "512", "--network", "Isolated"),
    )

    def transfers() -> set[str]:
        done = estate.run("connector", "test", "prod", "--json", check=False)
        rows = json.loads(done.stdout)["checks"]
        found = {r["code"]: r for r in rows if "transfer" in r["code"]}
        assert found, rows
        return {f"{r['status']} {r['detail']}" for r in found.values() if r["status"] != "passed"}

    assert transfers() == set()
    estate.run("certificate", "generate", "--yes")
    # The agent runs on since before.
    assert transfers() == set()


def test_health_and_figures(estate: Estate) -> None:
    done = estate.run("health", "--json", check=False)
    view = json.loads(done.stdout)
    states = {check["code"]: check["state"] for check in view["checks"]}
    for code in ("database", "task-engine", "transfer-servers", "certificate", "agent-clocks"):
        assert states[code] == "ok", view
    profile = session_of(estate)
    with httpx.Client(verify=False, trust_env=False) as client:
        address = f"{estate.url}/api/v1/metrics"
        assert client.get(address).status_code == 401
        answer = client.get(address, headers={"Cookie": f"sekiso_session={profile['session']}"})
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "sekiso_task_engine_up 1\n" in answer.text
        assert f'sekiso_transfer_server_up{{port="{estate.ports["https"]}"}} 1\n' in answer.text
        # Names that the appliance does not have are refused, its addresses never.
        own = ("127.0.0.1", "localhost", *estate.json("certificate", "show")["names"])
        for host, status in (("evil.example", 400), *((name, 200) for name in own)):
            found = client.get(f"{estate.url}/api/v1/health", headers={"Host": host})
            assert found.status_code == status, host


def test_the_bundle_holds_no_secret(estate: Estate) -> None:
    token = estate.json("token", "create", "ci")["token"]
    agent_token = estate.json("agent", "token")["token"]
    out = estate.folder / "support.tar.gz"
    estate.run("log", "download", "--out", out)
    with tarfile.open(out) as archive:
        found = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]
    log = found["sekiso-support/log/appliance.log"].decode()
    assert "the appliance listens at" in log and "is in force" in log
    # What the transfer servers say is in it too.
    assert "sekiso.transfer.server" in log
    everything = b"\n".join(found.values())
    pki, profile = estate.appliance_state / "pki", session_of(estate)
    secrets = [estate.password(), profile["session"], profile["csrf"], token, agent_token]
    secrets += [p.read_text().splitlines()[1] for p in (pki / "server.key", pki / "authority.pem")]
    secrets += [(estate.appliance_state / "keys" / "grants.key").read_bytes().hex()]
    for secret in secrets:
        assert secret.encode() not in everything
    assert b"PRIVATE KEY" not in everything
    assert (estate.appliance_state / "log" / "appliance.log").stat().st_mode & 0o077 == 0
