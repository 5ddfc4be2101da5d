"""The appliance's certificate and key as files: exchanged so that a crash leaves the old or the new (OP-4).

`server.pem` (the chain; handed out) and `server.key` are in force. `exchange.pem` is there only while they
are being replaced: an exchange that was cut off is finished by it. `link.pem` is the former one, shown on the
link while an agent does not know the present one. `request.pem` is the key of a certificate request.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sekiso.agent.files import write_private
from sekiso.agent.pki import ServerCertificate, load_server_certificate
from sekiso.disks.fileio import sync_folder

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_BEGIN_REQUEST = b"-----BEGIN CERTIFICATE REQUEST-----"


@dataclass(frozen=True, slots=True)
class KeyAndChain:
    """A private key and its certificates.

    Attributes:
        key: the key as PEM, not encrypted.
        chain: the certificate, then that of its issuer and so on, as PEM.
    """

    key: bytes = field(repr=False)
    chain: bytes


class CertificateFolder:
    """The folder `pki` of an appliance."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._exchange = folder / "exchange.pem"
        self._former = folder / "link.pem"
        self._request = folder / "request.pem"
        self._trial = folder / "trial.pem"

    def open(self, names: Sequence[str]) -> ServerCertificate:
        """Return the certificate in force, after finishing an exchange that was cut off.

        Args:
            names: names of the one that is made if there is none.
        """
        self._trial.unlink(missing_ok=True)
        if self._exchange.exists():
            self._finish()
        found = load_server_certificate(self._folder, names)
        self.tidy()
        return found

    @property
    def present(self) -> ServerCertificate:
        """The certificate in force."""
        return ServerCertificate(self._folder / "server.pem", self._folder / "server.key")

    @property
    def link(self) -> ServerCertificate:
        """The certificate that agents are shown: the former one while some do not know the present one."""
        return ServerCertificate(self._former, self._former) if self._former.exists() else self.present

    @property
    def settled(self) -> bool:
        """Whether agents are shown the certificate in force."""
        return not self._former.exists()

    def content(self) -> KeyAndChain:
        """Return key and chain in force."""
        found = self.present
        return KeyAndChain(found.key.read_bytes(), found.certificate.read_bytes())

    def exchange(self, new: KeyAndChain) -> None:
        """Put a key and its chain into force; those that agents are shown stay."""
        if self.settled:
            old = self.content()
            write_private(self._former, old.key + old.chain)
        write_private(self._exchange, new.key + new.chain)
        self._finish()
        self.tidy()

    @contextmanager
    def on_trial(self, new: KeyAndChain) -> Generator[Path]:
        """Give a file with key and chain, which is gone at the end of the block."""
        write_private(self._trial, new.key + new.chain)
        try:
            yield self._trial
        finally:
            self._remove(self._trial)

    def forget_former(self) -> None:
        """Show agents the certificate in force from now on."""
        self._remove(self._former)

    def tidy(self) -> None:
        """Forget a former certificate that is the present one, after a way back."""
        if not self.settled and self.link.sha256 == self.present.sha256:
            self.forget_former()

    def keep_request(self, key: bytes, request: bytes) -> None:
        """Keep the key of a certificate request, and the request; an earlier one is replaced."""
        write_private(self._request, key + request)

    def request(self) -> tuple[bytes, bytes] | None:
        """Return key and certificate request that wait for their certificate, as PEM; None if none do."""
        try:
            content = self._request.read_bytes()
        except FileNotFoundError:
            return None
        key, begin, rest = content.partition(_BEGIN_REQUEST)
        return key, begin + rest

    def forget_request(self) -> None:
        """Remove the key of a certificate request; harmless if there is none."""
        self._remove(self._request)

    def _finish(self) -> None:
        key, begin, chain = self._exchange.read_bytes().partition(_BEGIN)
        write_private(self.present.key, key)
        write_private(self.present.certificate, begin + chain)
        self._remove(self._exchange)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        if self._folder.is_dir():
            sync_folder(self._folder)
