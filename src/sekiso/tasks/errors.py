"""Errors of the task engine."""

from __future__ import annotations

from sekiso.errors import Family, SekisoError


class TaskStateError(SekisoError):
    """A task is not in a state that allows what was asked. Params: task, state, reason."""

    code = "task.state"
    family = Family.CONFLICT
    brief = "The task {task} is {state}."
    why = "{reason}"
    resolution = "Look at the task again; it may have changed in the meantime."


class NoFlowError(SekisoError):
    """This appliance does not know how to carry out a task. Params: kind."""

    code = "task.no-flow"
    family = Family.INTERNAL
    brief = "This appliance cannot carry out tasks of the kind {kind}."
    why = "The task was started by another version of Sekiso."
    resolution = "Start it again in the version that is installed now."


class FlowChangedError(SekisoError):
    """The steps of a task are not those that it was begun with. Params: kind."""

    code = "task.flow-changed"
    family = Family.CONFLICT
    retryable = True
    brief = "Sekiso was updated while a task of the kind {kind} was under way."
    why = "The new version carries it out in other steps, so it cannot go on in the middle."
    resolution = "What was half made has been removed. Retry the task."


class WorkLostError(SekisoError):
    """The durable record of a task's work has gone or is unusable. Params: reason."""

    code = "task.work-lost"
    family = Family.INTERNAL
    retryable = True
    brief = "The task could not be continued."
    why = "{reason}"
    resolution = "What was half made has been removed. Retry the task."


class CleanUpFailedError(SekisoError):
    """Cleaning up after a task failed. Params: reason (of the failed clean-up), first (why it was needed)."""

    code = "task.clean-up"
    family = Family.INTERNAL
    retryable = True
    brief = "Cleaning up after the task failed."
    why = "{reason} {first}"
    resolution = (
        "It is tried again by itself, now and then and at the next start. Retrying the task is safe, too."
    )


class StoppingError(BaseException):
    """The process stops; the step that runs is cut off here and runs again at the next launch.

    Not an `Exception`, like `KeyboardInterrupt`: a step that logs and goes on after an error must not go on
    after this.
    """
