"""Packaging machines: acting on them, and the watch that finalizes (LY-2, LY-8)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sekiso.errors import NotFoundError, RuleError
from sekiso.model.layer import LayerKind
from sekiso.model.library import VersionRecord, VersionState
from sekiso.model.task import TaskFilter, TaskKind, TaskRecord, TaskState
from sekiso.services.packaging_watch import PackagingWatch
from sekiso.tasks.port import FlowContext

from ...support.appliance import MANAGER
from ...support.library import Library, open_library
from ...support.model_agent import PNG

FINALIZING = TaskFilter(kinds=frozenset({TaskKind.FINALIZE_LAYER}))


@pytest.fixture
def library() -> Iterator[Library]:
    with open_library() as found:
        yield found


@pytest.fixture
def os(library: Library) -> VersionRecord:
    return library.layer("Debian", LayerKind.OS, version="12")


def waits(library: Library, os: VersionRecord, *, auto: bool, name: str = "app") -> tuple[TaskRecord, str]:
    task, version = library.created(os, name=name, auto_finalize=auto)
    return task, version.id


def finalizations(library: Library) -> list[TaskRecord]:
    return list(library.tasks(FINALIZING))


# --- acting on machines ---------------------------------------------------------------------------------


def test_a_machine_is_acted_upon(library: Library, os: VersionRecord) -> None:
    _, version_id = waits(library, os, auto=False)
    layers = library.layers
    assert layers.machine(version_id).state == "running"
    assert layers.shut_down_machine(MANAGER, version_id).state == "off"
    assert layers.machine(version_id).gate_known
    assert layers.start_machine(MANAGER, version_id).state == "running"
    assert layers.turn_off_machine(MANAGER, version_id).state == "off"
    assert not layers.machine(version_id).gate_known
    assert layers.screenshot(version_id) == PNG
    layers.press_keys(MANAGER, version_id, ["a", "enter"])
    assert library.host.packaging[version_id].keys == ["a", "enter"]
    assert library.appliance.actions()[1:] == ["packaging.shut-down", "packaging.start", "packaging.turn-off"]
    assert library.appliance.entries()[-1].subject_name == "app 1"
    for act in (layers.machine, layers.screenshot):
        with pytest.raises(NotFoundError, match="packaging machine"):
            act(os.id)
    with pytest.raises(NotFoundError):
        layers.machine("nothing")


# --- the watch ------------------------------------------------------------------------------------------


def test_a_machine_that_runs(library: Library, os: VersionRecord) -> None:
    creation, version_id = waits(library, os, auto=True)
    before = library.version(version_id)
    library.watch.look()
    assert library.version(version_id) == before
    library.host.packaging[version_id].gate_known = True
    library.watch.look()
    now = library.version(version_id)
    assert now.packaging is not None
    assert now.packaging.gate_known
    assert now.state is VersionState.EDITING
    assert library.task(creation).action == creation.action
    assert finalizations(library) == []


def test_a_script_that_runs(library: Library, os: VersionRecord) -> None:
    """Its guest reports while it works: what a person is told stays."""
    creation, version_id = waits(library, os, auto=False)
    with library.core.db.begin() as work:
        params = {**work.tasks.get(creation.id).params, "run_once": "upload", "auto_finalize": True}
        work.tasks.report(creation.id, params=params)
    library.host.packaging[version_id].running = ("setup",)
    library.watch.look()
    assert "runs its script. It is finalized when it has shut down." in library.task(creation).action


def test_something_is_unfinished(library: Library, os: VersionRecord) -> None:
    creation, version_id = waits(library, os, auto=True)
    library.host.shut_down(version_id, "packages: half", running=("setup",), failed=("other: exit 3",))
    library.watch.look()
    action = library.task(creation).action
    name = f"app 1 {version_id[:8]}"
    assert action.startswith(
        f"Something is unfinished in {name}: packages: half; setup; other: exit 3. Start"
    )
    assert library.version(version_id).state is VersionState.FINALIZABLE
    assert finalizations(library) == []
    # Started again it is edited again, and the reasons are no longer shown.
    library.layers.start_machine(MANAGER, version_id)
    library.host.packaging[version_id].running = library.host.packaging[version_id].failed = ()
    library.watch.look()
    assert library.version(version_id).state is VersionState.EDITING
    assert library.task(creation).action == creation.action
    library.host.shut_down(version_id)
    library.watch.look()
    (task,) = finalizations(library)
    library.complete(task)


def test_no_report(library: Library, os: VersionRecord) -> None:
    creation, version_id = waits(library, os, auto=True)
    library.layers.turn_off_machine(MANAGER, version_id)
    library.watch.look()
    assert "has shut down without a report of its guest: check it" in library.task(creation).action
    assert library.version(version_id).state is VersionState.FINALIZABLE
    assert finalizations(library) == []


def test_a_person_finalizes(library: Library, os: VersionRecord) -> None:
    creation, version_id = waits(library, os, auto=False)
    library.host.shut_down(version_id)
    library.watch.look()
    assert library.task(creation).action.endswith("has shut down: finalize the layer version.")
    assert finalizations(library) == []


def test_it_is_finalized_once(library: Library, os: VersionRecord) -> None:
    _, version_id = waits(library, os, auto=True)
    library.host.shut_down(version_id)
    library.engine.close()
    for _ in range(3):
        library.watch.look()
    (task,) = finalizations(library)
    assert task.requested_by == "appliance"
    assert library.appliance.entries()[-1].actor == "appliance"
    library.engine.launch(library.flows())
    library.complete(task)
    library.watch.look()
    assert library.version(version_id).state is VersionState.DEPLOYABLE
    assert len(finalizations(library)) == 1


def test_the_appliance_ends_between_record_and_finalization(library: Library, os: VersionRecord) -> None:
    _, version_id = waits(library, os, auto=True)
    library.host.shut_down(version_id)
    library.watch.look()
    (task,) = finalizations(library)
    library.complete(task)
    _, other_id = waits(library, os, auto=True, name="other")
    library.host.shut_down(other_id)
    facts = library.version(other_id).packaging
    assert facts is not None
    with library.core.db.begin() as work:  # what the first look recorded before the end
        seen = replace(facts, gate_known=True, shut_down=True)
        work.versions.replace(
            replace(library_version(work, other_id), packaging=seen, state=VersionState.FINALIZABLE)
        )
    PackagingWatch(library.layers).look()
    assert len(finalizations(library)) == 2


def library_version(work: object, version_id: str) -> VersionRecord:
    return work.versions.get(version_id)  # type: ignore[attr-defined, no-any-return]


def test_a_failed_finalization_is_left_to_a_person(library: Library, os: VersionRecord) -> None:
    creation, version_id = waits(library, os, auto=True)
    library.host.shut_down(version_id)

    def fail(step: str, when: str, ctx: FlowContext) -> None:
        if step == "capture":
            raise RuleError(field="x", reason="It fails.", remedy="None.")

    library.hook = fail
    library.watch.look()
    (task,) = finalizations(library)
    library.failed(task)
    for _ in range(3):
        library.watch.look()
    assert len(finalizations(library)) == 1
    assert library.version(version_id).state is VersionState.FINALIZABLE
    # The task that waited has ended when the capture began; nobody is asked for anything by it.
    library.layers.start_machine(MANAGER, version_id)
    library.watch.look()
    assert library.version(version_id).state is VersionState.EDITING
    assert (library.task(creation).state, library.task(creation).action) == (TaskState.COMPLETE, "")
    library.hook = lambda step, when, ctx: None
    library.host.shut_down(version_id)
    library.watch.look()
    assert len(finalizations(library)) == 1
    library.complete(library.layers.finalize(MANAGER, version_id))


def test_a_retried_creation_is_finalized_anew(library: Library, os: VersionRecord) -> None:
    creation, version_id = waits(library, os, auto=True)
    library.host.shut_down(version_id)

    def fail(step: str, when: str, ctx: FlowContext) -> None:
        if step == "check":
            raise RuleError(field="x", reason="It fails.", remedy="None.")

    library.hook = fail
    library.watch.look()
    library.failed(finalizations(library)[0])
    library.hook = lambda step, when, ctx: None
    library.ended(library.layers.discard(MANAGER, version_id))
    assert library.wait(library.engine.retry(creation.id)).state is TaskState.ACTION_REQUIRED
    library.host.shut_down(version_id)
    library.watch.look()
    (second,) = (task for task in finalizations(library) if task.state is not TaskState.FAILED)
    library.complete(second)
    assert library.version(version_id).state is VersionState.DEPLOYABLE


def test_the_agent_is_offline(library: Library, os: VersionRecord) -> None:
    creation, version_id = waits(library, os, auto=True)
    before = library.version(version_id)
    library.host.shut_down(version_id)
    library.appliance.agents_port.offline.add(library.agent_id)
    library.watch.look()
    assert library.version(version_id) == before
    assert library.task(creation).action == creation.action
    assert finalizations(library) == []
    library.appliance.agents_port.offline.clear()
    library.watch.look()
    assert len(finalizations(library)) == 1


def test_one_agent_that_fails_hinders_no_other(library: Library, os: VersionRecord) -> None:
    _, version_id = waits(library, os, auto=True)
    other_id, other = library.add_host("hv02")
    library.configuration("second", agent=other_id)
    _, second = library.created(os, name="second", configuration="second", auto_finalize=True)
    for host, version in ((library.host, version_id), (other, second.id)):
        host.shut_down(version)

    def fail(method: str, params: object) -> None:
        if method == "packaging.states":
            raise RuleError(field="x", reason="It fails.", remedy="None.")

    for broken in (library.host, other):
        broken.before = fail
        library.watch.look()
        broken.before = lambda method, params: None
    assert len(finalizations(library)) == 2


def test_one_version_that_fails_hinders_no_other(
    library: Library, os: VersionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [waits(library, os, auto=True, name=name)[1] for name in ("a", "b", "c")]
    for version_id in ids:
        library.host.shut_down(version_id)
    creation_of = library.layers.creation_of

    def forgotten(version_id: str) -> TaskRecord:
        if version_id == ids[0]:
            raise NotFoundError(what="The task", name="x", remedy="None.")
        return creation_of(version_id)

    monkeypatch.setattr(library.layers, "creation_of", forgotten)
    library.watch.look()
    assert {t.subjects[0].id for t in finalizations(library)} == set(ids[1:])


def test_a_machine_that_is_off_before_its_task_waits(library: Library, os: VersionRecord) -> None:
    """The version is let go of while its task still cleans up: the watch leaves it alone until it waits."""
    looked: list[VersionState] = []

    def look(step: str, when: str, ctx: FlowContext) -> None:
        if (step, when) == ("remember", "after"):
            version_id = ctx.task.subjects[0].id
            library.host.shut_down(version_id)
            library.watch.look()
            looked.append(library.version(version_id).state)

    library.hook = look
    creation, version_id = waits(library, os, auto=True)
    assert looked == [VersionState.EDITING]
    assert finalizations(library) == []
    library.watch.look()
    library.complete(finalizations(library)[0])
    assert library.task(creation).state is TaskState.COMPLETE
    assert library.version(version_id).state is VersionState.DEPLOYABLE


def test_a_version_that_a_task_has_taken_meanwhile(library: Library, os: VersionRecord) -> None:
    creation, version_id = waits(library, os, auto=True)
    library.host.shut_down(version_id)

    def take(method: str, params: object) -> None:
        if method == "packaging.states":
            with library.core.db.begin() as work:
                work.versions.hold(version_id, creation.id)

    library.host.after = take
    library.watch.look()
    assert library.version(version_id).state is VersionState.EDITING
    assert finalizations(library) == []


def test_the_thread(library: Library, os: VersionRecord, caplog: pytest.LogCaptureFixture) -> None:
    watch = PackagingWatch(library.layers, every_s=0.01)
    looked, again = threading.Event(), threading.Event()
    really = watch.look

    def look() -> None:
        if not looked.is_set():
            looked.set()
            raise ValueError("it meets something")
        really()
        again.set()

    watch.look = look  # type: ignore[method-assign]
    watch.start()
    assert again.wait(10)
    watch.stop()
    watch.stop()
    assert "could not be looked at" in caplog.text
    PackagingWatch(library.layers).stop()
