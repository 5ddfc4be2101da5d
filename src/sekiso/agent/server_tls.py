"""TLS of a server whose certificate can be exchanged while it runs (OP-4)."""

from __future__ import annotations

import ssl


class ServerTls:
    """What a server listens with; connections that begin later get what `use` was last given.

    A context is never changed once connections may use it: one that had an RSA certificate and is given an
    elliptic one has both, and shows clients either.

    Attributes:
        context: what the server is started with.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self._present = context
        context.sni_callback = self._choose

    def use(self, context: ssl.SSLContext) -> None:
        """Show another certificate from the next connection on; those that there are go on."""
        self._present = context

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        # Called for every handshake, whether or not the client names a server.
        del name
        if connection.context is not self._present:
            connection.context = self._present
