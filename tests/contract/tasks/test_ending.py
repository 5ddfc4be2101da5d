"""The suite of `TaskEngine`: cancel, retry, settle, and failures while ending."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from sekiso.errors import CanceledError, NotFoundError, SekisoError
from sekiso.model.task import TaskState
from sekiso.tasks.errors import TaskStateError
from sekiso.tasks.port import FlowContext
from tests.contract.tasks.rigs import EngineRig, Gate, Script, ended, new, record, until

pytestmark = pytest.mark.slow


class Faulty:
    """Fails so many times."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.commands: list[str] = []

    def __call__(self, ctx: FlowContext) -> None:
        self.commands.append(ctx.command_id("remove"))
        if self.left > 0:
            self.left -= 1
            raise SekisoError(reason="The agent is away.")


def _fail(_: FlowContext) -> None:
    raise SekisoError(reason="broken")


def test_cancel_a_running_task(rig: EngineRig) -> None:
    gate = Gate()
    script = Script(acts={"two": gate})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    gate.await_reached()
    assert rig.engine.cancel("t").state is TaskState.CANCELING
    assert rig.engine.cancel("t").state in (TaskState.CANCELING, TaskState.CANCELED)
    task = ended(rig, "t")
    assert task.state is TaskState.CANCELED
    assert task.error is None
    assert script.done == ["one", "undo canceled", "ended canceled"]


def test_a_step_that_does_not_look_is_the_last_one(rig: EngineRig) -> None:
    inside, go = threading.Event(), threading.Event()

    def two(_: FlowContext) -> None:
        inside.set()
        assert go.wait(10)

    script = Script(acts={"two": two})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    assert inside.wait(10)
    rig.engine.cancel("t")
    go.set()
    assert ended(rig, "t").state is TaskState.CANCELED
    assert script.done == ["one", "two", "undo canceled", "ended canceled"]


def test_cancel_seen_through_the_table_alone(rig: EngineRig) -> None:
    gate = Gate()
    script = Script(acts={"two": gate})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    gate.await_reached()
    with rig.db.begin() as work:  # as another process would
        work.tasks.move("t", TaskState.CANCELING)
    assert ended(rig, "t").state is TaskState.CANCELED


def test_cancel_in_the_last_step(rig: EngineRig) -> None:
    inside, go = threading.Event(), threading.Event()

    def three(_: FlowContext) -> None:
        inside.set()
        assert go.wait(10)

    script = Script(acts={"three": three})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    assert inside.wait(10)
    rig.engine.cancel("t")
    go.set()
    assert ended(rig, "t").state is TaskState.CANCELED
    assert script.done[-2:] == ["undo canceled", "ended canceled"]


def test_a_task_that_is_being_finished_cannot_be_canceled(rig: EngineRig) -> None:
    inside, go = threading.Event(), threading.Event()

    def finish(_: FlowContext) -> None:
        inside.set()
        assert go.wait(10)

    script = Script(acts={"ended": finish})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    assert inside.wait(10)
    with pytest.raises(TaskStateError):
        rig.engine.cancel("t")
    assert record(rig, "t").state is TaskState.RUNNING
    go.set()
    assert ended(rig, "t").state is TaskState.COMPLETE


def test_cancel_a_queued_task(rig: EngineRig) -> None:
    gate = Gate()
    script = Script(acts={"one": gate})
    rig.launch([script.flow()])
    for name in ("a", "b", "c"):
        rig.engine.start(new(name, lane="lane"))
    gate.await_reached(2)
    assert rig.engine.cancel("c").state is TaskState.CANCELED
    assert script.done == ["ended canceled"]
    gate.open()
    assert ended(rig, "a").state is TaskState.COMPLETE
    assert ended(rig, "b").state is TaskState.COMPLETE
    assert script.done.count("one") == 2


def test_cancel_a_task_that_waits_for_a_person(rig: EngineRig) -> None:
    script = Script(action="Install it.")
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    waiting = ended(rig, "t")
    assert (waiting.state, waiting.action) == (TaskState.ACTION_REQUIRED, "Install it.")
    assert script.done == ["one", "two", "three"]
    rig.engine.cancel("t")
    rig.engine.cancel("t")
    until(lambda: record(rig, "t").state is TaskState.CANCELED)
    assert script.done[3:] == ["undo canceled", "ended canceled"]
    assert record(rig, "t").action == ""


def test_cancel_what_has_ended_or_is_not_there(rig: EngineRig) -> None:
    rig.launch([Script().flow()])
    rig.engine.start(new("t"))
    ended(rig, "t")
    with pytest.raises(TaskStateError):
        rig.engine.cancel("t")
    with pytest.raises(NotFoundError):
        rig.engine.cancel("nothing")
    with pytest.raises(NotFoundError):
        rig.engine.retry("nothing")


def test_an_interruption_that_nobody_asked_for_is_a_failure(rig: EngineRig) -> None:
    def two(_: FlowContext) -> None:
        raise CanceledError

    rig.launch([Script(acts={"two": two}).flow()])
    rig.engine.start(new("t"))
    task = ended(rig, "t")
    assert task.state is TaskState.FAILED
    assert task.error == CanceledError().to_dict()


def test_canceling_goes_on_after_a_restart(rig: EngineRig) -> None:
    inside, go = threading.Event(), threading.Event()
    calls: list[int] = []

    def undo(ctx: FlowContext) -> None:
        calls.append(1)
        inside.set()
        while not go.wait(0.01):
            ctx.progress.advance(1)

    gate = Gate()
    script = Script(acts={"two": gate, "undo": undo})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    gate.await_reached()
    rig.engine.cancel("t")
    assert inside.wait(10)
    rig.close()
    assert record(rig, "t").state is TaskState.CANCELING
    go.set()
    rig.launch([script.flow()])
    assert ended(rig, "t").state is TaskState.CANCELED
    assert script.done == ["one", "undo canceled", "ended canceled"]
    assert len(calls) == 2


@pytest.mark.parametrize("where", ["queued", "running", "waiting"])
def test_canceled_while_nothing_works(rig: EngineRig, where: str) -> None:
    gate = Gate()
    script = Script(acts={"two": gate} if where == "running" else {})
    script.action = "Act." if where == "waiting" else None
    rig.launch([script.flow()])
    if where == "queued":
        rig.close()
        rig.engine.start(new("t"))
    else:
        rig.engine.start(new("t"))
        _ = gate.await_reached() if where == "running" else ended(rig, "t")
        rig.close()
    assert rig.engine.cancel("t").state is TaskState.CANCELING
    rig.launch([script.flow()])
    until(lambda: record(rig, "t").state is TaskState.CANCELED)
    told = ["ended canceled"] if where == "queued" else ["undo canceled", "ended canceled"]
    assert [done for done in script.done if " " in done] == told


def test_retry_is_the_next_attempt(rig: EngineRig) -> None:
    script = Script(acts={"two": _fail})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    assert ended(rig, "t").state is TaskState.FAILED
    seen: list[str] = []
    script.acts["two"] = lambda ctx: {"command": ctx.command_id("x")}
    script.acts["one"] = lambda ctx: seen.append(ctx.command_id("x"))
    again = rig.engine.retry("t")
    assert (again.state, again.attempt, again.error, again.percent) == (TaskState.QUEUED, 2, None, 0.0)
    task = ended(rig, "t")
    assert (task.state, task.attempt) == (TaskState.COMPLETE, 2)
    assert seen == ["t.2.one.x"]
    with pytest.raises(TaskStateError):
        rig.engine.retry("t")


def test_retry_of_a_canceled_task(rig: EngineRig) -> None:
    gate = Gate()
    script = Script(acts={"one": gate})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    gate.await_reached()
    with pytest.raises(TaskStateError):
        rig.engine.retry("t")
    rig.engine.cancel("t")
    assert ended(rig, "t").state is TaskState.CANCELED
    gate.open()
    rig.engine.retry("t")
    assert ended(rig, "t").state is TaskState.COMPLETE


def test_settle(rig: EngineRig) -> None:
    script = Script(action="Act.")
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    ended(rig, "t")
    rig.engine.settle("t", {"version": "v"})
    task = record(rig, "t")
    assert (task.state, task.action) == (TaskState.COMPLETE, "")
    assert task.result == {"by": "three", "version": "v"}
    until(lambda: record(rig, "t").step == "")
    assert script.done == ["one", "two", "three", "ended complete"]
    rig.engine.settle("t")
    with pytest.raises(NotFoundError):
        rig.engine.settle("nothing")


def test_settle_from_a_step_of_another_task(rig: EngineRig) -> None:
    first = Script(action="Act.")
    rig.launch([first.flow()])
    rig.engine.start(new("first"))
    ended(rig, "first")
    first.action = None
    first.acts["one"] = lambda _: rig.engine.settle("first")
    rig.engine.start(new("second"))
    assert ended(rig, "second").state is TaskState.COMPLETE
    assert record(rig, "first").state is TaskState.COMPLETE
    until(lambda: first.done.count("ended complete") == 2)


def test_settled_while_nothing_works(rig: EngineRig) -> None:
    script = Script(action="Act.")
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    ended(rig, "t")
    rig.close()
    rig.engine.settle("t")
    assert script.done == ["one", "two", "three"]
    rig.launch([script.flow()])
    until(lambda: script.done == ["one", "two", "three", "ended complete"])
    until(lambda: record(rig, "t").step == "")


@pytest.mark.parametrize("where", ["undo", "ended"])
def test_a_clean_up_that_fails_is_tried_again(rig: EngineRig, where: str) -> None:
    faulty = Faulty(2)
    script = Script(acts={"two": _fail, where: faulty})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    task = ended(rig, "t")
    assert task.error == SekisoError(reason="broken").to_dict()
    assert script.done == ["one", "undo failed", "ended failed"]
    assert faulty.commands == [f"t.1.{where}.{n}.remove" for n in (1, 2, 3)]


def _clean_up_fails(rig: EngineRig, script: Script) -> None:
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    task = ended(rig, "t")
    assert task.state is TaskState.FAILED
    assert task.error is not None
    assert task.error["code"] == "task.clean-up"
    assert "The agent is away." in task.error["params"]["reason"]


@pytest.mark.parametrize("where", ["undo", "ended"])
def test_a_clean_up_that_keeps_failing_is_tried_at_the_next_launch(rig: EngineRig, where: str) -> None:
    faulty = Faulty(5)
    script = Script(acts={"two": _fail, where: faulty})
    _clean_up_fails(rig, script)
    first = (record(rig, "t").error or {})["params"]["first"]
    assert "broken" in first
    rig.close()
    rig.launch([script.flow()])
    until(lambda: (record(rig, "t").error or {})["code"] == "internal")
    assert record(rig, "t").error == SekisoError(reason="broken").to_dict()
    assert script.done[-2:] == ["undo failed", "ended failed"]
    assert record(rig, "t").step == "Doing two"
    assert len(set(faulty.commands)) == 6
    rig.close()
    rig.launch([script.flow()])
    time.sleep(0.1)
    assert len(faulty.commands) == 6


def test_a_task_whose_clean_up_failed_can_be_retried(rig: EngineRig) -> None:
    script = Script(acts={"two": _fail, "undo": Faulty(99)})
    _clean_up_fails(rig, script)
    script.acts.clear()
    rig.engine.retry("t")
    assert ended(rig, "t").state is TaskState.COMPLETE


def test_a_task_that_is_being_cleaned_up_again_cannot_be_retried(rig: EngineRig) -> None:
    script = Script(acts={"two": _fail, "undo": Faulty(3)})
    _clean_up_fails(rig, script)
    rig.close()
    inside, go = threading.Event(), threading.Event()

    def undo(_: FlowContext) -> None:
        inside.set()
        assert go.wait(10)

    script.acts["undo"] = undo
    rig.launch([script.flow()])
    assert inside.wait(10)
    with pytest.raises(TaskStateError):
        rig.engine.retry("t")
    assert record(rig, "t").state is TaskState.FAILED
    go.set()
    until(lambda: (record(rig, "t").error or {})["code"] == "internal")
    script.acts.clear()
    rig.engine.retry("t")
    assert ended(rig, "t").state is TaskState.COMPLETE


def test_a_complete_task_that_cannot_let_go_fails_and_is_not_undone(rig: EngineRig) -> None:
    script = Script(acts={"ended": Faulty(3)})
    _clean_up_fails(rig, script)
    rig.close()
    rig.launch([script.flow()])
    until(lambda: "ended failed" in script.done)
    assert not any(done.startswith("undo") for done in script.done)


def test_many_cancel_at_once(rig: EngineRig) -> None:
    gate = Gate()
    script = Script(acts={"two": gate})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    gate.await_reached()
    _all_at_once(8, lambda: rig.engine.cancel("t"))
    assert ended(rig, "t").state is TaskState.CANCELED
    assert script.done == ["one", "undo canceled", "ended canceled"]


def test_settle_against_cancel_does_one_of_them(rig: EngineRig) -> None:
    script = Script(action="Act.")
    rig.launch([script.flow()])
    for number in range(6):
        name = f"t{number}"
        rig.engine.start(new(name))
        ended(rig, name)
        _all_at_once(2, lambda name=name: _race(rig, name))
        until(lambda name=name: record(rig, name).state.ended)
    until(lambda: len([d for d in script.done if d.startswith("ended")]) == 6)
    undone = [d for d in script.done if d == "undo canceled"]
    canceled = [n for n in range(6) if record(rig, f"t{n}").state is TaskState.CANCELED]
    assert len(undone) == len(canceled)


def _race(rig: EngineRig, name: str) -> None:
    try:
        if threading.current_thread().name.endswith("0"):
            rig.engine.cancel(name)
        else:
            rig.engine.settle(name)
    except TaskStateError:
        pass


def _all_at_once(count: int, act: Callable[[], object]) -> None:
    ready = threading.Barrier(count)

    def run() -> None:
        ready.wait()
        act()

    threads = [threading.Thread(target=run, name=f"racer-{n}") for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
