"""The agent: connects to its appliance, carries out commands, reports its host (AG-1, AG-3, AG-5)."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import random
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from sekiso import __version__
from sekiso.agent.contract import CONTRACT_VERSION, InventoryParams
from sekiso.agent.files import write_private
from sekiso.agent.journal import Journal
from sekiso.agent.link.dispatch import Dispatcher
from sekiso.agent.link.messages import (
    MAX_BYTES,
    PING_S,
    PONG_S,
    REFUSED,
    REPLACED,
    UNREADABLE,
    Ack,
    Cancel,
    Command,
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
    StreamOpen,
    decode_from_appliance,
    encode,
)
from sekiso.agent.link.outbox import Outbox
from sekiso.agent.link.plain_data import plain, sayable
from sekiso.agent.link.running import Running
from sekiso.agent.link.soon import soon
from sekiso.agent.link.stream_host import StreamHost
from sekiso.agent.pki import belongs_to, certificate_request, key_pem, new_key
from sekiso.agent.settings import CERTIFICATE, JOURNAL, AgentSettings, save_settings
from sekiso.errors import SekisoError
from sekiso.model.connector import AgentInventory
from sekiso.model.progress import NO_PROGRESS
from sekiso.transfer.trust import PinnedCertificate, UntrustedCertificateError, tls_context

log = logging.getLogger(__name__)
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.3, 10.0
_INVENTORY_S = 30.0
_PROGRESS_S = 0.2
_RENEW_CHECK_S = 3600.0
#: How long commands are given to notice that the process ends.
_STOP_S = 10.0
_CLOSE_S = 2.0
_LOCK, _LOCK_S = "lock", 0.5
_LAST_S = 0.3
#: The other side is given so long to answer the closing of TLS; shorter than the last rounds of the loop.
_TLS_CLOSE_S = 0.2


class AgentService:
    """One agent. `run` blocks until `stop` is called from another thread or a signal handler."""

    def __init__(
        self,
        settings: AgentSettings,
        state: Path,
        dispatcher: Callable[[AgentSettings], Dispatcher],
        *,
        inventory_s: float = _INVENTORY_S,
    ) -> None:
        """Prepare.

        Args:
            settings: the registration.
            state: state folder.
            dispatcher: makes what carries out commands.
            inventory_s: the host is looked at so often.
        """
        self._settings, self._state, self._inventory_s = settings, state, inventory_s
        self._dispatcher = dispatcher(settings)
        self._journal = Journal(state / JOURNAL)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        self._stopping = False
        self._connection: ClientConnection | None = None
        self._news: dict[str, Progress] = {}
        self._news_lock = threading.Lock()
        self._pending_key: bytes | None = None
        self._trouble = ""
        #: Pin of the appliance at the other end.
        self._shown_pin = ""
        self._running = Running(self._dispatcher, self._journal, told=self._told, ended=self._ended)

    def run(self) -> None:
        """Serve the appliance until `stop`. Once only."""
        try:
            with asyncio.Runner() as runner:
                runner.run(self._live())
        finally:
            self._running.stop()
            if not self._running.join(_STOP_S):
                log.warning("commands are cut off; they are carried out again after the next start")
            self._journal.close()

    def stop(self) -> None:
        """End `run`; commands under way are carried out again after the next start."""
        self._stopping = True
        self._running.stop()
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                loop.call_soon_threadsafe(self._stopped.set)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._stopping:
            return
        lock = await self._lock()
        try:
            while not self._stopped.is_set():
                await self._until_stopped(self._connect_for_ever())
        finally:
            # A connection that was just being made is closed in the next rounds of the loop.
            await asyncio.sleep(_LAST_S)
            os.close(lock)

    async def _lock(self) -> int:
        """Wait until no other process is this agent, e.g. one that is ending; return what is held."""
        fd = os.open(self._state / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        told = False
        while not self._stopped.is_set():
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    log.warning("another process runs as this agent; waiting until it has ended")
                told = True
                await asyncio.sleep(_LOCK_S)
        return fd

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        task, stopped = asyncio.create_task(work), asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (task, stopped):
                one.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    async def _connect_for_ever(self) -> None:
        delay_s = _FIRST_DELAY_S
        while not self._stopped.is_set():
            try:
                served = await self._session()
            except Exception:  # an agent that is gone cannot be mended from afar
                log.exception("the connection to the appliance failed")
                served = False
            delay_s = _FIRST_DELAY_S if served else min(_LONGEST_DELAY_S, delay_s * 2)
            # Not all agents of a host that was away come back at the same moment.
            await asyncio.sleep(delay_s * (0.5 + random.random()))  # noqa: S311 (no secret)

    async def _session(self) -> bool:
        """Connect and serve until the connection is lost; return whether there was one."""
        try:
            async with connect(
                f"wss://{_bracketed(self._settings.host)}:{self._settings.link_port}/",
                ssl=self._tls(),
                ssl_shutdown_timeout=_TLS_CLOSE_S,
                max_size=MAX_BYTES,
                ping_interval=PING_S,
                ping_timeout=PONG_S,
                close_timeout=_CLOSE_S,
                compression=None,
                proxy=None,
                user_agent_header=None,
            ) as connection:
                self._check_appliance(connection)
                log.info("connected to the appliance %s", self._settings.host)
                await self._serve(connection)
        except ConnectionClosed as closed:
            return self._closed(closed)
        except UntrustedCertificateError as error:
            self._complain(logging.ERROR, "the appliance is not trusted", error)
            return False
        except (msgspec.MsgspecError, RecursionError):
            self._complain(logging.ERROR, "the appliance sent something that is no message")
            return False
        except (OSError, InvalidHandshake, InvalidMessage, TimeoutError) as error:
            self._not_connected(error)
            return False
        return True

    def _not_connected(self, error: Exception) -> None:
        """Say why there is no connection: the own certificate may be the reason."""
        try:
            expired = _certificate_of(self._state).not_valid_after_utc < datetime.now(UTC)
        except (OSError, ValueError) as unreadable:
            trouble = "the certificate of this agent cannot be read; register it again"
            self._complain(logging.ERROR, trouble, unreadable)
            return
        if expired:
            self._complain(
                logging.ERROR, "the certificate of this agent has expired; register it again", error
            )
        else:
            self._complain(logging.WARNING, "the appliance cannot be reached", error)

    def _closed(self, closed: ConnectionClosed) -> bool:
        """Say why the connection has ended; return whether it was a good one."""
        match closed.rcvd.code if closed.rcvd is not None else 0:
            case code if code == REFUSED:
                self._complain(logging.ERROR, "the appliance refuses this agent; register it again")
            case code if code == REPLACED:
                self._complain(logging.ERROR, "another process has connected as this agent")
            case code if code == UNREADABLE:
                self._complain(logging.ERROR, "the appliance does not understand this agent; update it")
            case _:
                log.info("the connection to the appliance was lost")
                return True
        return False

    def _complain(self, level: int, trouble: str, error: Exception | None = None) -> None:
        """Log what is wrong once, not with each try."""
        detail = f": {str(error) or type(error).__name__}" if error is not None else ""
        log.log(logging.DEBUG if trouble == self._trouble else level, "%s%s", trouble, detail)
        self._trouble = trouble

    def _tls(self) -> ssl.SSLContext:
        context = tls_context(PinnedCertificate(""))
        context.load_cert_chain(self._state / CERTIFICATE)
        return context

    def _check_appliance(self, connection: ClientConnection) -> None:
        """Check that the appliance is the one of the registration.

        Its certificate may have expired meanwhile: the pin tells who it is, and without the link nobody could
        be told to renew it. Transfers are stricter (CC-9).
        """
        shown = connection.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        found = x509.load_der_x509_certificate(shown).fingerprint(hashes.SHA256()).hex()
        if found not in self._settings.pins:
            connection.transport.abort()
            raise UntrustedCertificateError("The certificate is not the one that was pinned at registration.")
        self._shown_pin = found

    async def _serve(self, connection: ClientConnection) -> None:
        self._connection, self._trouble = connection, ""
        outbox = Outbox()
        streams = StreamHost(self._dispatcher, outbox.put)
        helpers = [asyncio.create_task(outbox.run(connection))]
        helpers += [
            asyncio.create_task(self._again_and_again(helper, connection))
            for helper in (self._tell_progress, self._report_host, self._look_after_certificate)
        ]
        try:
            known = await asyncio.to_thread(self._running.known)
            await self._send(connection, Hello(__version__, CONTRACT_VERSION, known, time.time()))
            for outcome in await asyncio.to_thread(self._running.outcomes):
                await self._send(connection, outcome)
            async for text in connection:
                if isinstance(text, bytes):
                    streams.take(text)
                else:
                    await self._take(decode_from_appliance(text), streams)
        finally:
            streams.end()
            self._connection = None
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _take(self, message: FromAppliance, streams: StreamHost) -> None:
        match message:
            case Command():
                await asyncio.to_thread(self._running.take, message)
            case Cancel():
                await asyncio.to_thread(self._running.cancel, message.id)
            case Ack():
                await asyncio.to_thread(self._running.acknowledged, message.id)
            case Renewed():
                await asyncio.to_thread(self._renewed, message.certificate)
            case Pins():
                kept = await asyncio.to_thread(self._take_pins, message)
                if self._connection is not None:
                    await self._send(self._connection, PinsKept(kept))
            case StreamOpen() | StreamCredit() | StreamClosed():
                streams.take(message)

    # --- from threads -----------------------------------------------------------------------------------

    def _told(self, news: Progress) -> None:
        with self._news_lock:
            self._news[news.id] = news

    def _ended(self, outcome: Outcome) -> None:
        with self._news_lock:
            self._news.pop(outcome.id, None)
        # If that comes to nothing, the journal has it.
        soon(self._loop, self._send_outcome(outcome))

    async def _send_outcome(self, outcome: Outcome) -> None:
        if self._connection is not None:
            await self._send(self._connection, outcome)

    # --- beside the commands ----------------------------------------------------------------------------

    async def _again_and_again(
        self, helper: Callable[[ClientConnection], Coroutine[Any, Any, None]], connection: ClientConnection
    ) -> None:
        while True:
            try:
                await helper(connection)
            except Exception:  # commands are carried out whatever fails beside them
                log.exception("something failed beside the commands; it is tried again")
            await asyncio.sleep(self._inventory_s)

    async def _tell_progress(self, connection: ClientConnection) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_S)
            with self._news_lock:
                news, self._news = self._news, {}
            for item in news.values():
                await self._send(connection, item)

    async def _report_host(self, connection: ClientConnection) -> None:
        sent: AgentInventory | None = None
        while True:
            found = await asyncio.to_thread(self._inventory)
            if found is not None and _differs(found, sent):
                await self._send(connection, InventoryNews(sayable(plain(found))))
                sent = found
            await asyncio.sleep(self._inventory_s)

    def _inventory(self) -> AgentInventory | None:
        try:
            return self._dispatcher.run(
                "host.inventory", InventoryParams(), command_id="inventory", progress=NO_PROGRESS
            )
        except SekisoError as error:
            log.warning("the host cannot be reported: %s", error)
            return None

    async def _look_after_certificate(self, connection: ClientConnection) -> None:
        while True:
            if _needs_renewal(_certificate_of(self._state)):
                key = new_key()
                self._pending_key = key_pem(key)
                await self._send(connection, Renew(certificate_request(key).decode()))
            await asyncio.sleep(_RENEW_CHECK_S)

    def _renewed(self, certificate: str) -> None:
        key, self._pending_key = self._pending_key, None
        if key is None or not belongs_to(certificate.encode(), key):
            log.warning("the appliance sent a certificate that was not asked for")
            return
        write_private(self._state / CERTIFICATE, key + certificate.encode())
        log.info("the certificate of this agent was renewed")

    def _take_pins(self, message: Pins) -> tuple[str, ...]:
        """Write down which certificates of the appliance are accepted, and return them."""
        former = (self._shown_pin,) if message.only else self._settings.pins
        merged = tuple(dict.fromkeys((*former, *message.pins)))
        if merged != self._settings.pins:
            self._settings = replace(self._settings, pins=merged)
            save_settings(self._state, self._settings)
        return merged

    async def _send(self, connection: ClientConnection, message: FromAgent) -> None:
        with contextlib.suppress(ConnectionClosed):  # outcomes are sent again; the rest has no value later
            await connection.send(encode(message))


def _certificate_of(state: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((state / CERTIFICATE).read_bytes())


def _needs_renewal(certificate: x509.Certificate) -> bool:
    begun, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return end - datetime.now(UTC) < (end - begun) / 3


def _differs(found: AgentInventory, sent: AgentInventory | None) -> bool:
    """Whether a host has changed in more than some megabytes of free space."""
    if sent is None:
        return True

    def rounded(inventory: AgentInventory) -> Any:
        volumes = tuple(replace(v, free_bytes=v.free_bytes >> 30) for v in inventory.volumes)
        return replace(inventory, volumes=volumes)

    return rounded(found) != rounded(sent)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
