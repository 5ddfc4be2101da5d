"""The way of a new user, from an empty appliance to the first published image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sekiso.i18n import mark
from sekiso.model.layer import LayerKind
from sekiso.model.library import ImageState, VersionState
from sekiso.model.paging import Listing
from sekiso.model.task import TaskFilter, TaskKind, TaskRecord, TaskState
from sekiso.web.services import Services

_ACTIVE = frozenset(state for state in TaskState if not state.ended)
_ONE = Listing(limit=1)


@dataclass(frozen=True, slots=True)
class Milestone:
    """One step of the way.

    Attributes:
        name: stable name.
        icon: its icon.
        title: what is to be done, English.
        text: why, and what it takes, English.
        button: what the button says, English.
        address: page where it is done.
        role: who may do it.
        is_done: whether it is done.
        is_next: whether it is the first that is not.
        task: the task that is doing it; None if there is none.
    """

    name: str
    icon: str
    title: str
    text: str
    button: str
    address: str
    role: str
    is_done: bool = False
    is_next: bool = False
    task: TaskRecord | None = None


_STEPS = (
    Milestone(
        "agent",
        "server-2",
        mark("Register an agent"),
        mark(
            "The agent runs on the Hyper-V server, or on a Linux machine with QEMU, and makes machines and "
            "disks there for the appliance."
        ),
        mark("Register an agent"),
        "/system/agents",
        "administrator",
    ),
    Milestone(
        "configuration",
        "plug-connected",
        mark("Add a connector configuration"),
        mark("It says where and how machines are created: agent, network, generation, storage path."),
        mark("Add a connector configuration"),
        "/connectors",
        "administrator",
    ),
    Milestone(
        "os",
        "package-import",
        mark("Import an operating system"),
        mark("A prepared machine or disk file at the agent's host becomes an OS layer."),
        mark("Import OS layer"),
        "/layers/import-os",
        "layer-manager",
    ),
    Milestone(
        "app",
        "packages",
        mark("Create an app layer"),
        mark("Install an application in a packaging machine; what it changes becomes a layer of its own."),
        mark("Create app layer"),
        "/layers/new?kind=app",
        "layer-manager",
    ),
    Milestone(
        "template",
        "stack-2",
        mark("Create an image template"),
        mark("Choose the OS layer, the app layers and the connector configuration of an image."),
        mark("Create image template"),
        "/images/templates/new",
        "layer-manager",
    ),
    Milestone(
        "image",
        "rocket",
        mark("Publish an image"),
        mark("The layers become one bootable disk and a machine at the storage path."),
        mark("Publish"),
        "/images/templates",
        "publisher",
    ),
)
#: Which tasks do which step.
_WORK = {
    "os": (TaskKind.IMPORT_OS,),
    "app": (TaskKind.CREATE_LAYER, TaskKind.FINALIZE_LAYER),
    "image": (TaskKind.PUBLISH_IMAGE,),
}


@dataclass(frozen=True, slots=True)
class Counts:
    """How many there are of what.

    Attributes:
        agents: registered agents.
        online: those of them that are connected.
        configurations: connector configurations.
        os_layers: OS layers with a deployable version.
        platform_layers: platform layers with a deployable version.
        app_layers: app layers with a deployable version.
        templates: image templates.
        images: published images.
    """

    agents: int
    online: int
    configurations: int
    os_layers: int
    platform_layers: int
    app_layers: int
    templates: int
    images: int


def count(use: Services) -> Counts:
    """Count what there is."""
    agents = [agent for agent in use.agents.list() if not agent.revoked]

    def layers(kind: LayerKind) -> int:
        return use.layers.page(kind=kind, state=VersionState.DEPLOYABLE, listing=_ONE).total

    return Counts(
        agents=len(agents),
        online=sum(agent.online for agent in agents),
        configurations=use.configurations.count(),
        os_layers=layers(LayerKind.OS),
        platform_layers=layers(LayerKind.PLATFORM),
        app_layers=layers(LayerKind.APP),
        templates=use.templates.page(_ONE).total,
        images=use.images.page(state=ImageState.PUBLISHED, listing=_ONE).total,
    )


def active_tasks(use: Services) -> Sequence[TaskRecord]:
    """Return the tasks that have not ended, newest first."""
    return use.tasks.list(TaskFilter(states=_ACTIVE, limit=100))


def steps(counts: Counts, active: Sequence[TaskRecord]) -> tuple[Milestone, ...]:
    """Return every step as it stands."""
    done = {
        "agent": counts.agents > 0,
        "configuration": counts.configurations > 0,
        "os": counts.os_layers > 0,
        "app": counts.app_layers > 0,
        "template": counts.templates > 0,
        "image": counts.images > 0,
    }
    following = next((step.name for step in _STEPS if not done[step.name]), "")
    return tuple(
        Milestone(
            step.name,
            step.icon,
            step.title,
            step.text,
            step.button,
            step.address,
            step.role,
            is_done=done[step.name],
            is_next=step.name == following,
            task=next((t for t in active if t.kind in _WORK.get(step.name, ())), None),
        )
        for step in _STEPS
    )
