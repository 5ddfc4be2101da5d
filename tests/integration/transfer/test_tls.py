"""HTTPS with the real server: what is trusted and what fails the copy with CC-9's text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sekiso.transfer.client import Patience, download_file, upload_file
from sekiso.transfer.errors import TransferCertificateError
from sekiso.transfer.manifest import hash_file
from sekiso.transfer.trust import (
    AnyCertificate,
    PinnedCertificate,
    Trust,
    TrustedAuthority,
    certificate_sha256,
)
from tests.integration.transfer.rig import Authority, Server, make_certificate

ONCE = Patience(attempts=1)


@contextmanager
def serving(folder: Path, certificate: Path, key: Path) -> Iterator[Server]:
    running = Server(folder, certificate, key).start()
    try:
        yield running
    finally:
        running.kill_group()


def copy(server: Server, folder: Path, trust: Trust) -> None:
    """A file both ways."""
    source = folder / "source"
    source.write_bytes(b"content" * 10_000)
    manifest = hash_file(source)
    for name in ("down", "up"):
        (folder / name).unlink(missing_ok=True)
    try:
        download_file(server.remote(server.offer(source), trust), folder / "down", manifest, patience=ONCE)
    finally:
        if not (folder / "down").exists():
            with pytest.raises(TransferCertificateError):
                ticket = server.accept(folder / "up", manifest)
                upload_file(server.remote(ticket, trust), source, state=folder / "s", patience=ONCE)
            assert not (folder / "up").exists()
    ticket = server.accept(folder / "up", manifest)
    upload_file(server.remote(ticket, trust), source, state=folder / "s", patience=ONCE)
    assert (folder / "down").read_bytes() == (folder / "up").read_bytes() == source.read_bytes()


def failure(server: Server, folder: Path, trust: Trust) -> TransferCertificateError:
    with pytest.raises(TransferCertificateError) as caught:
        copy(server, folder, trust)
    return caught.value


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Authority]:
    certificate, _, found = make_certificate(
        tmp_path_factory.mktemp("authority"), "authority", is_authority=True
    )
    return certificate, found


def test_a_good_certificate(tmp_path: Path, authority: tuple[Path, Authority]) -> None:
    certificate, key, _ = make_certificate(tmp_path, "good", issuer=authority[1])
    with serving(tmp_path, certificate, key) as server:
        copy(server, tmp_path, TrustedAuthority(authority[0]))
        copy(server, tmp_path, PinnedCertificate(certificate_sha256(certificate.read_bytes())))
        copy(server, tmp_path, AnyCertificate())
        error = failure(server, tmp_path, TrustedAuthority())
        assert "unknown authority" in str(error)
        assert server.process is not None


def test_a_self_signed_certificate_works_when_pinned(tmp_path: Path) -> None:
    certificate, key, _ = make_certificate(tmp_path, "self")
    with serving(tmp_path, certificate, key) as server:
        pin = certificate_sha256(certificate.read_bytes())
        copy(server, tmp_path, PinnedCertificate(pin))
        colons = ":".join(pin[at : at + 2] for at in range(0, 64, 2)).upper()
        copy(server, tmp_path, PinnedCertificate(colons))
        assert "unknown authority" in str(failure(server, tmp_path, TrustedAuthority()))
        for wrong in ("0" * 64, "", "no hexadecimal"):
            assert "pinned" in str(failure(server, tmp_path, PinnedCertificate(wrong)))


def test_the_error_says_what_the_product_says(tmp_path: Path) -> None:
    certificate, key, _ = make_certificate(tmp_path, "self")
    with serving(tmp_path, certificate, key) as server:
        error = failure(server, tmp_path, TrustedAuthority())
    # The last one raised is that of the download.
    assert f"Copying the file to {tmp_path / 'down'} failed." in str(error)
    assert "The certificate authority is invalid or incorrect." in str(error)
    assert "An error occurred while processing the remote file." in str(error)
    assert error.code == "transfer.certificate"


def test_an_expired_certificate(tmp_path: Path, authority: tuple[Path, Authority]) -> None:
    certificate, key, _ = make_certificate(
        tmp_path, "old", issuer=authority[1], valid_from_days=-20, valid_days=10
    )
    with serving(tmp_path, certificate, key) as server:
        pin = PinnedCertificate(certificate_sha256(certificate.read_bytes()))
        for trust in (TrustedAuthority(authority[0]), pin):
            assert "expired" in str(failure(server, tmp_path, trust))
        copy(server, tmp_path, AnyCertificate())


def test_a_certificate_for_another_name(tmp_path: Path, authority: tuple[Path, Authority]) -> None:
    certificate, key, _ = make_certificate(tmp_path, "other", issuer=authority[1], address="192.0.2.1")
    with serving(tmp_path, certificate, key) as server:
        assert "another name" in str(failure(server, tmp_path, TrustedAuthority(authority[0])))
        copy(server, tmp_path, PinnedCertificate(certificate_sha256(certificate.read_bytes())))
