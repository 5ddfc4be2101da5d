"""Commands happen once, whatever breaks in between (AG-5)."""

from __future__ import annotations

import random
import sqlite3
import threading
import time

import pytest

from sekiso.agent.link.errors import AgentOfflineError
from sekiso.agent.settings import JOURNAL

from ...contract.agent_port.rigs import LinkRig
from ...contract.agent_port.worker import LONG, QUICK, Caller, Watched, long, quick, until


def give(link: LinkRig, name: str, what: str = "count", place: str = "/place") -> Caller:
    return Caller(
        lambda: link.hub.call(link.agent_id, LONG, long(what, place=place), command_id=name, timeout_s=30)
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_connection_is_cut_at_random_moments(link: LinkRig, seed: int) -> None:
    chance = random.Random(seed)
    callers = [give(link, f"t{n}:1:s", place=f"/{n % 3}") for n in range(8)]
    finished = threading.Event()

    def cut() -> None:
        while not finished.wait(chance.uniform(0.01, 0.3)):
            if chance.random() < 0.5:
                link.proxy.cut()
            else:  # after so many bytes: in the handshake, or within a message
                link.proxy.budget = chance.randint(1, 6000)

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        time.sleep(0.5)
        quicks = [
            Caller(lambda n=n: link.hub.call(link.agent_id, QUICK, quick(), command_id=f"q{n}:1:s"))
            for n in range(8)
        ]
        results = [c.result(30).manifest for c in callers]
        settled = [_settle(c, link, n) for n, c in enumerate(quicks)]
    finally:
        finished.set()
        cutter.join()
        link.proxy.budget = None
    assert link.proxy.cuts > 2
    assert results == [{"run": 1}] * 8
    assert settled == [1] * 8
    assert set(link.worker.runs.values()) == {1}


def _settle(caller: Caller, link: LinkRig, n: int) -> int:
    """Ask again while the agent is away for too long, as the appliance's flows do."""
    while True:
        try:
            return caller.result(30).free_bytes
        except AgentOfflineError:
            caller = Caller(lambda: link.hub.call(link.agent_id, QUICK, quick(), command_id=f"q{n}:1:s"))


def test_agent_forgets_what_the_appliance_has(link: LinkRig) -> None:
    give(link, "t:1:s", "answer").result()
    until(lambda: _journal(link) == [], "the acknowledgement")


def test_journal_keeps_no_parameters(link: LinkRig) -> None:
    caller = give(link, "t", "wait", place="/sec/ret")
    until(lambda: link.worker.active, "the work")
    assert _journal(link) == [("t", LONG, None)]
    files = [p.read_bytes() for p in link.state.glob(f"{JOURNAL}*")]
    assert b"/sec/ret" not in b"".join(files)
    link.worker.released.set()
    caller.result()


def test_agent_is_restarted_in_the_middle(link: LinkRig) -> None:
    caller = give(link, "t:1:s", "wait")
    until(lambda: link.worker.active, "the work")
    begun = time.monotonic()
    link.restart_service()
    assert time.monotonic() - begun < 5, "work is given up at its next sign of progress"
    until(lambda: link.worker.active, "the work")
    assert caller.waits
    link.worker.released.set()
    # Begun again: methods are convergent. Its outcome is one.
    assert caller.result().manifest == {"run": 2}
    assert give(link, "t:1:s", "wait").result().manifest == {"run": 2}


def test_agent_is_restarted_with_an_outcome_that_nobody_has(link: LinkRig) -> None:
    caller = give(link, "t:1:s", "wait")
    until(lambda: link.worker.active, "the work")
    link.go_away()
    link.worker.released.set()
    until(lambda: not link.worker.active, "the end of the work")
    until(lambda: _journal(link)[0][2] is not None, "the journal's entry")
    link.restart_service()
    link.come_back()
    assert caller.result().manifest == {"run": 1}


def test_cancel_while_the_agent_is_stopped(link: LinkRig) -> None:
    watched = Watched()
    caller = Caller(
        lambda: link.hub.call(link.agent_id, LONG, long("wait"), command_id="t:1:s", progress=watched)
    )
    until(lambda: link.worker.active, "the work")
    link.stop_service()
    until(lambda: not link.online(), "the end of the connection")
    watched.stop.set()
    with pytest.raises(Exception, match="Canceled"):
        caller.result()
    link.service, link._thread = link.start_service(link.settings, link.state)
    until(link.online, "the connection")
    until(lambda: _journal(link) == [], "the end of the command")
    assert link.worker.runs == {"t:1:s": 1}


def test_appliance_is_restarted_in_the_middle(link: LinkRig) -> None:
    caller = give(link, "t:1:s", "wait")
    until(lambda: link.worker.active, "the work")
    link.restart_hub()
    with pytest.raises(AgentOfflineError):
        caller.result()
    again = give(link, "t:1:s", "wait")
    until(link.online, "the connection")
    link.worker.released.set()
    assert again.result().manifest == {"run": 1}
    assert link.worker.runs == {"t:1:s": 1}


def test_work_ends_while_the_appliance_is_restarted(link: LinkRig) -> None:
    caller = give(link, "t:1:s", "wait")
    until(lambda: link.worker.active, "the work")

    def meanwhile() -> None:
        link.worker.released.set()
        until(lambda: not link.worker.active, "the end of the work")

    link.restart_hub(meanwhile)
    with pytest.raises(AgentOfflineError):
        caller.result()
    until(lambda: _journal(link) == [], "the acknowledgement")
    # Nobody waited when it came; it was recorded.
    assert give(link, "t:1:s", "wait").result().manifest == {"run": 1}
    assert link.worker.runs == {"t:1:s": 1}


def test_many_begin_to_wait_while_outcomes_arrive(link: LinkRig) -> None:
    """Outcomes that come just when somebody begins to wait are neither lost nor worked for twice."""
    for n in range(15):
        name = f"t{n}:1:s"
        callers = [give(link, name, "answer", place=f"/{n}")]
        for _ in range(3):
            time.sleep(0.003)
            callers.append(give(link, name, "answer", place=f"/{n}"))
        link.proxy.cut()
        callers.append(give(link, name, "answer", place=f"/{n}"))
        assert [c.result().manifest for c in callers] == [{"run": 1}] * 5


def test_call_after_the_end_of_the_appliance(link: LinkRig) -> None:
    link.hub.stop()
    with pytest.raises(AgentOfflineError):
        link.hub.call(link.agent_id, QUICK, quick(), timeout_s=0.2)


def _journal(link: LinkRig) -> list[tuple[str, str, str | None]]:
    connection = sqlite3.connect(link.state / JOURNAL)
    try:
        return connection.execute("SELECT id, method, outcome FROM command").fetchall()
    finally:
        connection.close()
