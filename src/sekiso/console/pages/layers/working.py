"""The tasks that work on layers now, as pages of layers show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sekiso.errors import NotFoundError
from sekiso.model.layer import LayerKind
from sekiso.model.task import Subject, SubjectKind, TaskFilter, TaskKind, TaskRecord, TaskState
from sekiso.web.services import Services

_ACTIVE = frozenset(state for state in TaskState if not state.ended)
_MAKING = frozenset({TaskKind.IMPORT_OS, TaskKind.CREATE_LAYER})
_OF_LAYERS = _MAKING | {TaskKind.FINALIZE_LAYER, TaskKind.DISCARD_PACKAGING, TaskKind.DELETE_LAYER_VERSION}
_MOST = 500


def working_tasks(use: Services, subject_id: str | None = None) -> Mapping[str, TaskRecord]:
    """Return the tasks that work on layers and have not ended, by identifier.

    Args:
        use: the services.
        subject_id: only those about this layer or version.
    """
    which = TaskFilter(states=_ACTIVE, kinds=_OF_LAYERS, subject_id=subject_id, limit=_MOST)
    return {task.id: task for task in use.tasks.list(which)}


def beginning(use: Services, kind: LayerKind, tasks: Iterable[TaskRecord]) -> Sequence[TaskRecord]:
    """Return the tasks that make a layer of a kind which is not in the list yet: they wait."""
    return [
        task for task in tasks if task.kind in _MAKING and _is_of(task, kind) and not _is_known(use, task)
    ]


def subject_of(task: TaskRecord, kind: SubjectKind) -> Subject | None:
    """Return what a task is about, of a kind."""
    return next((subject for subject in task.subjects if subject.kind is kind), None)


def _is_of(task: TaskRecord, kind: LayerKind) -> bool:
    params: dict[str, Any] = task.params.get("layer") or {}
    return params.get("kind") == kind.value


def _is_known(use: Services, task: TaskRecord) -> bool:
    layer = subject_of(task, SubjectKind.LAYER)
    try:
        use.layers.get(layer.id if layer is not None else "")
    except NotFoundError:
        return False
    return True
