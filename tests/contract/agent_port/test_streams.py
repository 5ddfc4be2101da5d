"""What streams of every `AgentPort` do (LY-2)."""

from __future__ import annotations

import time

import pytest

from sekiso.agent.link.errors import AgentOfflineError, AgentUnknownError, StreamEndedError, StreamLostError
from sekiso.agent.link.streams import PIECE_BYTES, WINDOW_BYTES
from sekiso.agent.port import ByteStream
from sekiso.errors import NoSpaceError, NotFoundError, SekisoError
from sekiso.hypervisors.errors import WrongStateError

from .rigs import Rig
from .sources import STREAM, Source, noise, stream
from .worker import QUICK, Caller, quick, until

pytestmark = pytest.mark.slow

BIG = 3 * WINDOW_BYTES + 12345


def opened(rig: Rig, what: str = "echo") -> tuple[ByteStream, Source]:
    found = rig.agents.open_stream(rig.agent_id, STREAM, stream(what))
    return found, rig.worker.sources.last


def read(found: ByteStream, size: int) -> bytes:
    """Read so many bytes; fewer only at the end."""
    came = bytearray()
    while len(came) < size and (data := found.read()):
        came += data
    return bytes(came)


def test_bytes_come_back(rig: Rig) -> None:
    found, source = opened(rig)
    found.write(b"RFB 003.008\n")
    assert read(found, 12) == b"RFB 003.008\n"
    assert bytes(source.received) == b"RFB 003.008\n"
    found.close()


def test_what_it_leads_to_may_speak_first(rig: Rig) -> None:
    found, source = opened(rig, "quiet")
    source.give(b"first")
    assert read(found, 5) == b"first"
    found.close()


def test_much_both_ways_at_once(rig: Rig) -> None:
    found, source = opened(rig)
    data = noise(BIG)
    writer = Caller(lambda: found.write(data))
    assert read(found, BIG) == data
    writer.result()
    assert bytes(source.received) == data
    found.close()


def test_a_reader_that_is_slow_holds_up_nothing_but_its_stream(rig: Rig) -> None:
    slow, source = opened(rig, "quiet")
    other, _ = opened(rig)
    pieces = [noise(PIECE_BYTES, seed) for seed in range(2 * BIG // PIECE_BYTES)]
    for piece in pieces:
        source.give(piece)
    until(lambda: source.given_bytes >= WINDOW_BYTES, "a full window")
    assert rig.agents.call(rig.agent_id, QUICK, quick()).account == "root"
    other.write(b"prompt")
    assert read(other, 6) == b"prompt"
    time.sleep(0.2)
    # Of the rest nothing was even asked for: no memory fills.
    assert source.given_bytes <= WINDOW_BYTES + PIECE_BYTES
    whole = b"".join(pieces)
    assert read(slow, len(whole)) == whole
    for one in (slow, other):
        one.close()


def test_a_writer_waits_for_what_takes_nothing(rig: Rig) -> None:
    found, source = opened(rig, "quiet")
    source.takes.clear()
    data = noise(BIG)
    writer = Caller(lambda: found.write(data))
    time.sleep(0.2)
    assert writer.waits
    assert rig.agents.call(rig.agent_id, QUICK, quick()).account == "root"
    source.takes.set()
    writer.result()
    until(lambda: len(source.received) == BIG, "the rest")
    assert bytes(source.received) == data
    found.close()


def test_what_two_threads_write_is_not_mixed(rig: Rig) -> None:
    found, source = opened(rig, "quiet")
    size = 5 * PIECE_BYTES + 1
    for writer in [Caller(lambda b=b: found.write(b * size)) for b in (b"a", b"b")]:
        writer.result()
    until(lambda: len(source.received) == 2 * size, "all")
    assert bytes(source.received) in (b"a" * size + b"b" * size, b"b" * size + b"a" * size)
    found.close()


def test_closed_by_the_appliance(rig: Rig) -> None:
    found, source = opened(rig)
    reader = Caller(found.read)
    time.sleep(0.05)
    found.close()
    found.close()
    assert reader.result() == b""
    assert found.read() == b""
    with pytest.raises(StreamEndedError):
        found.write(b"late")
    assert source.closed.wait(5)


def test_closed_by_the_appliance_while_it_writes(rig: Rig) -> None:
    found, source = opened(rig, "quiet")
    source.takes.clear()
    writer = Caller(lambda: found.write(noise(BIG)))
    time.sleep(0.1)
    found.close()
    with pytest.raises(StreamEndedError):
        writer.result()
    assert source.closed.wait(5)


def test_closed_by_the_agent_after_its_last_words(rig: Rig) -> None:
    found, source = opened(rig, "quiet")
    words = noise(WINDOW_BYTES // 2)
    source.give(words)
    source.give(b"")
    assert source.closed.wait(5)
    assert read(found, BIG) == words
    assert found.read() == b""
    with pytest.raises(StreamEndedError):
        found.write(b"late")


@pytest.mark.parametrize(
    ("error", "wanted", "text"),
    [
        (NoSpaceError(path="/", needed_bytes=2, free_bytes=1), NoSpaceError, "2"),
        (ValueError("broken"), SekisoError, "ValueError: broken"),
    ],
)
def test_what_goes_wrong_at_the_agent_is_told(
    rig: Rig, error: Exception, wanted: type[SekisoError], text: str
) -> None:
    found, source = opened(rig, "quiet")
    source.give(b"before")
    source.give(error)
    assert read(found, 6) == b"before"
    for _ in range(2):
        with pytest.raises(wanted, match=text):
            found.read()
    assert source.closed.wait(5)


@pytest.mark.parametrize(
    ("what", "wanted"), [("missing", NotFoundError), ("off", WrongStateError), ("break", SekisoError)]
)
def test_what_cannot_be_opened_says_why(rig: Rig, what: str, wanted: type[SekisoError]) -> None:
    with pytest.raises(wanted) as caught:
        rig.agents.open_stream(rig.agent_id, STREAM, stream(what))
    assert type(caught.value) is wanted
    found, _ = opened(rig)
    found.close()


def test_lost_connection_ends_it(rig: Rig) -> None:
    found, source = opened(rig)
    reader = Caller(found.read)
    time.sleep(0.05)
    rig.go_away()
    with pytest.raises(StreamLostError) as caught:
        reader.result()
    assert caught.value.params["agent"]
    with pytest.raises(StreamLostError):
        found.write(b"late")
    assert source.closed.wait(5)
    rig.come_back()
    again, _ = opened(rig)
    again.write(b"again")
    assert read(again, 5) == b"again"
    again.close()


def test_agent_that_is_away(rig: Rig) -> None:
    rig.go_away()
    with pytest.raises(AgentOfflineError):
        opened(rig)


def test_agent_that_comes_back_in_time(rig: Rig) -> None:
    rig.go_away()
    caller = Caller(lambda: opened(rig))
    rig.come_back()
    found, source = caller.result()
    found.write(b"here again")
    assert read(found, 10) == b"here again" == bytes(source.received)
    found.close()


def test_unknown_agent(rig: Rig) -> None:
    with pytest.raises(AgentUnknownError):
        rig.agents.open_stream("nobody", STREAM, stream())


def test_revoked_agent(rig: Rig) -> None:
    found, source = opened(rig)
    reader = Caller(found.read)
    time.sleep(0.05)
    rig.revoke()
    with pytest.raises(AgentUnknownError):
        reader.result()
    assert source.closed.wait(5)
    with pytest.raises(AgentUnknownError):
        opened(rig)


def test_many_one_after_the_other_and_at_once(rig: Rig) -> None:
    for _ in range(70):
        found, _ = opened(rig)
        found.close()
    until(lambda: all(s.closed.is_set() for s in rig.worker.sources.opened), "the end of all")
    together = [opened(rig)[0] for _ in range(20)]
    for number, found in enumerate(together):
        found.write(b"%d" % number)
    assert [read(f, len(b"%d" % n)) for n, f in enumerate(together)] == [b"%d" % n for n in range(20)]
    for found in together:
        found.close()
