"""Streams with a peer that does not keep to the rules (LY-2, AG-1)."""

from __future__ import annotations

from typing import Any

import pytest

from sekiso.agent.contract import CONTRACT_VERSION, STREAMS
from sekiso.agent.handlers.dispatcher import STREAM_HANDLERS
from sekiso.agent.handlers.errors import MethodUnknownError
from sekiso.agent.link import stream_host
from sekiso.agent.link.errors import (
    AgentSilentError,
    StreamEndedError,
    StreamLostError,
    StreamsExhaustedError,
)
from sekiso.agent.link.messages import (
    FromAppliance,
    StreamClosed,
    StreamCredit,
    StreamOpen,
    StreamOpened,
    StreamRefused,
)
from sekiso.agent.link.plain_data import error_of
from sekiso.agent.link.stream_desk import StreamLine
from sekiso.agent.link.stream_host import StreamHost
from sekiso.agent.link.streams import PIECE_BYTES, WINDOW_BYTES, Channels
from sekiso.agent.port import ByteStream

from ....contract.agent_port.sources import STREAM, stream
from ....contract.agent_port.worker import Caller, Worker, until


class Peer:
    """The other side of a line or a host: hears, and says what a test wants."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def __call__(self, what: object) -> None:
        self.heard.append(what)

    def of(self, kind: type) -> list[Any]:
        return [what for what in self.heard if isinstance(what, kind)]


def line(version: int = CONTRACT_VERSION) -> tuple[StreamLine, Peer]:
    peer = Peer()
    made = StreamLine("host", peer)
    made.contract_version = version
    return made, peer


def opened() -> tuple[StreamLine, Peer, ByteStream]:
    made, peer = line()
    caller = Caller(lambda: made.open(STREAM, stream()))
    until(lambda: peer.of(StreamOpen))
    made.take(StreamOpened(1))
    return made, peer, caller.result()


def piece(data: bytes, number: int = 1) -> bytes:
    return number.to_bytes(4, "big") + data


def test_every_stream_has_a_handler() -> None:
    assert set(STREAMS) == set(STREAM_HANDLERS)


def test_a_flood_ends_the_stream_and_fills_no_memory() -> None:
    made, peer, found = opened()
    for _ in range(WINDOW_BYTES // PIECE_BYTES):
        made.take(piece(bytes(PIECE_BYTES)))
    assert peer.of(StreamClosed) == []
    made.take(piece(b"x"))
    assert len(peer.of(StreamClosed)) == 1
    with pytest.raises(StreamEndedError):
        found.read()
    made.take(piece(bytes(PIECE_BYTES)))


def test_credit_that_nobody_owes_is_no_credit() -> None:
    made, peer, found = opened()
    for count in (1 << 62, -(1 << 62), 0):
        made.take(StreamCredit(1, count))
    writer = Caller(lambda: found.write(bytes(2 * WINDOW_BYTES)))
    until(lambda: sum(map(len, peer.of(bytes))) >= WINDOW_BYTES)
    assert sum(len(sent) - 4 for sent in peer.of(bytes)) == WINDOW_BYTES
    assert max(map(len, peer.of(bytes))) <= PIECE_BYTES + 4
    found.close()
    with pytest.raises(StreamEndedError):
        writer.result()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00\x00\x00",
        piece(b""),
        piece(b"x", 7),
        piece(b"", 7),
        StreamOpened(7),
        StreamOpened(1),
        StreamRefused(1, {}),
        StreamCredit(7, 1),
        StreamClosed(7),
    ],
)
def test_what_concerns_no_stream_does_no_harm(message: Any) -> None:
    made, _, found = opened()
    made.take(message)
    made.take(piece(b"fine"))
    assert found.read() == b"fine"
    found.close()


def test_an_agent_that_knows_no_streams_is_not_asked() -> None:
    made, peer = line(1)
    with pytest.raises(MethodUnknownError):
        made.open(STREAM, stream())
    assert peer.heard == []


def test_an_agent_that_does_not_answer() -> None:
    made, peer = line()
    with pytest.raises(AgentSilentError):
        made.open(STREAM, stream(), timeout_s=0.05)
    assert peer.of(StreamClosed) == [StreamClosed(1)]
    made.take(StreamOpened(1))  # too late


def test_the_connection_ends_while_it_is_opened() -> None:
    made, peer = line()
    caller = Caller(lambda: made.open(STREAM, stream()))
    until(lambda: peer.of(StreamOpen))
    made.end(StreamLostError(agent="host"))
    with pytest.raises(StreamLostError):
        caller.result()
    with pytest.raises(StreamLostError):
        made.open(STREAM, stream())


# --- at the agent ---------------------------------------------------------------------------------------


def host() -> tuple[StreamHost, Peer, Worker]:
    peer, worker = Peer(), Worker()
    return StreamHost(worker, peer), peer, worker


@pytest.mark.parametrize(
    "asked", [StreamOpen(1, "packaging.sound", {}), StreamOpen(1, STREAM, {"storage_path": 1})]
)
def test_an_agent_refuses_what_it_does_not_know(asked: FromAppliance) -> None:
    made, peer, _ = host()
    made.take(asked)
    until(lambda: peer.of(StreamRefused))
    (refused,) = peer.heard
    assert isinstance(error_of(STREAM, refused.error), MethodUnknownError)


def test_an_agent_opens_so_many_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_host, "MOST_STREAMS", 3)
    made, peer, worker = host()
    params = {"storage_path": "/place", "version_id": "quiet"}
    for number in range(1, 5):
        made.take(StreamOpen(number, STREAM, params))
    until(lambda: len(peer.of(StreamOpened)) == 3)
    (refused,) = peer.of(StreamRefused)
    assert isinstance(error_of(STREAM, refused.error), StreamsExhaustedError)
    made.take(StreamClosed(1))
    made.take(StreamOpen(5, STREAM, params))
    until(lambda: len(peer.of(StreamOpened)) == 4)
    made.end()
    assert all(source.closed.wait(5) for source in worker.sources.opened)
    made.take(StreamOpen(6, STREAM, params))
    assert len(worker.sources.opened) == 4


def test_an_agent_whose_connection_ends_while_it_opens() -> None:
    made, _, worker = host()
    made.take(StreamOpen(1, STREAM, {"storage_path": "/place", "version_id": "quiet"}))
    made.end()
    until(lambda: all(source.closed.is_set() for source in worker.sources.opened))


def test_channels_forget_what_has_ended() -> None:
    channels = Channels(Peer())
    for number in range(10):
        channels.add(number).close()
    assert len(channels) == 0
