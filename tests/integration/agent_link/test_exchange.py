"""The certificate on the link is exchanged, and agents find their way (OP-4, AG-1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from sekiso.agent.certificate_folder import CertificateFolder
from sekiso.agent.link.ledger import pins_of
from sekiso.agent.pki import ServerCertificate
from sekiso.agent.settings import load_settings
from sekiso.services.certificates import CertificateService, Endpoint
from sekiso.services.core import APPLIANCE, Core
from sekiso.tasks.memory import MemoryEngine

from ...contract.agent_port.rigs import LinkRig
from ...contract.agent_port.worker import quick, until


class LinkServers:
    """Only the link is real."""

    def __init__(self, link: LinkRig) -> None:
        self._link = link

    def endpoints(self) -> Sequence[Endpoint]:
        return [Endpoint("agent-link", self._link.hub.port)]

    def announce(self, pins: tuple[str, ...], *, timeout_s: float) -> None:
        self._link.hub.announce(pins, timeout_s=timeout_s)

    def retract(self, pins: tuple[str, ...]) -> None:
        self._link.hub.retract(pins)

    def use(self, certificate: ServerCertificate) -> None:
        pass

    def use_on_link(self, certificate: ServerCertificate) -> None:
        self._link.hub.use(certificate)


@pytest.fixture
def service(link: LinkRig) -> CertificateService:
    folder = CertificateFolder(link.folder / "pki")
    core = Core(link.db, link.hub, MemoryEngine(link.db), link.folder)
    made = CertificateService(core, folder, LinkServers(link), announce_s=10.0)
    hub = link.hub
    # As the appliance puts them together.
    hub._pins, hub._settled = made.pins, made.settled  # pyright: ignore[reportPrivateUsage]
    hub._pins_kept = lambda _: made.settle()  # pyright: ignore[reportPrivateUsage]
    return made


def pins(link: LinkRig) -> tuple[str, ...]:
    return load_settings(link.state).pins


def known(link: LinkRig) -> frozenset[str] | None:
    with link.db.read() as work:
        return pins_of(work).get(link.agent_id)


def test_a_connected_agent_knows_it_before(link: LinkRig, service: CertificateService) -> None:
    before = link.certificate.sha256
    view = service.generate(APPLIANCE)
    assert view.sha256 != before and view.waiting_agents == ()
    assert link.online(), "the connection goes on"
    until(lambda: pins(link) == (before, view.sha256), "what is kept of the connection that there is")
    link.cut()
    until(lambda: pins(link) == (view.sha256,), "the new one alone")
    until(link.online, "the connection")
    assert link.agents.call(link.agent_id, "storage.probe", quick()) is not None


def test_an_agent_that_was_away_comes_back(link: LinkRig, service: CertificateService) -> None:
    before = link.certificate.sha256
    link.go_away()
    view = service.generate(APPLIANCE)
    assert [agent.id for agent in view.waiting_agents] == [link.agent_id]
    assert not service.settled()
    link.come_back()
    until(service.settled, "the end of the exchange")
    assert service.show().waiting_agents == ()
    assert view.sha256 in pins(link)
    link.cut()
    until(lambda: pins(link) == (view.sha256,), "the new one alone")
    until(link.online, "the connection by the new one")
    until(lambda: known(link) == {view.sha256}, "what the agent says of itself")
    assert before not in pins(link)


def test_an_agent_that_registers_meanwhile(link: LinkRig, service: CertificateService) -> None:
    link.go_away()
    view = service.generate(APPLIANCE)
    state = link.folder / "second"
    settings = link.register(state, "second", pin=view.sha256)
    # What the answer to its registration adds.
    settings = replace(settings, pins=service.pins(), link_port=link.hub.port)
    second, thread = link.start_service(settings, state)
    try:
        until(lambda: settings.agent_id in link.hub.online(), "the second agent")
        # The first one is still away, and waited for; the second one says that it knows the certificate.
        until(lambda: [a.id for a in service.show().waiting_agents] == [link.agent_id], "its word")
    finally:
        second.stop()
        thread.join(15)


def test_an_agent_whose_certificate_is_gone_refuses(link: LinkRig, service: CertificateService) -> None:
    link.go_away()
    service.generate(APPLIANCE, forget_former=True)
    link.proxy.open = True
    until(lambda: "not trusted" in link.service._trouble, "its refusal")  # pyright: ignore[reportPrivateUsage]
    # The appliance hears a moment later that the agent has gone.
    until(lambda: not link.online(), "the end of the connection")


def test_clocks_are_compared(link: LinkRig) -> None:
    until(lambda: link.agent_id in link.hub.skews_s(), "the clock of the agent")
    assert abs(link.hub.skews_s()[link.agent_id]) < 60
    link.stop_service()
    until(lambda: not link.online(), "the end of the connection")
    assert link.hub.skews_s() == {}


def test_when_the_certificate_of_an_agent_ends_is_known(link: LinkRig) -> None:
    with link.db.read() as work:
        found = work.agents.get(link.agent_id).certificate_expires_s
    assert found is not None and found > 1_700_000_000


@pytest.mark.parametrize("said", [("x",), ("AB" * 32,), ("ab" * 31,), ()])
def test_what_is_no_fingerprint_is_not_remembered(link: LinkRig, said: tuple[str, ...]) -> None:
    link.hub._ledger.take_pins(link.agent_id, said)  # pyright: ignore[reportPrivateUsage]
    assert known(link) == frozenset()
