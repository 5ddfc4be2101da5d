"""Tasks: one long-running operation with steps, percent progress, log, cancel (OP-1)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class TaskKind(enum.StrEnum):
    """What a task does."""

    IMPORT_OS = "import-os"
    CREATE_LAYER = "create-layer"
    FINALIZE_LAYER = "finalize-layer"
    PUBLISH_IMAGE = "publish-image"
    BOOT_TEST = "boot-test"
    DISCARD_PACKAGING = "discard-packaging"
    DELETE_LAYER_VERSION = "delete-layer-version"
    DELETE_IMAGE = "delete-image"


class TaskState(enum.StrEnum):
    """State of a task. ACTION_REQUIRED: it waits for a person; `action` says what to do."""

    QUEUED = "queued"
    RUNNING = "running"
    ACTION_REQUIRED = "action-required"
    CANCELING = "canceling"
    CANCELED = "canceled"
    FAILED = "failed"
    COMPLETE = "complete"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self in (TaskState.CANCELED, TaskState.FAILED, TaskState.COMPLETE)


#: The states that may follow each state.
TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = {
    TaskState.QUEUED: frozenset(
        {TaskState.RUNNING, TaskState.CANCELING, TaskState.CANCELED, TaskState.FAILED}
    ),
    TaskState.RUNNING: frozenset(
        {TaskState.ACTION_REQUIRED, TaskState.CANCELING, TaskState.FAILED, TaskState.COMPLETE}
    ),
    TaskState.ACTION_REQUIRED: frozenset(
        {TaskState.RUNNING, TaskState.CANCELING, TaskState.FAILED, TaskState.COMPLETE}
    ),
    TaskState.CANCELING: frozenset({TaskState.CANCELED, TaskState.FAILED}),
    TaskState.CANCELED: frozenset({TaskState.QUEUED}),
    TaskState.FAILED: frozenset({TaskState.QUEUED}),
    TaskState.COMPLETE: frozenset(),
}


class SubjectKind(enum.StrEnum):
    """What tasks and audit entries are about."""

    AGENT = "agent"
    CONFIGURATION = "connector-configuration"
    CONNECTOR = "connector"
    LAYER = "layer"
    LAYER_VERSION = "layer-version"
    TEMPLATE = "image-template"
    IMAGE = "image"
    TASK = "task"
    USER = "user"
    TOKEN = "api-token"  # noqa: S105 (a kind of object, no secret)
    CACHE = "layer-disk-cache"
    APPLIANCE = "appliance"


@dataclass(frozen=True, slots=True)
class Subject:
    """One object that a task or an audit entry is about.

    Attributes:
        kind: what it is.
        id: its identifier.
        name: what it was called then.
    """

    kind: SubjectKind
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task as console, API and CLI show it. Times are Unix seconds.

    Attributes:
        id: identifier.
        kind: what it does.
        state: its state.
        subjects: what it is about, the main one first.
        params: what it was asked for; plain data without secrets.
        requested_by: name of the user.
        lane: tasks of one lane run one after the other (identifier of the connector configuration); empty =
            no such limit.
        attempt: 1, and one more with each retry.
        step: name of the current step, English, translated by text; empty before the first.
        percent: 0 to 100 over all steps.
        done: amount of the current step that is done.
        total: whole amount of the current step; None = not known.
        unit: unit of `done` and `total`: `bytes` or empty.
        action: what a person has to do, a sentence; empty unless action is required.
        result: what came out; plain data; None before the end.
        error: `SekisoError.to_dict()` of what failed; None unless failed.
        created_s: when it was asked for.
        started_s: when it began; None before.
        ended_s: when it ended; None before.
    """

    id: str
    kind: TaskKind
    state: TaskState
    subjects: tuple[Subject, ...]
    params: dict[str, Any]
    requested_by: str
    lane: str = ""
    attempt: int = 1
    step: str = ""
    percent: float = 0.0
    done: int = 0
    total: int | None = None
    unit: str = ""
    action: str = ""
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    created_s: float = 0.0
    started_s: float | None = None
    ended_s: float | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a task's log.

    Attributes:
        number: 1, 2, … within the task.
        time_s: Unix seconds.
        text: what happened, English, translated by text where it is known.
    """

    number: int
    time_s: float
    text: str


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks are listed; None = any. Newest first.

    Attributes:
        states: their states.
        kinds: their kinds.
        subject_id: one of their subjects.
        text: part of a subject's name or of the requesting user's, case does not count.
        before_s: created before; for paging.
        limit: at most so many.
    """

    states: frozenset[TaskState] | None = None
    kinds: frozenset[TaskKind] | None = None
    subject_id: str | None = None
    text: str | None = None
    before_s: float | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be started; see `TaskRecord`.

    Attributes:
        id: identifier, chosen by whoever starts it, so that starting it twice is one task.
        kind: what it does.
        subjects: what it is about, the main one first.
        params: what is asked for; plain data without secrets.
        requested_by: name of the user.
        lane: tasks of one lane run one after the other.
    """

    id: str
    kind: TaskKind
    subjects: tuple[Subject, ...]
    params: dict[str, Any]
    requested_by: str
    lane: str = ""
