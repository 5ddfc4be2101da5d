"""The appliance's side of the link: agents connect here, commands go out, outcomes come back (AG-1, AG-5).

Threads call `Hub.call`; one event loop in a thread of its own serves the connections. What is waited for is
in `waiting.Waiting`; what must outlive the process is in the database's journal of commands.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from sekiso.agent.contract import METHODS
from sekiso.agent.link.errors import AgentOfflineError, AgentSilentError, AgentUnknownError
from sekiso.agent.link.messages import (
    MAX_BYTES,
    PING_S,
    PONG_S,
    Ack,
    Cancel,
    Command,
    FromAppliance,
    Hello,
    InventoryNews,
    Outcome,
    Pins,
    Progress,
    Renew,
    Renewed,
    decode_from_agent,
    encode,
)
from sekiso.agent.link.plain_data import error_data, error_of, plain, result_of
from sekiso.agent.link.waiting import Waiting
from sekiso.agent.pki import Authority, RequestRefusedError, ServerCertificate
from sekiso.errors import CanceledError
from sekiso.model.connector import AgentInventory
from sekiso.model.library import AgentRecord
from sekiso.model.progress import NO_PROGRESS
from sekiso.model.progress import Progress as ProgressPort
from sekiso.store.database.api import DatabasePort

log = logging.getLogger(__name__)
_QUICK_S = 60.0
#: An agent that has just lost its connection, or an appliance that has just started, is given so long.
_GRACE_S = 8.0
_POLL_S = 0.25
_SEEN_S = 60.0
_LINGER_S = 30.0


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
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing listens yet.

        Args:
            db: the database.
            authority: whose certificates agents have.
            certificate: the appliance's own.
            host: address to listen at.
            port: TCP port; 0 = one that is free.
            pins: tells further certificates of the appliance that agents shall accept.
            clock: Unix seconds.
        """
        self._db, self._authority, self._certificate = db, authority, certificate
        self._host, self._wanted_port, self._pins, self._clock = host, port, pins, clock
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="agent-hub", daemon=True)
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._connections: dict[str, ServerConnection] = {}
        self._waiting: dict[str, Waiting] = {}
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
            raise self._failure

    def stop(self) -> None:
        """Close every connection; agents try again until there is an appliance."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(timeout=20.0)
        with self._lock:
            for waiting in self._waiting.values():
                waiting.abandon()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._ready.set()
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _serve(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._certificate.certificate, self._certificate.key)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self._authority.pem.decode())
        async with serve(
            self._connected,
            self._host,
            self._wanted_port,
            ssl=context,
            max_size=MAX_BYTES,
            ping_interval=PING_S,
            ping_timeout=PONG_S,
            server_header=None,
            # A port scanner is no reason to fill the log.
            logger=logging.getLogger(f"{__name__}.websockets"),
        ) as server:
            sockets: Sequence[socket.socket] = tuple(server.sockets)
            self.port = sockets[0].getsockname()[1]
            self._ready.set()
            await self._stop.wait()

    # --- what threads call ------------------------------------------------------------------------------

    def online(self) -> Sequence[str]:
        """See `AgentPort`."""
        with self._lock:
            return tuple(self._connections)

    def disconnect(self, agent_id: str) -> None:
        """End the connection of an agent, if it has one."""
        with self._lock:
            connection = self._connections.get(agent_id)
        if connection is not None:
            asyncio.run_coroutine_threadsafe(connection.close(4403, "revoked"), self._loop)

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
        quick = METHODS[method].quick
        name = self._known(agent_id)
        if command_id is not None:
            with self._db.begin() as work:
                row = work.commands.begin(command_id, agent_id, method)
            if row.error is not None:
                raise error_of(method, row.error)
            if row.result is not None:
                return result_of(method, row.result)
        if quick and not self._await_connection(agent_id, progress):
            raise AgentOfflineError(agent=name)
        identity = command_id or f"quick.{uuid.uuid4()}"
        waiting = self._wait_for(identity, agent_id, method, params, durable=command_id is not None)
        limit_s = timeout_s if timeout_s is not None else (_QUICK_S if quick else None)
        try:
            self._follow(waiting, progress, limit_s, name)
        finally:
            self._leave(waiting)
        return waiting.outcome(method)

    def _known(self, agent_id: str) -> str:
        with self._db.begin() as work:
            found = work.agents.find(agent_id)
        if found is None or found.revoked:
            raise AgentUnknownError(agent=found.name if found is not None else agent_id)
        return found.name

    def _await_connection(self, agent_id: str, progress: ProgressPort) -> bool:
        deadline = time.monotonic() + _GRACE_S
        while True:
            with self._lock:
                if agent_id in self._connections:
                    return True
            if time.monotonic() > deadline:
                return False
            if progress.canceled():
                raise CanceledError
            time.sleep(0.05)

    def _wait_for(self, identity: str, agent_id: str, method: str, params: Any, *, durable: bool) -> Waiting:
        with self._lock:
            waiting = self._waiting.get(identity)
            if waiting is None:
                command = Command(identity, method, plain(params), durable)
                waiting = Waiting(agent_id, command)
                self._waiting[identity] = waiting
            waiting.joined += 1
            connection = self._connections.get(agent_id)
        if connection is not None and waiting.joined == 1:
            self._send_soon(connection, waiting.command)
        return waiting

    def _leave(self, waiting: Waiting) -> None:
        with self._lock:
            waiting.joined -= 1
            if waiting.joined == 0:
                self._waiting.pop(waiting.command.id, None)

    def _follow(
        self, waiting: Waiting, progress: ProgressPort, limit_s: float | None, agent_name: str
    ) -> None:
        deadline = None if limit_s is None else time.monotonic() + limit_s
        canceled_at: float | None = None
        while not waiting.ended.wait(_POLL_S):
            waiting.tell(progress)
            if canceled_at is None and progress.canceled():
                canceled_at = time.monotonic()
                self._cancel(waiting)
            if canceled_at is not None and not self._still_stopping(waiting, canceled_at):
                self._record_cancellation(waiting)
                raise CanceledError
            if deadline is not None and time.monotonic() > deadline:
                self._cancel(waiting)
                raise AgentSilentError(agent=agent_name, method=waiting.command.method, timeout_s=limit_s)
        waiting.tell(progress)

    def _still_stopping(self, waiting: Waiting, canceled_at: float) -> bool:
        with self._lock:
            online = waiting.agent_id in self._connections
        # A lost agent hears of the cancellation when it is back: see `_hello`.
        return online and time.monotonic() - canceled_at < _LINGER_S * 10

    def _record_cancellation(self, waiting: Waiting) -> None:
        if waiting.command.durable:
            with self._db.begin() as work:
                work.commands.end(waiting.command.id, error=error_data(CanceledError()))

    def _cancel(self, waiting: Waiting) -> None:
        with self._lock:
            connection = self._connections.get(waiting.agent_id)
        if connection is not None:
            self._send_soon(connection, Cancel(waiting.command.id))

    def _send_soon(self, connection: ServerConnection, message: FromAppliance) -> None:
        asyncio.run_coroutine_threadsafe(_send(connection, message), self._loop)

    # --- what the event loop does -----------------------------------------------------------------------

    async def _connected(self, connection: ServerConnection) -> None:
        record = await asyncio.to_thread(self._identify, connection)
        if record is None:
            await connection.close(4403, "not registered")
            return
        with self._lock:
            former = self._connections.get(record.id)
            self._connections[record.id] = connection
        if former is not None:
            await former.close(4409, "connected again")
        log.info("agent %s is connected", record.name)
        try:
            await self._listen(record.id, connection)
        except ConnectionClosed:
            pass
        except msgspec.MsgspecError:
            log.warning("agent %s sent something that is no message", record.name)
            await connection.close(4400, "no message")
        finally:
            with self._lock:
                if self._connections.get(record.id) is connection:
                    del self._connections[record.id]
            log.info("agent %s is not connected any more", record.name)

    def _identify(self, connection: ServerConnection) -> AgentRecord | None:
        """Return the agent whose certificate this is, if it is registered and not revoked."""
        found = connection.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        certificate = x509.load_der_x509_certificate(found)
        name = str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
        fingerprint = certificate.fingerprint(SHA256()).hex()
        with self._db.begin() as work:
            record = work.agents.find(name)
            if record is None or record.revoked:
                return None
            if fingerprint == record.next_certificate_sha256:
                record = replace(record, certificate_sha256=fingerprint, next_certificate_sha256=None)
                work.agents.replace(record)
            if fingerprint != record.certificate_sha256:
                return None
            work.agents.seen(record.id, self._clock())
        return record

    async def _listen(self, agent_id: str, connection: ServerConnection) -> None:
        seen = time.monotonic()
        async for text in connection:
            message = decode_from_agent(text)
            match message:
                case Hello():
                    await self._hello(agent_id, connection, message)
                case Progress():
                    self._progressed(agent_id, message)
                case Outcome():
                    await self._came(agent_id, connection, message)
                case InventoryNews():
                    await asyncio.to_thread(self._take_inventory, agent_id, message.inventory)
                case Renew():
                    await self._renew(agent_id, connection, message)
            if time.monotonic() - seen > _SEEN_S:
                seen = time.monotonic()
                await asyncio.to_thread(self._see, agent_id)

    async def _hello(self, agent_id: str, connection: ServerConnection, hello: Hello) -> None:
        log.info("agent %s speaks contract %s", agent_id, hello.contract_version)
        pins = self._pins()
        if pins:
            await _send(connection, Pins(pins))
        with self._lock:
            waiting = [w for w in self._waiting.values() if w.agent_id == agent_id]
        for item in waiting:
            await _send(connection, item.command)
        waited_for = {item.command.id for item in waiting}
        for command_id in hello.commands:
            if command_id not in waited_for and await asyncio.to_thread(self._was_canceled, command_id):
                await _send(connection, Cancel(command_id))

    def _was_canceled(self, command_id: str) -> bool:
        with self._db.begin() as work:
            row = work.commands.find(command_id)
        return row is not None and row.error is not None and row.error.get("code") == CanceledError.code

    def _progressed(self, agent_id: str, message: Progress) -> None:
        with self._lock:
            waiting = self._waiting.get(message.id)
        if waiting is not None and waiting.agent_id == agent_id:
            waiting.news = message

    async def _came(self, agent_id: str, connection: ServerConnection, outcome: Outcome) -> None:
        with self._lock:
            waiting = self._waiting.get(outcome.id)
        if waiting is not None and waiting.agent_id != agent_id:
            return
        if waiting is None or waiting.command.durable:
            await asyncio.to_thread(self._record, agent_id, outcome)
        # Recorded first: a result that the agent has forgotten is never lost here.
        await _send(connection, Ack(outcome.id))
        if waiting is not None:
            waiting.end(outcome)

    def _record(self, agent_id: str, outcome: Outcome) -> None:
        with self._db.begin() as work:
            row = work.commands.find(outcome.id)
            if row is not None and row.agent_id == agent_id:
                work.commands.end(outcome.id, result=outcome.result, error=outcome.error)

    def _take_inventory(self, agent_id: str, data: dict[str, Any]) -> None:
        inventory = msgspec.convert(data, AgentInventory)
        with self._db.begin() as work:
            record = work.agents.find(agent_id)
            if record is not None:
                work.agents.replace(replace(record, inventory=inventory, inventory_s=self._clock()))

    def _see(self, agent_id: str) -> None:
        with self._db.begin() as work:
            work.agents.seen(agent_id, self._clock())

    async def _renew(self, agent_id: str, connection: ServerConnection, message: Renew) -> None:
        def issue() -> bytes:
            issued = self._authority.issue(message.request.encode(), agent_id)
            with self._db.begin() as work:
                record = work.agents.get(agent_id)
                work.agents.replace(replace(record, next_certificate_sha256=issued.sha256))
            return issued.pem

        try:
            pem = await asyncio.to_thread(issue)
        except RequestRefusedError as error:
            log.warning("agent %s asked for a certificate: %s", agent_id, error)
            return
        await _send(connection, Renewed(pem.decode()))


async def _send(connection: ServerConnection, message: FromAppliance) -> None:
    # What is lost with a connection is sent again when the agent is back.
    with contextlib.suppress(ConnectionClosed):
        await connection.send(encode(message))
