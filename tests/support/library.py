"""An appliance with layers: the real flows over the task engine in memory, and agents that are models."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sekiso.agent.granting import TransferAccess
from sekiso.model.connector import TransferPolicy, TransferScheme
from sekiso.model.layer import GuestFamily, LayerKind
from sekiso.model.library import (
    ConfigurationRecord,
    ImageRecord,
    LayerRecord,
    VersionRecord,
    VersionState,
)
from sekiso.model.machine import Generation
from sekiso.model.task import TaskFilter, TaskRecord, TaskState
from sekiso.services.core import Core
from sekiso.services.images import ImageService
from sekiso.services.layer_tasks import CreateLayer
from sekiso.services.packaging import LayerService
from sekiso.services.packaging_watch import PackagingWatch
from sekiso.services.templates import TemplateService, TemplateView, TemplateWish
from sekiso.store.database.api import UnitOfWork
from sekiso.store.layers import LayerStore
from sekiso.tasks.flows.deps import Deps
from sekiso.tasks.flows.registry import all_flows
from sekiso.tasks.memory import MemoryEngine, MemoryStore
from sekiso.tasks.port import Flow, FlowContext, Step, StepResult
from sekiso.tasks.progress import Pace

from .appliance import HOST, MANAGER, PUBLISHER, Appliance, open_appliance, state_folder
from .model_agent import ModelAgent, write_layer

#: So much a task may take; far more than it does.
LONG_S = 20.0
QUICK = Pace(report_s=0.5, canceled_s=0.02, tries=2, backoff_s=0.01)

#: Called around every step of every flow: name of the step, `before` or `after`, and its context.
Hook = Callable[[str, str, FlowContext], None]


@dataclass
class Library:
    """The services of the library and what lies below them."""

    appliance: Appliance
    core: Core
    engine: MemoryEngine
    works: MemoryStore
    deps: Deps
    store: LayerStore
    layers: LayerService
    templates: TemplateService
    images: ImageService
    watch: PackagingWatch
    agent_id: str
    host: ModelAgent
    made: Path
    hook: Hook = lambda step, when, ctx: None
    hooked: list[str] = field(default_factory=list[str])

    # --- what there is ------------------------------------------------------------------------------------

    def add_host(self, name: str) -> tuple[str, ModelAgent]:
        """Register one more agent."""
        folder = self.made / name
        folder.mkdir()
        model = ModelAgent(folder, self.appliance.grants, HOST)
        return self.appliance.add_agent(name, dispatcher=model).id, model

    def configuration(self, name: str = "plain", **settings: Any) -> ConfigurationRecord:
        """Store a connector configuration; with offload unless something else is said."""
        values: dict[str, Any] = {
            "name": name,
            "agent": "hv01",
            "storage_path": r"C:\Sekiso",
            "cpus": 2,
            "memory_mb": 1024,
            "network": "LAN",
            "offload": True,
            **settings,
        }
        record = ConfigurationRecord(str(uuid.uuid4()), "hyperv", name, values, self.now(), self.now())
        with self.core.db.begin() as work:
            work.configurations.add(record)
        return record

    def layer(
        self,
        name: str,
        kind: LayerKind = LayerKind.APP,
        *,
        on: VersionRecord | None = None,
        priority: int | None = None,
        version: str = "1",
        bases: tuple[str, ...] = (),
    ) -> VersionRecord:
        """Store a layer with one deployable version, as if its tasks were long over."""
        path = self.made / f"{uuid.uuid4()}.wim"
        write_layer(path, name, version, kind, f"{kind} {name} {version}".encode())
        file_bytes = path.stat().st_size
        identity = self.store.adopt(path)
        with self.core.db.begin() as work:
            os_layer_id = None if on is None else work.versions.get(on.id).layer_id
            number = (
                (work.layers.next_priority() if kind is LayerKind.APP else 0)
                if priority is None
                else priority
            )
            layer = LayerRecord(
                str(uuid.uuid4()), kind, name, "", "", number, GuestFamily.LINUX, os_layer_id, self.now()
            )
            work.layers.add(layer)
            record = VersionRecord(
                str(uuid.uuid4()),
                layer.id,
                version,
                "",
                VersionState.DEPLOYABLE,
                Generation.ONE,
                identity,
                file_bytes,
                20,
                bases if on is None else (on.id, *bases),
                created_s=self.now(),
            )
            work.versions.add(record)
        return record

    def now(self) -> float:
        """Return the time, which goes on by a second."""
        self.appliance.clock.now_s += 1
        return self.appliance.clock.now_s

    def version(self, version_id: str) -> VersionRecord:
        """Return a version as it is stored now."""
        with self.core.db.read() as work:
            return work.versions.get(version_id)

    def find(self, version_id: str) -> VersionRecord | None:
        """Return a version, if there is one."""
        with self.core.db.read() as work:
            return work.versions.find(version_id)

    def layer_names(self) -> list[str]:
        """Return the names of all layers."""
        with self.core.db.read() as work:
            return [layer.name for layer in work.layers.all()]

    def all_images(self) -> Sequence[ImageRecord]:
        """Return all images."""
        with self.core.db.read() as work:
            return work.images.all()

    def tasks(self, which: TaskFilter | None = None) -> Sequence[TaskRecord]:
        """Return tasks, newest first."""
        with self.core.db.read() as work:
            return work.tasks.list(which or TaskFilter())

    def log(self, task: TaskRecord) -> str:
        """Return the log of a task."""
        with self.core.db.read() as work:
            return "\n".join(line.text for line in work.tasks.log_lines(task.id))

    # --- what is done -------------------------------------------------------------------------------------

    def wait(self, task: TaskRecord) -> TaskRecord:
        """Wait until a task has ended or waits for a person."""
        found = self.engine.wait(task.id, timeout_s=LONG_S)
        assert found.state.ended or found.state is TaskState.ACTION_REQUIRED, found
        return found

    def ended(self, task: TaskRecord) -> TaskRecord:
        """Wait until a task has ended, its clean-up too."""
        found = self.wait(task)
        while not found.state.ended:
            assert found.state is not TaskState.ACTION_REQUIRED, found
            found = self.engine.wait(task.id, timeout_s=LONG_S)
        self._settle_down(task)
        return self.task(task)

    def _settle_down(self, task: TaskRecord) -> None:
        """Wait until no work of a task is left."""
        for _ in range(2000):
            with self.works.lock:
                if all(w.state == "over" for w in self.works.works.values() if w.task_id == task.id):
                    return
            self.engine._wait_for_change(0.01)  # pyright: ignore[reportPrivateUsage]
        raise AssertionError("work does not end")

    def complete(self, task: TaskRecord) -> TaskRecord:
        """Wait until a task has ended well."""
        found = self.ended(task)
        assert found.state is TaskState.COMPLETE, found.error
        return found

    def failed(self, task: TaskRecord) -> dict[str, Any]:
        """Wait until a task has failed, and return its error."""
        found = self.ended(task)
        assert found.state is TaskState.FAILED
        assert found.error is not None
        return found.error

    def task(self, task: TaskRecord) -> TaskRecord:
        """Return a task as it is now."""
        with self.core.db.read() as work:
            return work.tasks.get(task.id)

    def created(self, os: VersionRecord, **wish: Any) -> tuple[TaskRecord, VersionRecord]:
        """Make a layer as far as its packaging machine."""
        values: dict[str, Any] = {
            "kind": LayerKind.APP,
            "name": "app",
            "version": "1",
            "configuration": "plain",
            "os_version_id": os.id,
            "auto_finalize": False,
            **wish,
        }
        task = self.wait(self.layers.create(MANAGER, CreateLayer(**values)))
        assert task.state is TaskState.ACTION_REQUIRED, task.error
        return task, self.version(task.subjects[0].id)

    def template(self, os: VersionRecord, name: str = "web", **wish: Any) -> TemplateView:
        """Make a template."""
        values: dict[str, Any] = {"configuration": "plain", "os_version_id": os.id, **wish}
        return self.templates.create(PUBLISHER, TemplateWish(name, **values))

    def published(self, reference: str) -> ImageRecord:
        """Publish one image."""
        (task,) = self.templates.publish(PUBLISHER, (reference,))
        done = self.complete(task)
        self.now()
        return next(i for i in self.all_images() if i.id == done.subjects[0].id)

    def restart(self) -> None:
        """Have the task engine begin again with what is stored, as after a restart of the appliance."""
        self.engine.close()
        self.engine.launch(self.flows())

    def flows(self) -> tuple[Flow, ...]:
        """Return the flows, each step of which calls the hook."""
        return tuple(
            replace(flow, steps=tuple(self._hooked(step) for step in flow.steps))
            for flow in all_flows(self.deps)
        )

    def _hooked(self, step: Step) -> Step:
        def run(ctx: FlowContext) -> StepResult:
            self.hooked.append(step.name)
            self.hook(step.name, "before", ctx)
            result = step.run(ctx)
            self.hook(step.name, "after", ctx)
            return result

        return replace(step, run=run)


def _forbid_nesting(appliance: Appliance) -> None:
    """Have a transaction inside another one of its thread fail, instead of waiting for itself."""
    begin, inside = appliance.db.begin, threading.local()

    @contextmanager
    def begin_once() -> Iterator[UnitOfWork]:
        assert not getattr(inside, "now", False), "a transaction inside a transaction"
        with begin() as work:
            inside.now = True
            try:
                yield work
            finally:
                inside.now = False

    appliance.db.begin = begin_once  # type: ignore[method-assign]  # pyright: ignore[reportAttributeAccessIssue]


@contextmanager
def open_library() -> Iterator[Library]:
    """Put an appliance with one agent and one configuration together, and let it work."""
    with state_folder() as folder, open_appliance(folder) as appliance:
        _forbid_nesting(appliance)
        works = MemoryStore()
        engine = MemoryEngine(appliance.db, store=works, pace=QUICK, clock=appliance.clock)
        core = Core(appliance.db, appliance.agents_port, engine, appliance.state, appliance.clock)
        store = LayerStore(appliance.state / "layers")
        made = appliance.state / "made"
        made.mkdir()
        policy = TransferPolicy(TransferScheme.HTTPS, verify=True)
        deps = Deps(
            db=appliance.db,
            agents=appliance.agents_port,
            layers=store,
            access=TransferAccess(appliance.grants, 1, 2),
            policy=lambda: policy,
            settle=engine.settle,
            state=appliance.state,
            clock=appliance.clock,
        )
        layers = LayerService(core, store)
        host = ModelAgent(made, appliance.grants, HOST)
        agent_id = appliance.add_agent(dispatcher=host).id
        library = Library(
            appliance=appliance,
            core=core,
            engine=engine,
            works=works,
            deps=deps,
            store=store,
            layers=layers,
            templates=TemplateService(core, store),
            images=ImageService(core),
            watch=PackagingWatch(layers),
            agent_id=agent_id,
            host=host,
            made=made,
        )
        library.configuration()
        engine.launch(library.flows())
        try:
            yield library
        finally:
            engine.close()
