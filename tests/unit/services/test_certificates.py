"""The exchange of the certificate: its order, who is waited for, and the way back (OP-4, AG-1)."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from sekiso.agent.certificate_folder import CertificateFolder, KeyAndChain
from sekiso.errors import NotFoundError
from sekiso.services.certificate_making import KeyKind, make_self_signed
from sekiso.services.certificate_rules import CertificateRefusedError
from sekiso.services.certificates import CertificateService, CertificateUpload, ExchangeFailedError
from sekiso.services.core import Actor, NotAllowedError

from ...support.appliance import ADMIN, MANAGER, PUBLISHER, READER, Appliance
from ...support.certificates import Made, authority, make, sign_request
from ...support.system import NAMES, MemoryServers


@dataclass
class Rig:
    appliance: Appliance
    folder: CertificateFolder
    servers: MemoryServers
    service: CertificateService

    @property
    def pki(self) -> Path:
        return self.appliance.state / "pki"

    def agent(self, name: str, *, listening: bool = True) -> str:
        record = self.appliance.add_agent(name)
        self.servers.take_pins(record.id, self.folder.present.sha256)
        if listening:
            self.servers.listening.append(record.id)
        return record.id


@pytest.fixture
def rig(appliance: Appliance) -> Rig:
    folder = CertificateFolder(appliance.state / "pki")
    servers = MemoryServers(appliance.core)
    servers.shown = servers.link = folder.open(NAMES).sha256
    return Rig(appliance, folder, servers, CertificateService(appliance.core, folder, servers))


def upload(made: Made, *chain: Made) -> CertificateUpload:
    return CertificateUpload("".join(m.pem for m in (made, *chain)), made.key_pem())


def test_what_is_shown(rig: Rig) -> None:
    view = rig.service.show()
    assert view.names == NAMES and view.self_signed and view.key == "EC P-256"
    assert view.subject == view.issuer == "CN=appliance.example"
    assert {use.service for use in view.used_by} == {"api", "transfer-https", "agent-link"}
    assert {use.sha256 for use in view.used_by} == {view.sha256}
    assert (view.waiting_agents, view.request, view.warnings) == ((), None, ())
    assert len(view.chain) == 1 and view.chain[0].valid_until_s == view.valid_until_s


def test_agents_are_told_before_it_is_shown(rig: Rig) -> None:
    rig.agent("hv01")
    before = rig.service.show()
    view = rig.service.generate(ADMIN, days=30)
    assert rig.servers.events == ["announce", "use", "use-on-link", "retract"]
    assert view.sha256 == rig.servers.shown == rig.servers.link != before.sha256
    assert view.names == before.names
    assert 29 < (view.valid_until_s - view.valid_from_s) / 86400 < 31
    assert (view.waiting_agents, view.warnings) == ((), ())
    assert rig.service.settled() and rig.service.pins() == (view.sha256,)
    entries = rig.appliance.entries()
    assert [e.action for e in entries] == ["certificate.generate", "certificate.settle"]
    assert (entries[0].actor, entries[0].details["before"]) == ("admin", before.sha256)
    assert entries[0].details["after"] == view.sha256


def test_an_agent_that_is_away_is_not_locked_out(rig: Rig) -> None:
    rig.agent("hv01")
    away = rig.agent("hv02", listening=False)
    before = rig.service.show()
    view = rig.service.generate(ADMIN)
    # Everything shows the new one but the link.
    assert (rig.servers.shown, rig.servers.link) == (view.sha256, before.sha256)
    assert rig.folder.link.sha256 == before.sha256
    assert [agent.name for agent in view.waiting_agents] == ["hv02"]
    assert "hv02" in view.warnings[0]
    assert {u.service: u.sha256 for u in view.used_by}["agent-link"] == before.sha256
    assert rig.service.pins() == (view.sha256, before.sha256) and not rig.service.settled()
    # It comes, learns of the new one, and says so.
    rig.service.settle()
    assert rig.servers.link == before.sha256
    rig.servers.take_pins(away, before.sha256, view.sha256)
    rig.service.settle()
    assert rig.servers.link == view.sha256
    assert rig.service.show().waiting_agents == ()
    assert not (rig.pki / "link.pem").exists()


def test_several_exchanges_while_an_agent_is_away(rig: Rig) -> None:
    away = rig.agent("hv01", listening=False)
    first = rig.service.show().sha256
    second = rig.service.generate(ADMIN).sha256
    third = rig.service.generate(ADMIN).sha256
    # The link shows the one that this agent knows, not the last but one.
    assert rig.folder.link.sha256 == first
    rig.servers.take_pins(away, first, second)
    rig.service.settle()
    assert rig.folder.link.sha256 == first
    rig.servers.take_pins(away, first, third)
    rig.service.settle()
    assert rig.folder.link.sha256 == third


def test_nobody_waits_for_an_agent_that_was_revoked(rig: Rig) -> None:
    rig.agent("hv01", listening=False)
    rig.service.generate(ADMIN)
    rig.appliance.agents.revoke(ADMIN, "hv01")
    rig.service.settle()
    assert rig.service.settled()


def test_the_former_one_can_be_forgotten_at_once(rig: Rig) -> None:
    rig.agent("hv01", listening=False)
    view = rig.service.generate(ADMIN, forget_former=True)
    assert rig.servers.link == view.sha256 and view.waiting_agents == ()
    assert rig.appliance.entries()[-1].details["cut_off"] == ["hv01"]


def test_upload(rig: Rig) -> None:
    root = authority()
    leaf = make(issuer=root)
    view = rig.service.upload(ADMIN, upload(leaf, root))
    assert view.sha256 == leaf.sha256 and not view.self_signed
    assert [link.subject for link in view.chain] == ["CN=appliance.example", "CN=Example CA"]
    with pytest.raises(CertificateRefusedError, match="in force already"):
        rig.service.upload(ADMIN, upload(leaf, root))
    back = rig.service.upload(ADMIN, CertificateUpload(pkcs12=make().pkcs12("pw"), passphrase="pw"))
    assert back.self_signed


def test_only_the_certificate_of_a_request_is_uploaded(rig: Rig) -> None:
    root = authority()
    with pytest.raises(CertificateRefusedError, match="no certificate request waits"):
        rig.service.upload(ADMIN, CertificateUpload(make().pem))
    request = rig.service.request(ADMIN, names=["sekiso.example"], kind=KeyKind.EC_P384)
    assert rig.service.show().request == request and request.key == "EC P-384"
    assert "PRIVATE" not in request.pem
    with pytest.raises(CertificateRefusedError, match="does not belong"):
        rig.service.upload(ADMIN, CertificateUpload(make(issuer=root).pem))
    issued = sign_request(request.pem, root)
    view = rig.service.upload(ADMIN, CertificateUpload(issued.pem + root.pem))
    assert view.sha256 == issued.sha256 and view.key == "EC P-384" and view.request is None
    assert not (rig.pki / "request.pem").exists()


def test_a_request_is_forgotten(rig: Rig) -> None:
    rig.service.request(ADMIN)
    rig.service.forget_request(ADMIN)
    assert rig.service.show().request is None
    with pytest.raises(NotFoundError):
        rig.service.forget_request(ADMIN)
    assert rig.appliance.actions() == ["certificate.request", "certificate.forget-request"]


def test_what_is_refused_changes_nothing(rig: Rig) -> None:
    before = {path.name: path.read_bytes() for path in rig.pki.iterdir()}
    for bad in (make(days=(-9, -1)), make(names=()), authority()):
        with pytest.raises(CertificateRefusedError):
            rig.service.upload(ADMIN, upload(bad))
    assert {path.name: path.read_bytes() for path in rig.pki.iterdir()} == before
    assert rig.servers.events == [] and rig.appliance.actions() == []


def test_the_way_back_when_a_server_does_not_take_it(rig: Rig) -> None:
    rig.agent("hv01")
    before = rig.service.show()
    rig.servers.failure = OSError("no such luck")
    with pytest.raises(ExchangeFailedError, match="no such luck"):
        rig.service.generate(ADMIN)
    assert rig.service.show() == before
    assert rig.servers.shown == rig.servers.link == before.sha256
    assert not (rig.pki / "link.pem").exists() and not (rig.pki / "exchange.pem").exists()
    assert rig.appliance.actions() == ["certificate.generate", "certificate.take-back"]
    assert rig.service.pins() == (before.sha256,)


@pytest.mark.parametrize("actor", [MANAGER, PUBLISHER, READER])
def test_administrators_only(rig: Rig, actor: Actor) -> None:
    for refused in (
        lambda: rig.service.generate(actor),
        lambda: rig.service.upload(actor, upload(make())),
        lambda: rig.service.request(actor),
        lambda: rig.service.forget_request(actor),
    ):
        with pytest.raises(NotAllowedError):
            refused()


def test_files_are_private(rig: Rig) -> None:
    rig.agent("hv01", listening=False)
    rig.service.generate(ADMIN)
    rig.service.request(ADMIN)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in rig.pki.iterdir()}
    assert set(modes) == {"server.pem", "server.key", "link.pem", "request.pem", "authority.pem"}
    assert set(modes.values()) == {0o600}
    assert b"PRIVATE" not in (rig.pki / "server.pem").read_bytes()


def test_registration_tokens_of_before_are_named(rig: Rig) -> None:
    rig.appliance.agents.create_token(ADMIN)
    # The clock of the test is ahead of that of the file.
    rig.appliance.clock.now_s = 0.0
    rig.appliance.agents.create_token(ADMIN)
    assert any("Registration tokens" in text for text in rig.service.show().warnings)


@pytest.mark.parametrize("step", ["journal", "key", "all"])
def test_an_exchange_that_is_cut_off_is_finished_at_the_next_start(rig: Rig, step: str) -> None:
    new = make_self_signed(["b.example"], 30)
    old = rig.folder.content()
    (rig.pki / "link.pem").write_bytes(old.key + old.chain)
    (rig.pki / "exchange.pem").write_bytes(new.key + new.chain)
    if step != "journal":
        (rig.pki / "server.key").write_bytes(new.key)
    if step == "all":
        (rig.pki / "server.pem").write_bytes(new.chain)
    (rig.pki / "trial.pem").write_bytes(new.key)
    again = CertificateFolder(rig.pki)
    assert again.open(NAMES).names == ("b.example",)
    assert again.content() == KeyAndChain(new.key, new.chain)
    assert again.link.names == NAMES
    assert not (rig.pki / "exchange.pem").exists() and not (rig.pki / "trial.pem").exists()
