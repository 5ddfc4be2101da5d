"""Tasks as users see them: history, log, cancel, retry, and who may (OP-1, OP-4)."""

from __future__ import annotations

import pytest

from sekiso.errors import NotFoundError
from sekiso.model.library import Role
from sekiso.model.task import NewTask, Subject, SubjectKind, TaskFilter, TaskKind, TaskState
from sekiso.services.core import Actor, NotAllowedError, new_id
from sekiso.tasks.errors import TaskStateError
from sekiso.tasks.port import Flow, FlowContext, Step, StepResult

from ...support.appliance import ADMIN, MANAGER, PUBLISHER, READER, Appliance


def start(appliance: Appliance, kind: TaskKind, name: str = "Gold") -> str:
    subject = Subject(SubjectKind.IMAGE, new_id(), name)
    return appliance.engine.start(NewTask(new_id(), kind, (subject,), {"a": 1}, "maya")).id


def flow(kind: TaskKind) -> Flow:
    def fail(context: FlowContext) -> StepResult:
        context.log("It begins.")
        raise NotFoundError(what="The disk", name="x.vhdx", remedy="Look elsewhere.")

    return Flow(
        kind,
        (Step("fail", "Failing", 1.0, fail),),
        undo=lambda context, why: None,
        ended=lambda context, state: None,
    )


def test_history_and_filter(appliance: Appliance) -> None:
    first = start(appliance, TaskKind.IMPORT_OS, "Debian")
    appliance.clock.now_s += 1
    second = start(appliance, TaskKind.PUBLISH_IMAGE)
    assert [t.id for t in appliance.tasks.list(TaskFilter())] == [second, first]
    assert [t.id for t in appliance.tasks.list(TaskFilter(text="deb"))] == [first]
    assert [t.id for t in appliance.tasks.list(TaskFilter(kinds=frozenset({TaskKind.IMPORT_OS})))] == [first]
    task = appliance.tasks.get(first)
    assert (task.state, task.requested_by, task.params) == (TaskState.QUEUED, "maya", {"a": 1})


def test_what_does_not_exist(appliance: Appliance) -> None:
    for try_it in (
        lambda: appliance.tasks.get("x"),
        lambda: appliance.tasks.log("x"),
        lambda: appliance.tasks.cancel(ADMIN, "x"),
        lambda: appliance.tasks.retry(ADMIN, "x"),
        lambda: appliance.tasks.wait("x", timeout_s=0),
    ):
        with pytest.raises(NotFoundError):
            try_it()
    assert appliance.actions() == []


def test_failed_with_its_log_and_retried(appliance: Appliance) -> None:
    appliance.engine.launch([flow(TaskKind.PUBLISH_IMAGE)])
    task_id = start(appliance, TaskKind.PUBLISH_IMAGE)
    task = appliance.tasks.wait(task_id, timeout_s=30)
    assert task.state is TaskState.FAILED
    assert task.error is not None
    assert task.error["code"] == "not-found"
    lines = appliance.tasks.log(task_id)
    assert "It begins." in [line.text for line in lines]
    assert appliance.tasks.log(task_id, after=lines[-1].number) == ()
    with pytest.raises(TaskStateError):
        appliance.tasks.cancel(PUBLISHER, task_id)
    assert appliance.tasks.retry(PUBLISHER, task_id).attempt == 2
    assert appliance.tasks.wait(task_id, timeout_s=30).state is TaskState.FAILED
    assert [(e.action, e.actor, e.subject_id) for e in appliance.entries()] == [
        ("task.retry", "pia", task_id)
    ]


ALLOWED = {
    TaskKind.PUBLISH_IMAGE: Role.PUBLISHER,
    TaskKind.BOOT_TEST: Role.PUBLISHER,
    TaskKind.DELETE_IMAGE: Role.PUBLISHER,
    TaskKind.IMPORT_OS: Role.LAYER_MANAGER,
    TaskKind.CREATE_LAYER: Role.LAYER_MANAGER,
    TaskKind.FINALIZE_LAYER: Role.LAYER_MANAGER,
    TaskKind.DISCARD_PACKAGING: Role.LAYER_MANAGER,
    TaskKind.DELETE_LAYER_VERSION: Role.LAYER_MANAGER,
}
ACTORS = (READER, PUBLISHER, MANAGER, ADMIN)


@pytest.mark.parametrize("kind", TaskKind)
@pytest.mark.parametrize("actor", ACTORS, ids=lambda a: a.role.value)
def test_who_may_start_a_task_may_cancel_it(kind: TaskKind, actor: Actor, appliance: Appliance) -> None:
    needed = next(a for a in ACTORS if a.role is ALLOWED[kind])
    task_id = start(appliance, kind)
    if ACTORS.index(actor) < ACTORS.index(needed):
        with pytest.raises(NotAllowedError):
            appliance.tasks.cancel(actor, task_id)
        with pytest.raises(NotAllowedError):
            appliance.tasks.retry(actor, task_id)
        assert appliance.tasks.get(task_id).state is TaskState.QUEUED
        assert appliance.actions() == []
    else:
        assert appliance.tasks.cancel(actor, task_id).state in (TaskState.CANCELING, TaskState.CANCELED)
        assert appliance.actions() == ["task.cancel"]
