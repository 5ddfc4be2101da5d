"""How a packaging machine stands, and what follows from it (LY-2, LY-8)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from sekiso.agent.contract import PackagingState
from sekiso.console.machine_stage import Stage, before_asking, reason_of, standing_of
from sekiso.guests import linux
from sekiso.model.library import PackagingFacts, VersionRecord, VersionState
from sekiso.model.machine import Generation
from sekiso.model.task import TaskKind, TaskRecord, TaskState

FACTS = PackagingFacts("c-1", "a-1", "/place", "m-1", "nginx 1.1")
VERSION = VersionRecord(
    *("v-1", "l-1", "1.1", "", VersionState.EDITING, Generation.ONE, None), packaging=FACTS
)


def task(kind: TaskKind, state: TaskState, task_id: str = "t-1", **params: object) -> TaskRecord:
    return TaskRecord(task_id, kind, state, (), dict(params), "someone")


@pytest.mark.parametrize(
    ("state", "stage"),
    [
        (PackagingState("v-1", ""), Stage.GONE),
        (PackagingState("v-1", "starting"), Stage.STARTING),
        (PackagingState("v-1", "running"), Stage.INSTALLING),
        # What was found before it was started again does not count while it is on.
        (PackagingState("v-1", "running", gate_known=True, gate=("lock-held: x",)), Stage.INSTALLING),
        (PackagingState("v-1", "running", run_once_running=("setup",)), Stage.SCRIPT),
        (PackagingState("v-1", "stopping"), Stage.STOPPING),
        (PackagingState("v-1", "paused"), Stage.PAUSED),
        (PackagingState("v-1", "saved"), Stage.SAVED),
        (PackagingState("v-1", "critical"), Stage.CRITICAL),
        (PackagingState("v-1", "off"), Stage.UNREPORTED),
        (PackagingState("v-1", "off", gate_known=True), Stage.READY),
        (PackagingState("v-1", "off", gate_known=True, gate=("reboot-required: x",)), Stage.UNFINISHED),
        (PackagingState("v-1", "off", gate_known=True, run_once_running=("setup",)), Stage.UNFINISHED),
        (PackagingState("v-1", "off", run_once_failed=("setup: status 1. no",)), Stage.UNFINISHED),
    ],
)
def test_the_stage_by_what_the_agent_says(state: PackagingState, stage: Stage) -> None:
    standing = standing_of(state, ())
    assert standing.stage is stage
    # As the services have it: on or off, never both, and only what is off is finalized.
    assert standing.can_finalize == (state.state == "off")
    assert not (standing.is_on and (standing.can_start or standing.can_finalize))
    assert standing.needs_override == (stage is Stage.UNFINISHED)


def test_a_task_that_works_on_it_comes_first() -> None:
    holder = task(TaskKind.FINALIZE_LAYER, TaskState.RUNNING)
    found = before_asking(replace(VERSION, holder_task_id="t-1"), [holder])
    assert found is not None and (found.stage, found.task) == (Stage.WORKING, holder)
    assert not found.can_discard and not found.can_finalize
    assert before_asking(VERSION, []) is None


@pytest.mark.parametrize(
    ("state", "stage"),
    [(TaskState.RUNNING, Stage.MAKING), (TaskState.FAILED, Stage.UNMADE), (None, Stage.UNMADE)],
)
def test_before_there_is_a_machine(state: TaskState | None, stage: Stage) -> None:
    tasks = [] if state is None else [task(TaskKind.CREATE_LAYER, state)]
    found = before_asking(replace(VERSION, packaging=None), tasks)
    assert found is not None and found.stage is stage


def test_a_failed_attempt_is_told_until_the_next_one() -> None:
    off = PackagingState("v-1", "off", gate_known=True)
    creation = task(TaskKind.CREATE_LAYER, TaskState.ACTION_REQUIRED, auto_finalize=True)
    failed = task(TaskKind.FINALIZE_LAYER, TaskState.FAILED)
    standing = standing_of(off, [failed, creation])
    assert standing.task == failed and standing.finalizes_itself
    canceled = task(TaskKind.FINALIZE_LAYER, TaskState.CANCELED)
    assert standing_of(off, [canceled, failed, creation]).task is None
    assert standing_of(off, [creation]).task is None


def test_reasons_in_words() -> None:
    found = reason_of("package-half-configured: nginx: broken")
    assert found.title and found.detail == "nginx: broken"
    assert reason_of("unheard-of: x").title == "" and reason_of("unheard-of: x").detail == "unheard-of: x"


def test_every_reason_of_the_guest_has_words() -> None:
    gate = (Path(linux.__file__).parent / "tools/gate").read_text(encoding="utf-8")
    codes = set(re.findall(r"\breason ([a-z]+-[a-z-]+)", gate))
    assert len(codes) > 10
    assert [code for code in sorted(codes) if not reason_of(f"{code}: x").title] == []
