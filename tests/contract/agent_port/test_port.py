"""What every `AgentPort` does (AG-5)."""

from __future__ import annotations

import time

import pytest

from sekiso.agent.contract import FileFacts, StorageProbeResult
from sekiso.agent.link.errors import AgentOfflineError, AgentSilentError, AgentUnknownError
from sekiso.errors import CanceledError, NoSpaceError, SekisoError

from .rigs import Rig
from .worker import LONG, QUICK, STEPS, Caller, Watched, long, quick, until

pytestmark = pytest.mark.slow


def test_result_has_the_type_of_the_method(rig: Rig) -> None:
    assert rig.agents.call(rig.agent_id, QUICK, quick()) == StorageProbeResult("root", 1)
    assert rig.agents.call(rig.agent_id, LONG, long(), command_id="t:1:s") == FileFacts("answer", {"run": 1})


def test_agent_is_online(rig: Rig) -> None:
    assert list(rig.agents.online()) == [rig.agent_id]


def test_same_command_is_carried_out_once(rig: Rig) -> None:
    for _ in range(3):
        assert rig.agents.call(rig.agent_id, QUICK, quick(), command_id="t:1:s").free_bytes == 1
    assert rig.worker.runs == {"t:1:s": 1}


def test_commands_without_identity_are_carried_out_each_time(rig: Rig) -> None:
    for _ in range(3):
        rig.agents.call(rig.agent_id, QUICK, quick())
    assert sum(rig.worker.runs.values()) == 3


def test_those_who_ask_for_the_same_wait_together(rig: Rig) -> None:
    watched = [Watched() for _ in range(3)]
    callers = [
        Caller(lambda w=w: rig.agents.call(rig.agent_id, LONG, long("count"), command_id="t:1:s", progress=w))
        for w in watched
    ]
    assert [c.result().manifest for c in callers] == [{"run": 1}] * 3
    assert rig.worker.runs == {"t:1:s": 1}
    assert [w.steps for w in watched] == [[("Count", STEPS)]] * 3


def test_progress_arrives_in_order(rig: Rig) -> None:
    watched = Watched()
    rig.agents.call(rig.agent_id, LONG, long("count"), command_id="t:1:s", progress=watched)
    assert watched.steps == [("Count", STEPS)]
    assert watched.amounts == sorted(watched.amounts)
    assert 0 < watched.amounts[-1] <= STEPS


@pytest.mark.parametrize("method", [QUICK, LONG])
def test_error_comes_with_its_class_and_is_kept(rig: Rig, method: str) -> None:
    params = quick("fail") if method == QUICK else long("fail")
    for _ in range(2):
        with pytest.raises(NoSpaceError) as caught:
            rig.agents.call(rig.agent_id, method, params, command_id="t:1:s")
        assert caught.value.params == {"path": "/place", "needed_bytes": 2, "free_bytes": 1}
    assert rig.worker.runs == {"t:1:s": 1}


def test_unexpected_error_is_told_and_the_agent_lives(rig: Rig) -> None:
    with pytest.raises(SekisoError, match="ValueError: broken"):
        rig.agents.call(rig.agent_id, LONG, long("break"), command_id="t:1:s")
    assert rig.agents.call(rig.agent_id, QUICK, quick()).account == "root"


def test_cancel_stops_the_work_first(rig: Rig) -> None:
    watched = Watched()
    caller = Caller(
        lambda: rig.agents.call(rig.agent_id, LONG, long("wait"), command_id="t:1:s", progress=watched)
    )
    until(lambda: rig.worker.active, "the work")
    watched.stop.set()
    with pytest.raises(CanceledError):
        caller.result()
    assert rig.worker.active == set()
    with pytest.raises(CanceledError):
        rig.agents.call(rig.agent_id, LONG, long("wait"), command_id="t:1:s")
    assert rig.worker.runs == {"t:1:s": 1}


def test_cancel_while_away_reaches_the_agent_when_it_is_back(rig: Rig) -> None:
    watched = Watched()
    caller = Caller(
        lambda: rig.agents.call(rig.agent_id, LONG, long("wait"), command_id="t:1:s", progress=watched)
    )
    until(lambda: rig.worker.active, "the work")
    rig.go_away()
    watched.stop.set()
    with pytest.raises(CanceledError):
        caller.result()
    rig.come_back()
    until(lambda: not rig.worker.active, "the end of the work")
    with pytest.raises(CanceledError):
        rig.agents.call(rig.agent_id, LONG, long("wait"), command_id="t:1:s")


def test_cancel_and_loss_at_the_same_moment(rig: Rig) -> None:
    watched = Watched()
    caller = Caller(
        lambda: rig.agents.call(rig.agent_id, LONG, long("wait"), command_id="t:1:s", progress=watched)
    )
    until(lambda: rig.worker.active, "the work")
    watched.stop.set()
    rig.cut()
    with pytest.raises(CanceledError):
        caller.result()
    until(lambda: not rig.worker.active, "the end of the work")


def test_work_goes_on_when_the_connection_is_lost(rig: Rig) -> None:
    caller = Caller(lambda: rig.agents.call(rig.agent_id, LONG, long("wait"), command_id="t:1:s"))
    until(lambda: rig.worker.active, "the work")
    rig.cut()
    rig.worker.released.set()
    assert caller.result().manifest == {"run": 1}


def test_result_of_work_that_ended_meanwhile(rig: Rig) -> None:
    caller = Caller(lambda: rig.agents.call(rig.agent_id, LONG, long("wait"), command_id="t:1:s"))
    until(lambda: rig.worker.active, "the work")
    rig.go_away()
    rig.worker.released.set()
    until(lambda: not rig.worker.active, "the end of the work")
    assert caller.waits
    rig.come_back()
    assert caller.result().manifest == {"run": 1}
    assert rig.worker.runs == {"t:1:s": 1}


def test_quick_method_does_not_wait_for_an_agent_that_is_away(rig: Rig) -> None:
    rig.go_away()
    with pytest.raises(AgentOfflineError):
        rig.agents.call(rig.agent_id, QUICK, quick())
    assert list(rig.agents.online()) == []


def test_quick_method_waits_for_an_agent_that_comes_back(rig: Rig) -> None:
    rig.go_away()
    caller = Caller(lambda: rig.agents.call(rig.agent_id, QUICK, quick()))
    rig.come_back()
    assert caller.result().account == "root"


def test_long_work_waits_for_an_agent_that_is_away(rig: Rig) -> None:
    rig.go_away()
    caller = Caller(lambda: rig.agents.call(rig.agent_id, LONG, long(), command_id="t:1:s"))
    time.sleep(0.9)
    assert caller.waits
    rig.come_back()
    assert caller.result().manifest == {"run": 1}


def test_time_limit_with_an_agent_that_is_away(rig: Rig) -> None:
    rig.go_away()
    with pytest.raises(AgentOfflineError):
        rig.agents.call(rig.agent_id, LONG, long(), command_id="t:1:s", timeout_s=0.3)


def test_after_the_time_limit_the_work_can_be_waited_for_again(rig: Rig) -> None:
    with pytest.raises(AgentSilentError):
        rig.agents.call(rig.agent_id, LONG, long("wait"), command_id="t:1:s", timeout_s=0.3)
    rig.worker.released.set()
    assert rig.agents.call(rig.agent_id, LONG, long("wait"), command_id="t:1:s").manifest == {"run": 1}


def test_long_work_takes_turns_and_never_blocks_a_quick_method(rig: Rig) -> None:
    def give(name: str, place: str = "/place", watched: Watched | None = None) -> Caller:
        return Caller(
            lambda: rig.agents.call(
                rig.agent_id,
                LONG,
                long("wait", place=place),
                command_id=name,
                progress=watched or Watched(),
            )
        )

    first = [give(f"t{n}:1:s") for n in range(2)]
    until(lambda: len(rig.worker.active) == 2, "both")
    watched = Watched()
    third, elsewhere = give("t3:1:s", watched=watched), give("t4:1:s", "/another")
    until(lambda: "t4:1:s" in rig.worker.active, "the work elsewhere")
    assert rig.agents.call(rig.agent_id, QUICK, quick()).account == "root"
    assert "t3:1:s" not in rig.worker.active
    # What waits for its turn is given up at once.
    watched.stop.set()
    with pytest.raises(CanceledError):
        third.result()
    assert rig.worker.runs["t3:1:s"] == 0
    rig.worker.released.set()
    assert [c.result().manifest for c in (*first, elsewhere)] == [{"run": 1}] * 3


def test_unknown_agent(rig: Rig) -> None:
    with pytest.raises(AgentUnknownError):
        rig.agents.call("nobody", QUICK, quick())


def test_revoked_agent_is_unknown_and_not_waited_for(rig: Rig) -> None:
    caller = Caller(lambda: rig.agents.call(rig.agent_id, LONG, long("wait"), command_id="t:1:s"))
    until(lambda: rig.worker.active, "the work")
    rig.revoke()
    with pytest.raises(AgentUnknownError):
        caller.result()
    with pytest.raises(AgentUnknownError):
        rig.agents.call(rig.agent_id, QUICK, quick())
    until(lambda: not rig.agents.online(), "the end of the connection")
