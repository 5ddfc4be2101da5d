"""The suite of `TaskEngine`: work, order, results, progress, lanes."""

from __future__ import annotations

import threading
import time

import pytest

from sekiso.errors import NotFoundError, RuleError
from sekiso.model.task import TaskKind, TaskState
from sekiso.tasks.port import FlowContext, StepResult
from tests.contract.tasks.rigs import EngineRig, Gate, Script, ended, lines, new, record, until


def test_steps_run_in_order_and_the_task_is_complete(rig: EngineRig) -> None:
    script = Script()
    rig.launch([script.flow()])
    started = rig.engine.start(new("t", size=3))
    assert started.state is TaskState.QUEUED
    task = ended(rig, "t")
    assert script.done == ["one", "two", "three", "ended complete"]
    assert (task.state, task.percent, task.error) == (TaskState.COMPLETE, 100.0, None)
    assert task.result == {"by": "three"}
    assert task.started_s is not None
    assert task.ended_s is not None
    assert task.step == ""


def test_starting_twice_is_one_task(rig: EngineRig) -> None:
    script = Script()
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    again = rig.engine.start(new("t", other=True))
    assert again.params == {}
    ended(rig, "t")
    assert rig.engine.start(new("t")).state is TaskState.COMPLETE
    assert script.done.count("one") == 1


def test_a_step_sees_results_params_and_a_durable_command_identity(rig: EngineRig) -> None:
    script = Script(steps=("one", "two"))
    seen: dict[str, object] = {}

    def one(ctx: FlowContext) -> StepResult:
        seen["params"] = ctx.task.params
        return {"paths": ["a\udc80b", "日本"], "pair": [1, 2.5]}

    def two(ctx: FlowContext) -> StepResult:
        seen["results"] = dict(ctx.results)
        seen["command"] = ctx.command_id("copy")
        ctx.log("Hello.")
        return {}

    script.acts = {"one": one, "two": two}
    rig.launch([script.flow()])
    rig.engine.start(new("t", x=1))
    ended(rig, "t")
    assert seen["params"] == {"x": 1}
    assert seen["results"] == {"one": {"paths": ["a\udc80b", "日本"], "pair": [1, 2.5]}}
    assert seen["command"] == "t.1.two.copy"
    assert "Hello." in lines(rig, "t")


def test_steps_that_do_not_apply_are_left_out(rig: EngineRig) -> None:
    script = Script(applies={"two": lambda _: False, "three": lambda ctx: ctx.results["one"]["by"] == "one"})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    ended(rig, "t")
    assert script.done == ["one", "three", "ended complete"]


def test_percent_never_goes_back_and_ends_at_100(rig: EngineRig) -> None:
    seen: list[float] = []

    def work(ctx: FlowContext) -> None:
        for part in range(3):
            ctx.progress.step(f"part {part}", total=3 << 20)
            for done in range(4):
                ctx.progress.advance(done << 20)
                time.sleep(0.022)
                seen.append(record(rig, "t").percent)
        assert record(rig, "t").unit == "bytes"

    script = Script(acts={"one": work, "two": work}, weights={"one": 3.0})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    assert ended(rig, "t").percent == 100.0
    assert seen == sorted(seen)
    assert any(0.0 < percent < 60.0 for percent in seen)


def test_small_totals_have_no_unit_and_the_step_is_told(rig: EngineRig) -> None:
    gate = Gate()

    def work(ctx: FlowContext) -> StepResult:
        ctx.progress.step("files", total=10)
        time.sleep(0.03)
        ctx.progress.advance(5)
        return gate(ctx)

    rig.launch([Script(acts={"two": work}).flow()])
    rig.engine.start(new("t"))
    gate.await_reached()
    task = record(rig, "t")
    assert (task.state, task.step, task.done, task.total, task.unit) == (
        TaskState.RUNNING,
        "Doing two",
        5,
        10,
        "",
    )
    assert task.percent == 50.0
    gate.open()
    ended(rig, "t")


def test_a_lane_never_has_more_than_its_number_and_others_go_on(rig: EngineRig) -> None:
    gate, lock, now = Gate(), threading.Lock(), {"a": 0, "most": 0}

    def one(ctx: FlowContext) -> StepResult:
        if ctx.task.lane != "a":
            return {}
        with lock:
            now["a"] += 1
            now["most"] = max(now["most"], now["a"])
        result = gate(ctx)
        with lock:
            now["a"] -= 1
        return result

    rig.launch([Script(acts={"one": one}).flow()])
    for number in range(5):
        rig.engine.start(new(f"a{number}", lane="a"))
    gate.await_reached(2)
    rig.engine.start(new("b", lane="b"))
    rig.engine.start(new("none"))
    assert ended(rig, "b").state is TaskState.COMPLETE
    assert ended(rig, "none").state is TaskState.COMPLETE
    assert {record(rig, f"a{n}").state for n in range(2, 5)} == {TaskState.QUEUED}
    gate.open()
    assert {ended(rig, f"a{n}").state for n in range(5)} == {TaskState.COMPLETE}
    assert now["most"] == 2


def test_a_failed_step_undoes_and_tells_why(rig: EngineRig) -> None:
    def two(_: FlowContext) -> None:
        raise RuleError(field="name", reason="It is taken.", remedy="Take another.")

    script = Script(acts={"two": two})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    task = ended(rig, "t")
    assert script.done == ["one", "undo failed", "ended failed"]
    assert task.state is TaskState.FAILED
    assert task.step == "Doing two"
    assert task.error == RuleError(field="name", reason="It is taken.", remedy="Take another.").to_dict()
    assert any("It is taken." in line for line in lines(rig, "t"))


def test_what_is_no_sekiso_error_fails_the_task_too(rig: EngineRig) -> None:
    def two(_: FlowContext) -> None:
        raise ZeroDivisionError("by nought")

    rig.launch([Script(acts={"two": two}).flow()])
    rig.engine.start(new("t"))
    task = ended(rig, "t")
    assert task.error is not None
    assert task.error["code"] == "internal"
    assert task.error["params"] == {"reason": "ZeroDivisionError: by nought"}


@pytest.mark.parametrize("result", [{"x": object()}, {"x": float("nan")}, ["list"]])
def test_results_that_cannot_be_kept_fail_the_task(rig: EngineRig, result: StepResult) -> None:
    rig.launch([Script(acts={"one": lambda _: result}).flow()])
    rig.engine.start(new("t"))
    assert ended(rig, "t").state is TaskState.FAILED


def test_a_kind_without_flow_fails(rig: EngineRig) -> None:
    rig.launch([Script().flow()])
    rig.engine.start(new("t", kind=TaskKind.BOOT_TEST))
    task = ended(rig, "t")
    assert task.state is TaskState.FAILED
    assert task.error is not None
    assert task.error["code"] == "task.no-flow"


def test_wait_gives_up_in_time(rig: EngineRig) -> None:
    gate = Gate()
    rig.launch([Script(acts={"one": gate}).flow()])
    rig.engine.start(new("t"))
    gate.await_reached()
    began_s = time.monotonic()
    assert rig.engine.wait("t", timeout_s=0.2).state is TaskState.RUNNING
    assert 0.15 < time.monotonic() - began_s < 2.0
    with pytest.raises(NotFoundError):
        rig.engine.wait("nothing", timeout_s=0.1)
    gate.open()
    ended(rig, "t")


def test_finished_steps_do_not_run_again_after_a_restart(rig: EngineRig) -> None:
    gate = Gate()
    script = Script(acts={"two": gate})
    rig.launch([script.flow()])
    rig.engine.start(new("t"))
    gate.await_reached()
    rig.close()
    assert record(rig, "t").state is TaskState.RUNNING
    gate.open()
    rig.launch([script.flow()])
    assert ended(rig, "t").state is TaskState.COMPLETE
    assert script.done == ["one", "two", "three", "ended complete"]


def test_tasks_queued_while_nothing_works_run_at_the_next_launch(rig: EngineRig) -> None:
    script = Script()
    rig.launch([script.flow()])
    rig.close()
    assert rig.engine.start(new("t")).state is TaskState.QUEUED
    rig.launch([script.flow()])
    assert ended(rig, "t").state is TaskState.COMPLETE


def test_a_closed_engine_leaves_what_it_did_not_begin(rig: EngineRig) -> None:
    gate = Gate()
    script = Script(acts={"one": gate})
    rig.launch([script.flow()])
    for number in range(4):
        rig.engine.start(new(f"t{number}", lane="a"))
    gate.await_reached(2)
    rig.close()
    gate.open()
    rig.launch([script.flow()])
    for number in range(4):
        assert ended(rig, f"t{number}").state is TaskState.COMPLETE
    until(lambda: script.done.count("ended complete") == 4)
    assert script.done.count("one") == 4
