"""Who is let in, and to whom an agent speaks (AG-1)."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import time
from dataclasses import replace
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from sekiso.agent.files import write_private
from sekiso.agent.link.messages import MAX_BYTES, REFUSED, REPLACED, UNREADABLE
from sekiso.agent.pki import Authority, certificate_request, key_pem, load_authority, new_key
from sekiso.agent.settings import CERTIFICATE, load_settings

from ...contract.agent_port.rigs import LinkRig
from ...contract.agent_port.worker import QUICK, quick, until

DEEP = '{"type":"outcome","id":"x","result":{"a":' + "[" * 100_000


def refusal(link: LinkRig, pem: Path | None, *say: str) -> int | None:
    """Close code with which the appliance ends a connection; None if TLS came to nothing."""

    async def listen(connection: ClientConnection) -> None:
        for text in say:
            await connection.send(text)
        await asyncio.wait_for(connection.recv(), 10)

    async def attempt() -> int | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if pem is not None:
            context.load_cert_chain(pem)
        try:
            async with connect(f"wss://127.0.0.1:{link.hub.port}/", ssl=context, proxy=None) as connection:
                await listen(connection)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None
        except (OSError, InvalidHandshake, InvalidMessage):
            return None
        raise AssertionError("the appliance spoke")

    return asyncio.run(attempt())


def identity(folder: Path, authority: Authority, name: str, *, days: float = 90) -> Path:
    key = new_key()
    issued = authority.issue(certificate_request(key), name, days=days)
    write_private(folder / f"{name}.pem", key_pem(key) + issued.pem)
    return folder / f"{name}.pem"


def test_no_certificate(link: LinkRig) -> None:
    assert refusal(link, None) is None


def test_certificate_of_another_authority(link: LinkRig, tmp_path: Path) -> None:
    foreign = load_authority(tmp_path / "foreign")
    assert refusal(link, identity(tmp_path, foreign, link.agent_id)) is None


def test_expired_certificate(link: LinkRig, tmp_path: Path) -> None:
    assert refusal(link, identity(tmp_path, link.authority, link.agent_id, days=-0.01)) is None


def test_server_certificate_of_the_appliance(link: LinkRig, tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    write_private(pem, link.certificate.key.read_bytes() + link.certificate.certificate.read_bytes())
    assert refusal(link, pem) is None


def test_agent_that_is_not_registered(link: LinkRig, tmp_path: Path) -> None:
    assert refusal(link, identity(tmp_path, link.authority, "nobody")) == REFUSED


def test_other_certificate_of_a_registered_agent(link: LinkRig, tmp_path: Path) -> None:
    assert refusal(link, identity(tmp_path, link.authority, link.agent_id)) == REFUSED


def test_revoked_agent(link: LinkRig) -> None:
    link.revoke()
    assert refusal(link, link.state / CERTIFICATE) == REFUSED
    time.sleep(0.3)
    assert link.hub.online() == ()


def test_registering_anew_ends_the_identity_before(link: LinkRig, tmp_path: Path) -> None:
    shutil.copy(link.state / CERTIFICATE, tmp_path / "former.pem")
    link.stop_service()
    anew = link.register(link.state)
    assert anew.agent_id == link.agent_id
    assert refusal(link, tmp_path / "former.pem") == REFUSED
    link.service, link._thread = link.start_service(anew, link.state)
    until(link.online, "the connection")


def test_newest_connection_wins(link: LinkRig) -> None:
    link.stop_service()
    until(lambda: not link.online(), "the end of the connection")

    async def twice() -> int | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(link.state / CERTIFICATE)
        url = f"wss://127.0.0.1:{link.hub.port}/"
        async with connect(url, ssl=context, proxy=None) as first:
            await asyncio.to_thread(until, link.online)
            async with connect(url, ssl=context, proxy=None):
                try:
                    await asyncio.wait_for(first.recv(), 10)
                except ConnectionClosed as closed:
                    assert link.online()
                    return closed.rcvd.code if closed.rcvd else None
        return None

    assert asyncio.run(twice()) == REPLACED


@pytest.mark.parametrize("text", ["", "{}", '{"type":"command"}', '{"type":"hello"}', "[" * 100_000, DEEP])
def test_what_is_no_message_ends_the_connection(link: LinkRig, text: str) -> None:
    link.stop_service()
    assert refusal(link, link.state / CERTIFICATE, text) == UNREADABLE


def test_too_long_a_message_ends_the_connection(link: LinkRig) -> None:
    link.stop_service()
    assert refusal(link, link.state / CERTIFICATE, "x" * (MAX_BYTES + 1)) == 1009


def test_agent_speaks_to_no_other_appliance(link: LinkRig, caplog: pytest.LogCaptureFixture) -> None:
    link.stop_service()
    until(lambda: not link.online(), "the end of the connection")
    other = replace(link.settings, pins=("0" * 64,))
    link.service, link._thread = link.start_service(other, link.state)
    until(lambda: "not trusted" in caplog.text, "the refusal")
    time.sleep(0.3)
    # Said once, not with each try.
    assert caplog.text.count("ERROR") == 1


def test_certificate_is_renewed_before_it_ends(link: LinkRig, tmp_path: Path) -> None:
    key = new_key()
    issued = link.authority.issue(certificate_request(key), link.agent_id, days=0.01)
    with link.db.begin() as work:
        work.agents.replace(replace(work.agents.get(link.agent_id), certificate_sha256=issued.sha256))
    link.stop_service()
    old = key_pem(key) + issued.pem
    write_private(link.state / CERTIFICATE, old)
    link.service, link._thread = link.start_service(link.settings, link.state)
    until(lambda: (link.state / CERTIFICATE).read_bytes() != old, "the new certificate")
    assert (link.state / CERTIFICATE).stat().st_mode & 0o777 == 0o600
    # The one before is valid until the new one is used.
    with link.db.read() as work:
        record = work.agents.get(link.agent_id)
    assert record.certificate_sha256 == issued.sha256
    assert record.next_certificate_sha256 is not None
    link.cut()
    until(lambda: not _pending(link), "the use of the new certificate")
    until(link.online, "the connection")
    assert link.hub.call(link.agent_id, QUICK, quick()).account == "root"
    write_private(tmp_path / "old.pem", old)
    assert refusal(link, tmp_path / "old.pem") == REFUSED
    assert link.hub.call(link.agent_id, QUICK, quick()).account == "root"


def _pending(link: LinkRig) -> bool:
    with link.db.read() as work:
        return work.agents.get(link.agent_id).next_certificate_sha256 is not None


def test_new_pins_are_kept(link: LinkRig) -> None:
    link.pins = ("ab" * 32,)
    link.cut()
    until(lambda: load_settings(link.state).pins == (*link.settings.pins, "ab" * 32), "the new pin")


def test_host_is_reported_at_once_and_when_it_changes(link: LinkRig) -> None:
    def cpus() -> int:
        with link.db.read() as work:
            found = work.agents.get(link.agent_id).inventory
        return found.cpus if found is not None else 0

    until(lambda: cpus() == 1, "the report")
    link.restart_service(inventory_s=0.05)
    link.worker.cpus = 2
    until(lambda: cpus() == 2, "the report of the change")


def test_second_process_of_the_same_agent_waits(link: LinkRig, caplog: pytest.LogCaptureFixture) -> None:
    second, thread = link.start_service(link.settings, link.state)
    until(lambda: "another process runs as this agent" in caplog.text, "the warning")
    assert link.hub.call(link.agent_id, QUICK, quick()).account == "root"
    second.stop()
    thread.join(10)
    assert not thread.is_alive()
