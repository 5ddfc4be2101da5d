"""The appliance's side of the link: agents connect here, commands go out, outcomes come back (AG-1, AG-5).

One event loop in a thread of its own serves the connections. Threads hand in commands at the `desk.Desk`;
what must outlive the process is in the database, see `ledger`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from sekiso.agent.link.desk import Desk
from sekiso.agent.link.errors import AgentUnknownError
from sekiso.agent.link.ledger import DatabaseLedger
from sekiso.agent.link.messages import (
    MAX_BYTES,
    PING_S,
    PONG_S,
    REFUSED,
    REPLACED,
    UNREADABLE,
    Ack,
    Cancel,
    FromAgent,
    FromAppliance,
    Hello,
    InventoryNews,
    Outcome,
    Pins,
    PinsKept,
    Progress,
    Renew,
    Renewed,
    StreamClosed,
    StreamCredit,
    StreamOpened,
    StreamRefused,
    decode_from_agent,
    encode,
)
from sekiso.agent.link.outbox import Outbox
from sekiso.agent.link.soon import soon
from sekiso.agent.link.stream_desk import StreamDesk, StreamLine
from sekiso.agent.link.waiting import Waiting
from sekiso.agent.pki import Authority, RequestRefusedError, ServerCertificate
from sekiso.agent.port import ByteStream
from sekiso.agent.server_tls import ServerTls
from sekiso.errors import SekisoError
from sekiso.model.library import AgentRecord
from sekiso.model.progress import NO_PROGRESS
from sekiso.model.progress import Progress as ProgressPort
from sekiso.store.database.api import DatabasePort

log = logging.getLogger(__name__)
#: An agent that has just lost its connection, or an appliance that has just started, is given so long.
_GRACE_S = 8.0
_SEEN_S = 60.0
#: How long connections are given to end with the appliance.
_CLOSE_S = 2.0


class Hub:
    """`AgentPort` over the network."""

    def __init__(
        self,
        db: DatabasePort,
        authority: Authority,
        certificate: ServerCertificate,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        pins: Callable[[], tuple[str, ...]] = tuple,
        settled: Callable[[], bool] = lambda: False,
        pins_kept: Callable[[str], None] = lambda _: None,
        grace_s: float = _GRACE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing listens yet.

        Args:
            db: the database.
            authority: whose certificates agents have.
            certificate: the appliance's own; see `use`.
            host: address to listen at.
            port: TCP port; 0 = one that is free.
            pins: tells the certificates of the appliance that agents shall accept.
            settled: tells whether they need to accept no other.
            pins_kept: told of an agent that has said which it accepts, in a thread that may wait.
            grace_s: how long quick methods wait for an agent that is away.
            clock: Unix seconds.
        """
        self._authority = authority
        self._host, self._wanted_port = host, port
        self._pins, self._settled, self._pins_kept = pins, settled, pins_kept
        self._clock = clock
        self._tls = ServerTls(self._context(certificate))
        self._ledger = DatabaseLedger(db, authority, clock)
        self._desk = Desk(self._ledger, self, grace_s=grace_s)
        self._streams = StreamDesk(self._ledger, grace_s=grace_s)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="agent-hub", daemon=True)
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._connections: dict[str, ServerConnection] = {}
        self._known_pins: dict[str, frozenset[str]] = {}
        self._pins_news = threading.Condition()
        self._skews_s: dict[str, float] = {}
        self.port = port

    # --- life -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be listened at.
        """
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        """Close every connection; agents try again until there is an appliance."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(timeout=20.0)
        for waiting in self._desk.room.everything():
            waiting.ended.set()

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._serve())
        except Exception as error:  # raised by `start`, in the thread that called it
            self._failure = error
            if self._ready.is_set():
                log.critical("the link to the agents has ended", exc_info=error)
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with serve(
            self._connected,
            self._host,
            self._wanted_port,
            ssl=self._tls.context,
            max_size=MAX_BYTES,
            ping_interval=PING_S,
            ping_timeout=PONG_S,
            close_timeout=_CLOSE_S,
            server_header=None,
            # What streams carry is compressed already, or on a network that is faster than compressing.
            compression=None,
            # A port scanner is no reason to fill the log.
            logger=logging.getLogger(f"{__name__}.websockets"),
        ) as server:
            self.port = _port_of(server)
            self._ready.set()
            await self._stop.wait()

    def _context(self, certificate: ServerCertificate) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate.certificate, certificate.key)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self._authority.pem.decode())
        return context

    # --- what threads call ------------------------------------------------------------------------------

    def call(
        self,
        agent_id: str,
        method: str,
        params: Any,
        *,
        command_id: str | None = None,
        progress: ProgressPort = NO_PROGRESS,
        timeout_s: float | None = None,
    ) -> Any:
        """See `AgentPort`."""
        return self._desk.call(
            agent_id, method, params, command_id=command_id, progress=progress, timeout_s=timeout_s
        )

    def open_stream(self, agent_id: str, method: str, params: Any) -> ByteStream:
        """See `AgentPort`."""
        return self._streams.open(agent_id, method, params)

    def online(self) -> Sequence[str]:
        """See `AgentPort`."""
        with self._lock:
            return tuple(self._connections)

    def disconnect(self, agent_id: str) -> None:
        """End the connection of an agent; if it was revoked or removed, nobody waits for it any more."""
        if self._ledger.refused(agent_id):
            for waiting in self._desk.room.of_agent(agent_id):
                waiting.fail(AgentUnknownError(agent=agent_id))
            self._streams.revoked(agent_id)
        connection = self._connection(agent_id)
        if connection is not None:
            self._soon(connection.close(REFUSED, "registered anew, or revoked"))

    def use(self, certificate: ServerCertificate) -> None:
        """Show another certificate to agents that connect from now on.

        Raises:
            OSError, ssl.SSLError: it cannot be used; the one before stays.
        """
        self._tls.use(self._context(certificate))

    def announce(self, pins: tuple[str, ...], *, timeout_s: float) -> None:
        """Have the agents that are connected accept certificates, and wait until they do, at most so long."""
        for agent_id in self.online():
            self._soon(self._send(agent_id, Pins(pins)))
        wanted = frozenset(pins)
        with self._pins_news:
            self._pins_news.wait_for(
                lambda: all(wanted <= self._known_pins.get(a, frozenset()) for a in self.online()), timeout_s
            )

    def retract(self, pins: tuple[str, ...]) -> None:
        """Have the agents that are connected accept these certificates only."""
        for agent_id in self.online():
            self._soon(self._send(agent_id, Pins(pins, only=True)))

    def skews_s(self) -> dict[str, float]:
        """Return how far the clocks of connected agents were ahead when they connected."""
        with self._lock:
            return {a: s for a, s in self._skews_s.items() if a in self._connections}

    def connected(self, agent_id: str) -> bool:
        """Whether an agent is connected."""
        return self._connection(agent_id) is not None

    def deliver(self, waiting: Waiting) -> None:
        """Send a command; if its agent is away, it is sent when that is back."""
        self._soon(self._give(waiting))

    def cancel(self, waiting: Waiting) -> None:
        """Send a cancellation; as for `deliver`."""
        self._soon(self._send(waiting.agent_id, Cancel(waiting.command.id)))

    def _connection(self, agent_id: str) -> ServerConnection | None:
        with self._lock:
            return self._connections.get(agent_id)

    def _soon(self, what: Coroutine[Any, Any, None]) -> None:
        soon(self._loop, what)

    # --- what the event loop does -----------------------------------------------------------------------

    async def _connected(self, connection: ServerConnection) -> None:
        try:
            await self._welcome(connection)
        except ConnectionClosed:
            pass
        except SekisoError as error:
            # The agent connects again, and says again what was not acknowledged.
            log.warning("the connection of an agent is closed: %s", error)
            await connection.close(1011)

    async def _welcome(self, connection: ServerConnection) -> None:
        shown = connection.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        record = await asyncio.to_thread(self._ledger.identify, shown)
        if record is None:
            await connection.close(REFUSED, "not registered")
            return
        with self._lock:
            former = self._connections.get(record.id)
            self._connections[record.id] = connection
        try:
            if former is not None:
                await former.close(REPLACED, "connected again")
            # Looked at again: whoever revokes it from now on finds the connection.
            if await asyncio.to_thread(self._ledger.refused, record.id):
                await connection.close(REFUSED, "revoked")
                return
            log.info("agent %s is connected", record.name)
            await self._listen(record, connection)
        finally:
            with self._lock:
                if self._connections.get(record.id) is connection:
                    del self._connections[record.id]
            log.info("agent %s is not connected any more", record.name)

    async def _listen(self, record: AgentRecord, connection: ServerConnection) -> None:
        outbox = Outbox()
        line = StreamLine(record.name, outbox.put)
        sending = asyncio.create_task(outbox.run(connection))
        try:
            await self._hear(record, connection, line)
        finally:
            self._streams.left(record.id, line)
            sending.cancel()

    async def _hear(self, record: AgentRecord, connection: ServerConnection, line: StreamLine) -> None:
        seen = time.monotonic()
        try:
            async for text in connection:
                if isinstance(text, bytes):
                    line.take(text)
                else:
                    await self._take(record.id, connection, decode_from_agent(text), line)
                if time.monotonic() - seen > _SEEN_S:
                    seen = time.monotonic()
                    await asyncio.to_thread(self._ledger.seen, record.id)
        except (msgspec.MsgspecError, RecursionError):
            log.warning("agent %s sent something that is no message", record.name)
            await connection.close(UNREADABLE, "no message")

    async def _take(
        self, agent_id: str, connection: ServerConnection, message: FromAgent, line: StreamLine
    ) -> None:
        match message:
            case Hello():
                self._streams.joined(agent_id, line, message.contract_version)
                await self._hello(agent_id, connection, message)
            case StreamOpened() | StreamRefused() | StreamCredit() | StreamClosed():
                line.take(message)
            case Progress():
                waiting = self._desk.room.find(message.id, agent_id)
                if waiting is not None:
                    waiting.news = message
            case Outcome():
                await asyncio.to_thread(self._desk.came, agent_id, message)
                await _send(connection, Ack(message.id))
            case InventoryNews():
                await asyncio.to_thread(self._ledger.take_inventory, agent_id, message.inventory)
            case PinsKept():
                await asyncio.to_thread(self._take_pins, agent_id, message.pins)
            case Renew():
                await self._renew(agent_id, connection, message)

    async def _hello(self, agent_id: str, connection: ServerConnection, hello: Hello) -> None:
        log.info("agent %s has version %s", agent_id, hello.agent_version)
        if hello.time_s:
            with self._lock:
                self._skews_s[agent_id] = hello.time_s - self._clock()
        pins = await asyncio.to_thread(self._pins)
        if pins:
            await _send(connection, Pins(pins, only=self._settled()))
        for waiting in self._desk.room.of_agent(agent_id):
            await self._give(waiting)
        for command_id in await asyncio.to_thread(self._ledger.unwanted, agent_id, hello.commands):
            if self._desk.room.find(command_id, agent_id) is None:
                await _send(connection, Cancel(command_id))

    def _take_pins(self, agent_id: str, pins: tuple[str, ...]) -> None:
        self._ledger.take_pins(agent_id, pins)
        with self._pins_news:
            self._known_pins[agent_id] = frozenset(pins)
            self._pins_news.notify_all()
        self._pins_kept(agent_id)

    async def _give(self, waiting: Waiting) -> None:
        # What has ended may be forgotten by the agent: sent again, it would be carried out again.
        connection = self._connection(waiting.agent_id)
        if connection is None or connection is waiting.sent_over or waiting.ended.is_set():
            return
        waiting.sent_over = connection
        await _send(connection, waiting.command)
        if waiting.canceled_at is not None:
            await _send(connection, Cancel(waiting.command.id))

    async def _renew(self, agent_id: str, connection: ServerConnection, message: Renew) -> None:
        try:
            pem = await asyncio.to_thread(self._ledger.renew, agent_id, message.request.encode())
        except RequestRefusedError as error:
            log.warning("agent %s asked for a certificate: %s", agent_id, error)
            return
        await _send(connection, Renewed(pem.decode()))

    async def _send(self, agent_id: str, message: FromAppliance) -> None:
        connection = self._connection(agent_id)
        if connection is not None:
            await _send(connection, message)


async def _send(connection: ServerConnection, message: FromAppliance) -> None:
    # What is lost with a connection is sent again when the agent is back.
    with contextlib.suppress(ConnectionClosed):
        await connection.send(encode(message))


def _port_of(server: Server) -> int:
    sockets: Sequence[socket.socket] = tuple(server.sockets)
    return sockets[0].getsockname()[1]
