"""HTTP connections of the client: TLS with our rules of trust, failures sorted into kinds."""

from __future__ import annotations

import contextlib
import http.client
import logging
import ssl
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from sekiso.errors import RuleError
from sekiso.model.progress import Progress, check_canceled
from sekiso.transfer.errors import TransferCertificateError, TransferRefusedError
from sekiso.transfer.grants import HEADER
from sekiso.transfer.packets import Headers
from sekiso.transfer.trust import (
    Trust,
    TrustedAuthority,
    UntrustedCertificateError,
    check_pin,
    reason_of,
    tls_context,
)

log = logging.getLogger(__name__)
#: How much is sent or received between two looks at cancellation.
PIECE_BYTES = 1 << 20
#: What is trusted unless told otherwise.
SYSTEM_AUTHORITIES = TrustedAuthority()


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """The other end of a transfer. It shows no secret in logs.

    Attributes:
        url: http or https.
        secret: the grant's secret, sent as a header; empty if the URL holds it.
        trust: which certificates are accepted.
        timeout_s: how long the other side may be silent. BITS waits 5 minutes ([MC-BUP] 3.1.2.2).
    """

    url: str = field(repr=False)
    secret: str = field(default="", repr=False)
    trust: Trust = SYSTEM_AUTHORITIES
    timeout_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How a client deals with broken connections.

    Attributes:
        attempts: attempts in a row without a single new byte before it gives up.
        first_delay_s: pause after the first failure; doubled after each further one.
        longest_delay_s: longest pause.
    """

    attempts: int = 8
    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0

    def delay_s(self, failures: int) -> float:
        """Return the pause after so many failures in a row."""
        return min(self.longest_delay_s, self.first_delay_s * 2.0 ** min(failures - 1, 30))


class BrokenError(Exception):
    """The connection broke or the other side is busy: worth another attempt. The text says what happened."""


class Wire:
    """One connection at a time to the other end, opened when needed."""

    def __init__(self, remote: RemoteFile, local: Path) -> None:
        """Prepare; nothing is sent yet.

        Args:
            remote: the other end.
            local: the file on this side; named in errors.

        Raises:
            RuleError: the address is none of http or https.
        """
        parts = urlsplit(remote.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RuleError(
                field="url",
                reason="The address of a transfer begins with http:// or https://.",
                remedy="Check the appliance's address.",
            )
        self._remote, self._local = remote, local
        self._host, self._port = parts.hostname, parts.port
        self._is_tls = parts.scheme == "https"
        self._target = parts.path + (f"?{parts.query}" if parts.query else "")
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(
        self,
        method: str,
        headers: Headers,
        body: Callable[[Callable[[bytes | memoryview], None]], None] | None = None,
    ) -> http.client.HTTPResponse:
        """Send one request and return the answer, its body unread.

        Args:
            method: the method.
            headers: all header fields except Host and the grant's.
            body: called with a function that sends bytes; has to send what Content-Length says.

        Raises:
            BrokenError: the connection broke.
            TransferCertificateError: the other side's certificate is not accepted.
        """
        with self._sorted_failures():
            connection = self._connected()
            connection.putrequest(method, self._target, skip_accept_encoding=True)
            secret = [(HEADER, self._remote.secret)] if self._remote.secret else []
            for name, value in [*headers, *secret]:
                connection.putheader(name, value.encode("utf-8"))
            connection.endheaders()
            if body is not None:
                # The other side may answer before it has read everything; its answer counts more.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    body(connection.send)
            return connection.getresponse()

    def pieces(self, answer: http.client.HTTPResponse, progress: Progress) -> Iterator[memoryview]:
        """Give an answer's body piece by piece; a piece is good until the next one is asked for.

        Raises:
            BrokenError: the body ends early.
            CanceledError: the work was canceled.
        """
        buffer = memoryview(bytearray(PIECE_BYTES))
        left = answer.length or 0
        while left:
            check_canceled(progress)
            with self._sorted_failures():
                count = answer.readinto(buffer[: min(left, PIECE_BYTES)])
            if not count:
                self.close()
                raise BrokenError("The connection ended in the middle of the file.")
            left -= count
            yield buffer[:count]

    def finish(self, answer: http.client.HTTPResponse) -> None:
        """Read what is left of a small answer, so that the connection can be used again."""
        with self._sorted_failures():
            if (answer.length or 0) > PIECE_BYTES or answer.length is None:
                self.close()
            else:
                answer.read()

    def refused(self, status: int, reason: str) -> TransferRefusedError:
        """Return the error for an answer that no other attempt will change."""
        return TransferRefusedError(path=self._local, status=status, reason=reason)

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _open(self) -> http.client.HTTPConnection:
        timeout_s = self._remote.timeout_s
        if not self._is_tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        context = tls_context(self._remote.trust)
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=context)
        try:
            connection.connect()
            # Before anything is sent: the grant is for the right server only.
            check_pin(self._remote.trust, connection.sock.getpeercert(binary_form=True))
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _sorted_failures(self) -> Generator[None]:
        try:
            yield
        except ssl.SSLCertVerificationError as exc:
            self.close()
            raise TransferCertificateError(path=self._local, reason=reason_of(exc)) from exc
        except UntrustedCertificateError as exc:
            self.close()
            raise TransferCertificateError(path=self._local, reason=str(exc)) from exc
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            log.debug("a connection broke: %s", type(exc).__name__)
            raise BrokenError(_what(exc)) from exc


def _what(exc: Exception) -> str:
    if isinstance(exc, TimeoutError):
        return "The other side did not answer in time."
    if isinstance(exc, ConnectionRefusedError):
        return "Nothing listens at the other side's address."
    return "The connection broke."
