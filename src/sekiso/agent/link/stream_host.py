"""The agent's side of streams: opens what is asked for, and carries bytes both ways (LY-2)."""

from __future__ import annotations

import logging
import threading

import msgspec

from sekiso.agent.handlers.errors import MethodUnknownError
from sekiso.agent.link.dispatch import Dispatcher
from sekiso.agent.link.errors import StreamEndedError, StreamsExhaustedError
from sekiso.agent.link.messages import (
    FromAppliance,
    StreamClosed,
    StreamCredit,
    StreamOpen,
    StreamOpened,
    StreamRefused,
)
from sekiso.agent.link.plain_data import error_data, stream_params_of
from sekiso.agent.link.streams import Channel, Channels, Say
from sekiso.agent.port import ByteStream
from sekiso.errors import SekisoError

log = logging.getLogger(__name__)
#: Streams of one connection; each takes three threads.
MOST_STREAMS = 64
_LAST_S = 1.0


class StreamHost:
    """The streams over one connection, at the agent. Thread-safe."""

    def __init__(self, dispatcher: Dispatcher, say: Say) -> None:
        """Prepare; for what opens streams, and what sends to the appliance."""
        self._dispatcher, self._say = dispatcher, say
        self._channels = Channels(say)

    def take(self, came: FromAppliance | bytes) -> None:
        """Take what the appliance said."""
        match came:
            case bytes() | StreamCredit() | StreamClosed():
                self._channels.take(came)
            case StreamOpen():
                self._begin(came)
            case _:
                pass

    def end(self) -> None:
        """End every stream: the connection is lost."""
        self._channels.end(StreamEndedError())

    def _begin(self, asked: StreamOpen) -> None:
        if len(self._channels) >= MOST_STREAMS:
            self._refuse(asked, StreamsExhaustedError(most=MOST_STREAMS))
            return
        try:
            channel = self._channels.add(asked.id)
        except SekisoError:  # the connection has just been lost
            return
        threading.Thread(
            target=self._serve, args=(channel, asked), name=asked.method[:60], daemon=True
        ).start()

    def _serve(self, channel: Channel, asked: StreamOpen) -> None:
        try:
            source = self._opened(asked)
        except SekisoError as error:
            log.info("stream %s is refused: %s", asked.method, error)
            self._refuse(asked, error)
            channel.end(None)
            return
        self._say(StreamOpened(asked.id))
        _carry(channel, source)

    def _opened(self, asked: StreamOpen) -> ByteStream:
        try:
            params = stream_params_of(asked.method, asked.params)
        except (KeyError, msgspec.MsgspecError) as error:
            raise MethodUnknownError(method=asked.method) from error
        try:
            return self._dispatcher.open_stream(asked.method, params)
        except SekisoError:
            raise
        except Exception as error:  # whatever a handler does, the appliance gets an answer
            log.exception("stream %s failed", asked.method)
            raise SekisoError(reason=f"{type(error).__name__}: {error}") from error

    def _refuse(self, asked: StreamOpen, error: SekisoError) -> None:
        self._say(StreamRefused(asked.id, error_data(error)))


def _carry(channel: Channel, source: ByteStream) -> None:
    """Carry bytes both ways until either side ends."""
    pumps = [
        threading.Thread(target=pump, args=(channel, source), name="stream", daemon=True)
        for pump in (_pump_in, _pump_out)
    ]
    for pump in pumps:
        pump.start()
    channel.wait()
    # What came before the end is still written, but nothing is waited for that takes nothing.
    pumps[0].join(_LAST_S)
    source.close()
    for pump in pumps:
        pump.join()


def _pump_in(channel: Channel, source: ByteStream) -> None:
    try:
        while data := channel.read():
            source.write(data)
    except SekisoError as error:
        log.debug("a stream has ended: %s", error)
    except Exception:
        log.exception("a stream failed")
    finally:
        channel.close()


def _pump_out(channel: Channel, source: ByteStream) -> None:
    failure: SekisoError | None = None
    try:
        while data := source.read():
            channel.write(data)
    except SekisoError as error:
        failure = error
    except Exception as error:  # the appliance shall know that this was no proper end
        log.exception("a stream failed")
        failure = SekisoError(reason=f"{type(error).__name__}: {error}")
    finally:
        channel.close(failure)
