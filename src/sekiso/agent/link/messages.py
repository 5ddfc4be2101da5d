"""The messages of the link: JSON objects with a `type`, one per WebSocket text message.

Binary messages are pieces of streams, see `streams`.
"""

from __future__ import annotations

from typing import Any

import msgspec

#: Longest message; results with a picture are the largest.
MAX_BYTES = 16 << 20
PING_S = 10.0
PONG_S = 20.0
#: Why the appliance closes a connection (WebSocket close codes 4000 to 4999 are an application's own).
UNREADABLE = 4400
REFUSED = 4403
REPLACED = 4409


class Hello(msgspec.Struct, tag="hello", frozen=True):
    """Agent: the first message. `commands` are those under way, or ended and not acknowledged.

    `time_s` is its clock, Unix seconds; 0 = not said.
    """

    agent_version: str
    contract_version: int
    commands: tuple[str, ...] = ()
    time_s: float = 0.0


class Progress(msgspec.Struct, tag="progress", frozen=True):
    """Agent: how far a command is."""

    id: str
    step: str
    done: int = 0
    total: int | None = None


class Outcome(msgspec.Struct, tag="outcome", frozen=True):
    """Agent: how a command ended; sent again until it is acknowledged."""

    id: str
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class InventoryNews(msgspec.Struct, tag="inventory", frozen=True):
    """Agent: its host has changed."""

    inventory: dict[str, Any]


class Renew(msgspec.Struct, tag="renew", frozen=True):
    """Agent: asks for a new client certificate."""

    request: str


class PinsKept(msgspec.Struct, tag="pins-kept", frozen=True):
    """Agent: which certificates of the appliance it accepts, now that it has written them down."""

    pins: tuple[str, ...]


class Command(msgspec.Struct, tag="command", frozen=True):
    """Appliance: carry this out; once, whenever it is sent again. Those that are not durable are not kept."""

    id: str
    method: str
    params: dict[str, Any]
    durable: bool = True


class Cancel(msgspec.Struct, tag="cancel", frozen=True):
    """Appliance: give a command up."""

    id: str


class Ack(msgspec.Struct, tag="ack", frozen=True):
    """Appliance: the outcome of a command is recorded; the agent may forget it."""

    id: str


class Renewed(msgspec.Struct, tag="renewed", frozen=True):
    """Appliance: the new client certificate, PEM."""

    certificate: str


class Pins(msgspec.Struct, tag="pins", frozen=True):
    """Appliance: certificates of its own that the agent shall accept from now on, SHA-256, hexadecimal.

    `only`: no others any more; an agent never gives up the one of the connection that this comes over.
    """

    pins: tuple[str, ...]
    only: bool = False


class StreamOpen(msgspec.Struct, tag="stream-open", frozen=True):
    """Appliance: open a stream. Its number is used once in a connection."""

    id: int
    method: str
    params: dict[str, Any]


class StreamOpened(msgspec.Struct, tag="stream-opened", frozen=True):
    """Agent: a stream is open."""

    id: int


class StreamRefused(msgspec.Struct, tag="stream-refused", frozen=True):
    """Agent: a stream cannot be opened."""

    id: int
    error: dict[str, Any]


class StreamCredit(msgspec.Struct, tag="stream-credit", frozen=True):
    """Either: so many bytes were read; as many more may be sent."""

    id: int
    bytes: int


class StreamClosed(msgspec.Struct, tag="stream-closed", frozen=True):
    """Either: a stream has ended, in both directions; `error` says what went wrong, if something did."""

    id: int
    error: dict[str, Any] | None = None


FromAgent = (
    Hello
    | Progress
    | Outcome
    | InventoryNews
    | Renew
    | PinsKept
    | StreamOpened
    | StreamRefused
    | StreamCredit
    | StreamClosed
)
FromAppliance = Command | Cancel | Ack | Renewed | Pins | StreamOpen | StreamCredit | StreamClosed

_ENCODER = msgspec.json.Encoder()
_FROM_AGENT = msgspec.json.Decoder(FromAgent)
_FROM_APPLIANCE = msgspec.json.Decoder(FromAppliance)


def encode(message: FromAgent | FromAppliance) -> str:
    """Return a message as text."""
    return _ENCODER.encode(message).decode()


def decode_from_agent(text: str | bytes) -> FromAgent:
    """Read a message of an agent.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    return _FROM_AGENT.decode(text)


def decode_from_appliance(text: str | bytes) -> FromAppliance:
    """Read a message of the appliance.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    return _FROM_APPLIANCE.decode(text)
