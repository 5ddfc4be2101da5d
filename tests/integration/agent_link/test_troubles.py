"""What goes wrong beside the commands keeps no command from being carried out (AG-1, AG-3, AG-5)."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sekiso.agent import service
from sekiso.agent.pki import certificate_request, key_pem, new_key
from sekiso.agent.settings import CERTIFICATE
from sekiso.errors import NoSpaceError
from sekiso.model.connector import AgentInventory
from sekiso.store.database.errors import DatabaseBusyError

from ...contract.agent_port.rigs import LinkRig
from ...contract.agent_port.worker import LONG, QUICK, long, quick, until


def reported(link: LinkRig) -> AgentInventory | None:
    with link.db.read() as work:
        return work.agents.get(link.agent_id).inventory


def test_port_that_is_taken(link: LinkRig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        hub = link.new_hub(taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            hub.start()
        hub.stop()
    assert link.hub.call(link.agent_id, QUICK, quick()).account == "root"


def test_host_that_cannot_be_looked_at_is_reported_later(link: LinkRig) -> None:
    fails = [True]
    run = link.worker.run

    def failing(method: str, params: Any, **more: Any) -> Any:
        if method == "host.inventory" and fails[0]:
            raise ValueError("no answer")
        return run(method, params, **more)

    link.stop_service()
    link.worker.run = failing  # type: ignore[method-assign]
    link.service, link._thread = link.start_service(link.settings, link.state, inventory_s=0.05)
    until(link.online, "the connection")
    link.worker.cpus = 7
    assert link.hub.call(link.agent_id, QUICK, quick()).account == "root"
    fails[0] = False
    until(lambda: (found := reported(link)) is not None and found.cpus == 7, "the report")


def test_host_with_a_name_that_is_no_text(link: LinkRig) -> None:
    run = link.worker.run

    def odd(method: str, params: Any, **more: Any) -> Any:
        found = run(method, params, **more)
        return replace(found, host_name="vm \udcff") if method == "host.inventory" else found

    link.worker.run = odd  # type: ignore[method-assign]
    link.restart_service(inventory_s=0.05)
    until(lambda: (found := reported(link)) is not None and found.host_name == r"vm \udcff", "the report")


def test_certificate_that_expired_while_the_agent_was_off(
    link: LinkRig, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever looks at the log learns what to do."""
    link.stop_service()
    key = new_key()
    issued = link.authority.issue(certificate_request(key), link.agent_id, days=-0.01)
    (link.state / CERTIFICATE).write_bytes(key_pem(key) + issued.pem)
    link.service, link._thread = link.start_service(link.settings, link.state)
    until(lambda: "register it again" in caplog.text, "the advice")
    assert "has expired" in caplog.text


@pytest.mark.parametrize("content", [None, b"", b"junk"])
def test_certificate_that_cannot_be_read(
    link: LinkRig, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    link.stop_service()
    good = (link.state / CERTIFICATE).read_bytes()
    (link.state / CERTIFICATE).unlink()
    if content is not None:
        (link.state / CERTIFICATE).write_bytes(content)
    link.service, link._thread = link.start_service(link.settings, link.state)
    until(lambda: "register it again" in caplog.text, "the advice")
    assert "cannot be read" in caplog.text
    # Once it is back, all goes on.
    (link.state / CERTIFICATE).write_bytes(good)
    until(link.online, "the connection")


def test_renewal_that_is_refused(link: LinkRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent goes on with the certificate that it has."""
    asked: list[bytes] = []

    def weak(_key: object) -> bytes:
        asked.append(b"")
        return certificate_request(rsa.generate_private_key(65537, 1024))  # type: ignore[arg-type]

    monkeypatch.setattr(service, "_needs_renewal", lambda _: True)
    monkeypatch.setattr(service, "certificate_request", weak)
    before = (link.state / CERTIFICATE).read_bytes()
    link.cut()
    until(lambda: asked, "the request")
    assert link.hub.call(link.agent_id, QUICK, quick()).account == "root"
    assert (link.state / CERTIFICATE).read_bytes() == before
    with link.db.read() as work:
        assert work.agents.get(link.agent_id).next_certificate_sha256 is None


def test_certificate_that_was_not_asked_for(link: LinkRig, caplog: pytest.LogCaptureFixture) -> None:
    before = (link.state / CERTIFICATE).read_bytes()
    link.service._renewed(link.authority.issue(certificate_request(new_key()), link.agent_id).pem.decode())
    assert "not asked for" in caplog.text
    assert (link.state / CERTIFICATE).read_bytes() == before


def test_database_that_is_busy_when_an_outcome_comes(link: LinkRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcome is said again until it is recorded."""
    end, fails = link.hub._ledger.end, [True, True]

    def busy(*args: Any) -> None:
        if fails:
            fails.pop()
            raise DatabaseBusyError(reason="held")
        end(*args)

    monkeypatch.setattr(link.hub._ledger, "end", busy)
    result = link.hub.call(link.agent_id, LONG, long(), command_id="t:1:s", timeout_s=20)
    assert result.manifest == {"run": 1}
    assert fails == []


def test_error_about_a_file_with_a_name_that_is_no_text(link: LinkRig) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise NoSpaceError(path="/guest/\udcff\x00", needed_bytes=2, free_bytes=1)

    link.worker._do = fail  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(NoSpaceError) as caught:
            link.hub.call(link.agent_id, LONG, long(), command_id="t:1:s", timeout_s=20)
        assert caught.value.params["path"] == "/guest/\\udcff\x00"
    assert link.worker.runs == {"t:1:s": 1}
