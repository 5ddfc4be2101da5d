"""The running servers of an appliance, for the services that look at them and exchange their certificate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sekiso.agent.link.hub import Hub
from sekiso.agent.pki import ServerCertificate
from sekiso.appliance.transfer_servers import TransferServer
from sekiso.services.certificates import Endpoint
from sekiso.web.server import WebServer


class RunningServers:
    """`certificates.Servers` of an appliance. Parts are asked for when they are needed: some come later."""

    def __init__(
        self,
        hub: Callable[[], Hub],
        web: Callable[[], WebServer],
        transfers: Callable[[], Sequence[TransferServer]],
    ) -> None:
        """Speak for the servers of an appliance.

        Args:
            hub: returns the link.
            web: returns the server of console and REST API.
            transfers: returns the transfer servers.
        """
        self._hub, self._web, self._transfers = hub, web, transfers

    def endpoints(self) -> Sequence[Endpoint]:
        """See `certificates.Servers`."""
        secure = [Endpoint("transfer-https", server.port) for server in self._transfers() if server.secure]
        return [Endpoint("api", self._web().port), *secure, Endpoint("agent-link", self._hub().port)]

    def announce(self, pins: tuple[str, ...], *, timeout_s: float) -> None:
        """See `certificates.Servers`."""
        self._hub().announce(pins, timeout_s=timeout_s)

    def retract(self, pins: tuple[str, ...]) -> None:
        """See `certificates.Servers`."""
        self._hub().retract(pins)

    def use(self, certificate: ServerCertificate) -> None:
        """See `certificates.Servers`.

        Raises:
            OSError: TLS does not take it.
            TransferServerError: a transfer server does not start with it.
        """
        self._web().use(certificate.certificate, certificate.key)
        for server in self._transfers():
            if server.secure:
                server.restart()

    def use_on_link(self, certificate: ServerCertificate) -> None:
        """See `certificates.Servers`."""
        self._hub().use(certificate)

    def transfer_servers(self) -> Mapping[int, bool]:
        """Return by TCP port which transfer servers can be reached."""
        return {server.port: server.listens() for server in self._transfers()}
