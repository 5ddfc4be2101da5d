"""Certificates, settings and journal: private, whole after a crash, strict when read (AG-1, AG-5)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sekiso.agent import pki
from sekiso.agent.errors import JournalError
from sekiso.agent.files import load_or_create, write_private
from sekiso.agent.journal import Entry, Journal
from sekiso.agent.settings import FILE, AgentSettings, load_settings, save_settings
from sekiso.errors import DamagedInputError, NotFoundError

SETTINGS = AgentSettings("https://a:1", "a", 2, ("ab",), "id", "name", "/machines")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, name: str = "anybody") -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


def test_certificate_has_the_name_of_the_agent_not_of_the_request(tmp_path: Path) -> None:
    authority, key = pki.load_authority(tmp_path), pki.new_key()
    issued = authority.issue(request(key, "administrator"), "agent-1")
    made = x509.load_pem_x509_certificate(issued.pem)
    assert made.subject.rfc4514_string() == "CN=agent-1"
    assert made.public_key() == key.public_key()
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    days = (made.not_valid_after_utc - made.not_valid_before_utc).total_seconds() / 86400
    assert days == pytest.approx(90, abs=0.1)
    assert issued.sha256 == made.fingerprint(hashes.SHA256()).hex()
    made.verify_directly_issued_by(authority.certificate)


def tampered() -> bytes:
    parsed = x509.load_pem_x509_csr(request(pki.new_key()))
    der = bytearray(parsed.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: b"",
        lambda: b"\x00" * 1000,
        lambda: request(rsa.generate_private_key(65537, 2048)),
        lambda: request(ec.generate_private_key(ec.SECP384R1())),
        lambda: request(pki.new_key())[:200],
        tampered,
    ],
    ids=["empty", "zeros", "rsa", "p384", "cut", "tampered"],
)
def test_request_that_is_not_granted(tmp_path: Path, bad: Callable[[], bytes]) -> None:
    with pytest.raises(pki.RequestRefusedError):
        pki.load_authority(tmp_path).issue(bad(), "agent")


def test_keys_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    pki.load_authority(folder)
    server = pki.load_server_certificate(folder, ["a.example", "192.0.2.1", "::1"])
    assert mode(folder) == 0o700
    assert [mode(p) for p in sorted(folder.iterdir())] == [0o600] * 3
    names = x509.load_pem_x509_certificate(server.certificate.read_bytes()).extensions
    found = names.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == ["a.example"]
    assert [str(a) for a in found.get_values_for_type(x509.IPAddress)] == ["192.0.2.1", "::1"]


def test_server_certificate_stays(tmp_path: Path) -> None:
    first = pki.load_server_certificate(tmp_path, ["a"]).sha256
    assert pki.load_server_certificate(tmp_path, ["b"]).sha256 == first


@pytest.mark.parametrize("at", ["rename", "fsync", "between"])
def test_killed_while_identities_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Whatever the moment, the next start has keys and certificates that belong together."""

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if at == "rename":
            patch.setattr(Path, "replace", die)
        elif at == "fsync":
            patch.setattr(os, "fsync", die)
        else:  # the key of the server certificate is there, the certificate is not
            patch.setattr(pki, "self_signed", die)
        pki.load_server_certificate(tmp_path, ["a"])
    authority, server = pki.load_authority(tmp_path), pki.load_server_certificate(tmp_path, ["a"])
    assert pki.belongs_to(server.certificate.read_bytes(), server.key.read_bytes())
    assert pki.belongs_to(authority.pem, (tmp_path / "authority.pem").read_bytes())


def test_certificate_and_key_belong_together(tmp_path: Path) -> None:
    authority, key = pki.load_authority(tmp_path), pki.new_key()
    pem = authority.issue(request(key), "a").pem
    assert pki.belongs_to(pem, pki.key_pem(key))
    assert not pki.belongs_to(pem, pki.key_pem(pki.new_key()))
    assert not pki.belongs_to(b"none", pki.key_pem(key))


def test_private_file_is_whole_or_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file"
    write_private(path, b"before")
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(os, "fsync", full)
        write_private(path, b"after")
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    assert path.read_bytes() == b"before"


def test_secret_is_made_once(tmp_path: Path) -> None:
    secret = load_or_create(tmp_path / "key")
    assert (len(secret), load_or_create(tmp_path / "key")) == (32, secret)


def test_settings_are_read_as_written(tmp_path: Path) -> None:
    save_settings(tmp_path, SETTINGS)
    assert load_settings(tmp_path) == SETTINGS
    assert mode(tmp_path / FILE) == 0o600
    save_settings(tmp_path, replace(SETTINGS, name="another"))
    assert load_settings(tmp_path).name == "another"


def test_agent_that_is_not_registered(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="sekiso agent register"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"name"', '"nam"'),
        ('"link_port": 2', '"link_port": "2"'),
        ('"link_port": 2', '"link_port": 0'),
        ('"link_port": 2', '"link_port": 65536'),
        ('"hypervisor": "qemu"', '"hypervisor": "other"'),
        ('"hypervisor": "qemu"', '"hypervisor": "qemu", "more": 1'),
        ("{", "["),
        ("}", ""),
    ],
)
def test_settings_that_are_damaged(tmp_path: Path, before: str, after: str) -> None:
    save_settings(tmp_path, SETTINGS)
    text = (tmp_path / FILE).read_text()
    assert before in text
    (tmp_path / FILE).write_text(text.replace(before, after))
    with pytest.raises(DamagedInputError):
        load_settings(tmp_path)


def test_journal_survives_its_process(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.begin("a", "m")
    journal.begin("a", "m")
    journal.begin("b", "m")
    journal.end("b", {"result": {"x": "積"}, "error": None})
    # Not closed in an orderly way: read by another.
    other = Journal(tmp_path / "journal.db")
    assert other.all() == (Entry("a", "m", None), Entry("b", "m", {"result": {"x": "積"}, "error": None}))
    other.forget("b")
    other.forget("b")
    assert other.find("b") is None
    assert other.find("a") == Entry("a", "m", None)
    other.close()
    journal.close()
    assert mode(tmp_path / "journal.db") == 0o600


def test_journal_syncs_each_entry(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)
    journal.close()


@pytest.mark.parametrize("damage", [b"no database at all" * 100, None])
def test_journal_that_is_damaged_is_begun_anew(
    tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path)
    journal.begin("a", "m")
    journal.close()
    content = bytearray(path.read_bytes())
    path.write_bytes(damage or content[:100] + b"\xff" * (len(content) - 100))
    anew = Journal(path)
    assert anew.all() == ()
    anew.begin("b", "m")
    anew.close()
    assert (tmp_path / "journal.db.damaged").exists()
    assert "damaged" in caplog.text
    again = Journal(path)
    assert [e.command_id for e in again.all()] == ["b"]
    again.close()


def test_journal_whose_disk_is_full(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.begin("a", "m")
    journal._db.execute("PRAGMA max_page_count = 3")
    with pytest.raises(JournalError, match="full") as caught:
        journal.end("a", {"result": {"x": "x" * 100_000}, "error": None})
    assert caught.value.retryable
    assert journal.all() == (Entry("a", "m", None),)
    journal.close()
    with pytest.raises(JournalError):
        journal.all()


def test_journal_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError):
        Journal(tmp_path / "file" / "journal.db")
    (tmp_path / "journal.db").mkdir()
    with pytest.raises(JournalError):
        Journal(tmp_path / "journal.db")
