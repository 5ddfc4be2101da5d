"""The packets of the BITS upload protocol: parsed from and formatted to HTTP headers, without any I/O.

Source: [MC-BUP] 2.2 (version 20240423). Field names are compared without regard to case, packet types too
(Windows sends `Create-Session`, the specification writes CREATE-SESSION).
"""

from __future__ import annotations

import enum
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

Headers = list[tuple[str, str]]

#: The method of every request. Source: [MC-BUP] 2.2.1.
METHOD = "BITS_POST"
#: The only upload protocol there is. Source: [MC-BUP] 1.7.
PROTOCOL = "{7df0354d-249b-430f-820d-3d2a9bef4931}"
#: Longest value of a header field. Source: [MC-BUP] 2.2.1.2, the table of errors (E_INVALIDARG).
LONGEST_VALUE_BYTES = 4096
#: Largest offset or size: a signed 64-bit integer. Source: [MC-BUP] 3.1.1.1, SourceEntitySize.
LARGEST_SIZE_BYTES = (1 << 63) - 1


class Hresult(enum.IntEnum):
    """Errors that the server reports. Source: [MC-BUP] 2.2.1.2; values from winerror.h and bitsmsg.h."""

    SESSION_NOT_FOUND = 0x8020001F
    TOO_LARGE = 0x80200020
    ACCESS_DENIED = 0x80070005
    INVALID_ARGUMENT = 0x80070057
    # [MC-BUP] prints x80070112: 112 is the decimal number of ERROR_DISK_FULL, 0x70 in an HRESULT.
    DISK_FULL = 0x80070070
    # HRESULT_FROM_WIN32(ERROR_CRC): "Data error (cyclic redundancy check)".
    DATA_ERROR = 0x80070017
    FAIL = 0x80004005
    # HRESULT_FROM_WIN32(ERROR_BUSY): "The requested resource is in use."
    BUSY = 0x800700AA


#: Where an error arose: in the server itself. Source: [MC-BUP] 2.2.1.2, BITS-Error-Context.
CONTEXT_SERVER = 0x5


class PacketType(enum.StrEnum):
    """What a packet is, as Windows spells it. Source: [MC-BUP] 2.2.1.2."""

    PING = "Ping"
    CREATE_SESSION = "Create-Session"
    FRAGMENT = "Fragment"
    CLOSE_SESSION = "Close-Session"
    CANCEL_SESSION = "Cancel-Session"
    ACK = "Ack"


class PacketError(Exception):
    """A packet breaks the protocol; becomes the answer to it.

    Attributes:
        status: HTTP status of the answer.
        hresult: error for BITS-Error, or None where the answer is no error of BITS.
    """

    def __init__(
        self, reason: str, *, status: int = 400, hresult: Hresult = Hresult.INVALID_ARGUMENT
    ) -> None:
        self.status = status
        self.hresult = hresult
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Which bytes of a file a message carries.

    Attributes:
        first: offset of the first byte.
        last: offset of the last byte.
        total_bytes: size of the whole file.
    """

    first: int
    last: int
    total_bytes: int

    @property
    def length_bytes(self) -> int:
        """How many bytes the range has."""
        return self.last - self.first + 1

    def __str__(self) -> str:
        return f"bytes {self.first}-{self.last}/{self.total_bytes}"


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks whether the server is there. Source: [MC-BUP] 2.2.4."""


@dataclass(frozen=True, slots=True)
class CreateSession:
    """Begins an upload. Source: [MC-BUP] 2.2.2.

    Attributes:
        content_name: what the client calls the file; never used as a path.
    """

    content_name: str = ""


@dataclass(frozen=True, slots=True)
class Fragment:
    """Carries some bytes of the file. Source: [MC-BUP] 2.2.6.

    Attributes:
        session_id: the session, in braces, upper case.
        content_range: which bytes the body holds.
        content_name: what the client calls the file; never used as a path.
    """

    session_id: str
    content_range: ContentRange
    content_name: str = ""


@dataclass(frozen=True, slots=True)
class CloseSession:
    """Ends a complete upload. Source: [MC-BUP] 2.2.8."""

    session_id: str


@dataclass(frozen=True, slots=True)
class CancelSession:
    """Gives an upload up. Source: [MC-BUP] 2.2.10."""

    session_id: str


Request = Ping | CreateSession | Fragment | CloseSession | CancelSession


@dataclass(frozen=True, slots=True)
class Ack:
    """The answer to any request. Source: [MC-BUP] 2.2.3, 2.2.5, 2.2.7, 2.2.9, 2.2.11.

    Attributes:
        status: HTTP status.
        session_id: the session, in braces; empty where there is none.
        protocol: the protocol chosen, in the answer to Create-Session only.
        next_offset: where the next fragment has to begin; in answers to Fragment only.
        error: HRESULT, 0 for none.
        error_context: where the error arose, 0 for none.
        host_id: host to send the other packets to, empty for the same.
    """

    status: int = 200
    session_id: str = ""
    protocol: str = ""
    next_offset: int | None = None
    error: int = 0
    error_context: int = 0
    host_id: str = ""


_GUID = re.compile(r"\{[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}\}", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,19}", re.ASCII)
_HRESULT = re.compile(r"(?:0?x)?([0-9a-f]{1,8})", re.ASCII | re.IGNORECASE)
_READ = frozenset(
    (
        "accept-encoding",
        "bits-error",
        "bits-error-code",
        "bits-error-context",
        "bits-host-id",
        "bits-packet-type",
        "bits-protocol",
        "bits-received-content-range",
        "bits-session-id",
        "bits-supported-protocols",
        "content-encoding",
        "content-length",
        "content-name",
        "content-range",
        "transfer-encoding",
    )
)


def new_session_id() -> str:
    """Return a fresh session id: a random GUID in braces, upper case."""
    return f"{{{uuid.uuid4()}}}".upper()


def parse_request(headers: Iterable[tuple[bytes, bytes]]) -> Request:
    """Read a request packet from the headers of a BITS_POST.

    Args:
        headers: names and values as they came over the wire.

    Raises:
        PacketError: the packet breaks the protocol.
    """
    fields = _fields(headers)
    length = _content_length(fields)
    kind = fields.get("bits-packet-type", "").lower()
    if kind == "fragment":
        return _parse_fragment(fields, length)
    if length:
        raise PacketError("only a Fragment has a body")
    if kind == "ping":
        return Ping()
    if kind == "create-session":
        return _parse_create(fields)
    if kind == "close-session":
        return CloseSession(_session_id(fields))
    if kind == "cancel-session":
        return CancelSession(_session_id(fields))
    raise PacketError("the packet type is missing or unknown")


def format_request(request: Request) -> Headers:
    """Return the header fields of a request packet, in the order in which Windows sends them."""
    match request:
        case Ping():
            return [_type(PacketType.PING), ("Content-Length", "0")]
        case CreateSession():
            head = [_type(PacketType.CREATE_SESSION), ("BITS-Supported-Protocols", PROTOCOL)]
            return [*head, *_name(request.content_name), ("Content-Length", "0")]
        case Fragment():
            head = [_type(PacketType.FRAGMENT), ("BITS-Session-Id", request.session_id)]
            span = request.content_range
            tail = [("Content-Range", str(span)), ("Content-Length", str(span.length_bytes))]
            return [*head, *_name(request.content_name), *tail]
        case CloseSession():
            return _end(PacketType.CLOSE_SESSION, request.session_id)
        case CancelSession():
            return _end(PacketType.CANCEL_SESSION, request.session_id)


def parse_ack(status: int, headers: Iterable[tuple[bytes, bytes]]) -> Ack:
    """Read the server's answer.

    Raises:
        PacketError: it is no Ack, or a value in it cannot be right.
    """
    fields = _fields(headers)
    if fields.get("bits-packet-type", "").lower() != "ack":
        raise PacketError("the answer is no Ack of the BITS upload protocol")
    received = fields.get("bits-received-content-range")
    return Ack(
        status=status,
        session_id=_session_id(fields) if "bits-session-id" in fields else "",
        protocol=fields.get("bits-protocol", ""),
        next_offset=None if received is None else _number(received),
        error=_hresult(fields.get("bits-error") or fields.get("bits-error-code")),
        error_context=_hresult(fields.get("bits-error-context")),
        host_id=fields.get("bits-host-id", ""),
    )


def format_ack(ack: Ack) -> Headers:
    """Return the header fields of an answer.

    The error goes out under both names, BITS-Error ([MC-BUP]) and BITS-Error-Code (Microsoft's reference of
    the packets), because the documents disagree; neither is there without an error.
    """
    out = [("Pragma", "no-cache"), _type(PacketType.ACK)]
    if ack.protocol:
        out.append(("BITS-Protocol", ack.protocol))
    if ack.session_id:
        out.append(("BITS-Session-Id", ack.session_id))
    if ack.next_offset is not None:
        out.append(("BITS-Received-Content-Range", str(ack.next_offset)))
    if ack.host_id:
        out.append(("BITS-Host-Id", ack.host_id))
    if ack.error:
        code = f"0x{ack.error:08X}"
        out += [("BITS-Error", code), ("BITS-Error-Code", code)]
        out.append(("BITS-Error-Context", f"0x{ack.error_context:X}"))
    out.append(("Content-Length", "0"))
    if ack.protocol:
        out.append(("Accept-Encoding", "identity"))
    return out


def parse_content_range(value: str) -> ContentRange:
    """Read a Content-Range of a message that carries bytes.

    Source: RFC 9110 14.4; the unit in any case, because Microsoft's reference writes `Bytes`.

    Raises:
        PacketError: it is malformed, unsatisfied, or without a total size.
    """
    match = _CONTENT_RANGE.fullmatch(value.strip())
    if match is None:
        raise PacketError("Content-Range is malformed")
    first, last, total = (_number(text) for text in match.groups())
    if not first <= last < total:
        raise PacketError("Content-Range contradicts itself")
    return ContentRange(first, last, total)


def _fields(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    out: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        if name not in _READ:
            continue
        if len(raw_value) > LONGEST_VALUE_BYTES:
            raise PacketError(f"{name} is longer than {LONGEST_VALUE_BYTES} bytes")
        if name in out and name != "accept-encoding":
            raise PacketError(f"{name} is there twice")
        out[name] = raw_value.decode("latin-1").strip()
    return out


def _content_length(fields: dict[str, str]) -> int:
    if "transfer-encoding" in fields:
        raise PacketError("a packet is never sent in chunks")
    if "content-length" not in fields:
        raise PacketError("Content-Length is missing")
    return _number(fields["content-length"])


def _parse_fragment(fields: dict[str, str], length: int) -> Fragment:
    if fields.get("content-encoding", "identity").lower() not in ("identity", ""):
        raise PacketError("the body is encoded although the server takes identity only")
    session_id = _session_id(fields)
    span = parse_content_range(fields.get("content-range", ""))
    if span.length_bytes != length:
        raise PacketError("Content-Range and Content-Length differ")
    return Fragment(session_id, span, fields.get("content-name", ""))


def _parse_create(fields: dict[str, str]) -> CreateSession:
    offered = re.split(r"[\s,]+", fields.get("bits-supported-protocols", "").lower())
    if PROTOCOL not in offered:
        raise PacketError("none of the protocols offered is known")
    return CreateSession(fields.get("content-name", ""))


def _session_id(fields: dict[str, str]) -> str:
    value = fields.get("bits-session-id", "").upper()
    if _GUID.fullmatch(value) is None:
        raise PacketError("BITS-Session-Id is missing or no GUID in braces")
    return value


def _number(text: str) -> int:
    if _NUMBER.fullmatch(text) is None or int(text) > LARGEST_SIZE_BYTES:
        raise PacketError("a number is malformed or too large")
    return int(text)


def _hresult(text: str | None) -> int:
    if text is None:
        return 0
    match = _HRESULT.fullmatch(text.strip())
    if match is None:
        raise PacketError("an error number is malformed")
    return int(match[1], 16)


def _type(kind: PacketType) -> tuple[str, str]:
    return ("BITS-Packet-Type", kind.value)


def _name(content_name: str) -> Headers:
    return [("Content-Name", content_name)] if content_name else []


def _end(kind: PacketType, session_id: str) -> Headers:
    return [_type(kind), ("BITS-Session-Id", session_id), ("Content-Length", "0")]
