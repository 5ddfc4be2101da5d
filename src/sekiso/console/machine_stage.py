"""How a packaging machine stands, as a person sees it, and what follows from it (LY-2, LY-8)."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sekiso.agent.contract import PackagingState
from sekiso.errors import SekisoError
from sekiso.hypervisors.facts import MachineState
from sekiso.i18n import mark
from sekiso.model.library import VersionRecord, VersionState
from sekiso.model.task import TaskKind, TaskRecord, TaskState


class Stage(enum.StrEnum):
    """What is going on."""

    MAKING = "making"
    """A task makes the machine."""
    UNMADE = "unmade"
    """The task that was to make it has failed."""
    WORKING = "working"
    """A task finalizes it or removes it."""
    UNREACHABLE = "unreachable"
    """Its agent cannot be asked."""
    GONE = "gone"
    """The agent has no such machine."""
    STARTING = "starting"
    INSTALLING = "installing"
    """It is on, for a person to install."""
    SCRIPT = "script"
    """It is on, and its run-once script works."""
    STOPPING = "stopping"
    PAUSED = "paused"
    CRITICAL = "critical"
    SAVED = "saved"
    UNFINISHED = "unfinished"
    """It is off, and its guest has left something unfinished."""
    UNREPORTED = "unreported"
    """It is off, and its guest has not said whether anything is unfinished."""
    READY = "ready"
    """It is off with nothing unfinished."""


_BY_STATE: Mapping[str, Stage] = {
    "": Stage.GONE,
    MachineState.STARTING: Stage.STARTING,
    MachineState.STOPPING: Stage.STOPPING,
    MachineState.PAUSED: Stage.PAUSED,
    MachineState.CRITICAL: Stage.CRITICAL,
    MachineState.SAVED: Stage.SAVED,
}
_STARTABLE = frozenset({Stage.SAVED, Stage.UNFINISHED, Stage.UNREPORTED, Stage.READY})
_ON = frozenset(
    {Stage.STARTING, Stage.INSTALLING, Stage.SCRIPT, Stage.STOPPING, Stage.PAUSED, Stage.CRITICAL}
)
_ANSWERING = frozenset({Stage.INSTALLING, Stage.SCRIPT})
_OFF = frozenset({Stage.UNFINISHED, Stage.UNREPORTED, Stage.READY})

#: What the integrity gate of a guest finds, by its code, in words.
_REASONS = {
    "dpkg-audit": mark("The package system reports problems"),
    "dpkg-interrupted": mark("An installation was interrupted"),
    "initramfs-missing": mark("A kernel has no initial RAM disk yet"),
    "install-running": mark("An installation is running"),
    "lock-held": mark("The package system is in use"),
    "package-awaits-trigger": mark("A package waits for another one"),
    "package-half-configured": mark("A package is not fully configured"),
    "package-half-installed": mark("A package is not fully installed"),
    "package-reinstall-required": mark("A package is broken and must be installed again"),
    "package-trigger-pending": mark("A package is not fully set up"),
    "package-unknown-state": mark("A package is in an unknown state"),
    "package-unpacked": mark("A package is unpacked but not configured"),
    "reboot-required": mark("The machine has to be restarted"),
    "trigger-pending": mark("The package system has work left"),
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that is unfinished in a guest.

    Attributes:
        title: what it is, English, translated where it is shown; empty if this console does not know it.
        detail: the object that it is about, and other data.
    """

    title: str
    detail: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How a packaging machine stands.

    Attributes:
        stage: what is going on.
        state: what the agent says; None if it cannot be asked or there is nothing to ask for.
        error: why the agent could not be asked.
        reasons: what the integrity gate found.
        task: the task that works on it, or that has failed and left it as it is.
        finalizes_itself: whether it is finalized as soon as it has shut down with nothing unfinished.
    """

    stage: Stage
    state: PackagingState | None = None
    error: SekisoError | None = None
    reasons: tuple[Reason, ...] = ()
    task: TaskRecord | None = None
    finalizes_itself: bool = False

    @property
    def is_on(self) -> bool:
        """Whether it has a screen."""
        return self.stage in _ON

    @property
    def can_start(self) -> bool:
        """Whether it can be started."""
        return self.stage in _STARTABLE

    @property
    def can_shut_down(self) -> bool:
        """Whether its guest can be asked to shut down."""
        return self.stage in _ANSWERING

    @property
    def can_finalize(self) -> bool:
        """Whether it can be finalized, if need be with the gate overridden."""
        return self.stage in _OFF

    @property
    def needs_override(self) -> bool:
        """Whether it can be finalized only with the gate overridden."""
        return self.stage is Stage.UNFINISHED

    @property
    def can_discard(self) -> bool:
        """Whether it can be given up."""
        return self.stage not in (Stage.MAKING, Stage.WORKING)


def reason_of(text: str) -> Reason:
    """Return what the gate found, of its form `code: detail`."""
    code, _, detail = text.partition(": ")
    return Reason(_REASONS[code], detail.strip()) if code in _REASONS else Reason("", text)


def before_asking(version: VersionRecord, tasks: Sequence[TaskRecord]) -> Standing | None:
    """Return how a machine stands where its agent need not be asked; None where it must be.

    Args:
        version: the version.
        tasks: those that are about it, newest first.
    """
    holder = next((task for task in tasks if task.id == version.holder_task_id), None)
    if version.packaging is None:
        making = next((t for t in tasks if t.kind is TaskKind.CREATE_LAYER), None)
        is_made = making is not None and not making.state.ended
        return Standing(Stage.MAKING if is_made else Stage.UNMADE, task=making)
    if version.holder_task_id is not None or version.state in (
        VersionState.FINALIZING,
        VersionState.DELETING,
    ):
        return Standing(Stage.WORKING, task=holder)
    return None


def standing_of(state: PackagingState, tasks: Sequence[TaskRecord]) -> Standing:
    """Return how a machine stands by what its agent says.

    Args:
        state: what the agent says.
        tasks: those that are about its version, newest first.
    """
    creation = next((task for task in tasks if task.kind is TaskKind.CREATE_LAYER), None)
    return Standing(
        _BY_STATE.get(state.state) or _stage_of(state),
        state,
        reasons=tuple(reason_of(text) for text in state.gate),
        task=failed_attempt(tasks),
        finalizes_itself=creation is not None and bool(creation.params.get("auto_finalize")),
    )


def failed_attempt(tasks: Sequence[TaskRecord]) -> TaskRecord | None:
    """Return the last attempt to finalize or discard, if it has failed."""
    latest = next((task for task in tasks if task.kind is not TaskKind.CREATE_LAYER), None)
    return latest if latest is not None and latest.state is TaskState.FAILED else None


def _stage_of(state: PackagingState) -> Stage:
    is_on = state.state != MachineState.OFF
    if is_on:
        return Stage.SCRIPT if state.run_once_running else Stage.INSTALLING
    if state.gate or state.run_once_running or state.run_once_failed:
        return Stage.UNFINISHED
    return Stage.READY if state.gate_known else Stage.UNREPORTED
