"""Canceled or failed at every step: what was half made goes, and nothing else (AG-5, LY-2, IM-2, OP-1)."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sekiso.agent.contract import SourceDisk
from sekiso.errors import RuleError
from sekiso.model.layer import LayerKind
from sekiso.model.library import VersionRecord, VersionState
from sekiso.model.task import TaskKind, TaskRecord, TaskState
from sekiso.services.layer_tasks import AddVersion, CreateLayer, ImportOs
from sekiso.tasks.errors import StoppingError, TaskStateError
from sekiso.tasks.flows import deps as deps_module
from sekiso.tasks.port import FlowContext

from ...support.appliance import MANAGER, PUBLISHER
from ...support.library import Library, open_library

pytestmark = pytest.mark.slow

MOMENTS = [(act, when) for act in ("cancel", "fail") for when in ("before", "after")]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    monkeypatch.setattr(deps_module, "_PAUSE_S", 0.01)
    with open_library() as found:
        yield found


@pytest.fixture
def os(library: Library) -> VersionRecord:
    return library.layer("Debian", LayerKind.OS, version="12")


def everything(library: Library) -> dict[str, Any]:
    """What there is, but for layers and cached disks at the agent, which the next task finds there."""
    scratch = library.core.state / "scratch"
    with library.core.db.read() as work:
        layers = work.layers.all()
        return {
            "layers": layers,
            "versions": [v for layer in layers for v in work.versions.of_layer(layer.id)],
            "images": work.images.all(),
            "files": library.store.list(),
            "scratch": sorted(p.name for p in scratch.iterdir()) if scratch.exists() else [],
            "pictures": sorted((library.core.state / "screenshots").glob("*")),
            "grants": library.appliance.grant_store.ids(),
            **library.host.left(),
        }


def disturb(library: Library, step: str, act: str, when: str, *, kind: TaskKind) -> Callable[[], bool]:
    """Cancel a task at a step, or have the step fail; once. Returns whether that has happened."""
    done: list[bool] = []

    def hook(now: str, moment: str, ctx: FlowContext) -> None:
        if (now, moment, ctx.task.kind) != (step, when, kind) or done:
            return
        done.append(True)
        if act == "fail":
            raise RuleError(field="x", reason="It fails here.", remedy="None.")
        library.engine.cancel(ctx.task.id)

    library.hook = hook
    return lambda: bool(done)


def steps_of(library: Library, kind: TaskKind, *without: str) -> list[str]:
    flow = next(flow for flow in library.flows() if flow.kind is kind)
    return [step.name for step in flow.steps if step.name not in without]


def each_moment(
    library: Library, kind: TaskKind, start: Callable[[], TaskRecord], *without: str
) -> Iterator[tuple[str, str, TaskRecord]]:
    """Disturb a task before, in and after every step that applies with offload."""
    for step in steps_of(library, kind, "compose", "send-disk", "pack", "import-here", *without):
        for act, when in MOMENTS:
            if (act, when) == ("fail", "before"):
                continue  # as canceled after the step before, which takes the same way
            happened = disturb(library, step, act, when, kind=kind)
            task = library.ended(start())
            assert happened(), step
            assert task.state is (TaskState.CANCELED if act == "cancel" else TaskState.FAILED), (step, when)
            if act == "fail":
                assert task.error is not None
                assert task.error["params"]["reason"] == "It fails here.", task.error
            yield step, f"{act} {when}", task
    library.hook = lambda step, when, ctx: None


def upload(library: Library) -> str:
    folder = library.core.state / "uploads"
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / "once.tar", "w") as archive:
        info = tarfile.TarInfo("run.sh")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"true\n"))
    return "once"


def test_create_layer(library: Library, os: VersionRecord) -> None:
    before = everything(library)
    last = None
    wish = CreateLayer(LayerKind.APP, "app", "1", "plain", os.id)
    start = lambda: library.layers.create(MANAGER, wish)  # noqa: E731
    for step, moment, task in each_moment(library, TaskKind.CREATE_LAYER, start, "run-once"):
        assert everything(library) == before, (step, moment)
        last = task
    assert last is not None
    again = library.wait(library.engine.retry(last.id))
    assert again.state is TaskState.ACTION_REQUIRED
    assert library.version(again.subjects[0].id).state is VersionState.EDITING
    assert set(library.host.packaging) == {again.subjects[0].id}


def test_create_layer_with_a_script(library: Library, os: VersionRecord) -> None:
    before = everything(library)
    wish = CreateLayer(LayerKind.APP, "app", "1", "plain", os.id, run_once_upload_id=upload(library))
    for act, when in MOMENTS:
        disturb(library, "run-once", act, when, kind=TaskKind.CREATE_LAYER)
        library.ended(library.layers.create(MANAGER, wish))
        assert everything(library) == before, (act, when)
    tar = library.core.state / "uploads/once.tar"
    assert tar.is_file()  # for a retry
    task = library.wait(library.layers.create(MANAGER, wish))
    assert task.action.endswith("runs its script. It is finalized when it has shut down.")
    version_id = task.subjects[0].id
    assert library.host.packaging[version_id].run_once == f"Tasks/{task.id}/run-once.raw"
    library.host.shut_down(version_id)
    library.complete(library.layers.finalize(MANAGER, version_id))
    library.ended(task)
    assert not tar.exists()


def test_add_version(library: Library, os: VersionRecord) -> None:
    library.layer("Office", on=os)
    before = everything(library)
    for step in ("prepare", "machine"):
        for act, when in MOMENTS:
            disturb(library, step, act, when, kind=TaskKind.CREATE_LAYER)
            library.ended(library.layers.add_version(MANAGER, "Office", AddVersion("2", "plain")))
            assert everything(library) == before, (step, act, when)


def test_import(library: Library) -> None:
    before = everything(library)
    wish = ImportOs("plain", SourceDisk("d"), "Debian", "12")
    last = None
    for step, moment, task in each_moment(
        library, TaskKind.IMPORT_OS, lambda: library.layers.import_os(MANAGER, wish)
    ):
        assert everything(library) == before, (step, moment)
        assert library.host.layers == set() or step == "import", (step, moment)
        library.host.layers.clear()
        last = task
    assert last is not None
    library.complete(library.engine.retry(last.id))
    assert library.layers.get("Debian").versions[0].version.state is VersionState.DEPLOYABLE


def test_publish(library: Library, os: VersionRecord) -> None:
    library.template(os, boot_test=True, keep_last=3)
    library.published("web")
    before = everything(library)
    last = None
    for step, moment, task in each_moment(
        library,
        TaskKind.PUBLISH_IMAGE,
        lambda: library.templates.publish(PUBLISHER, ("web",))[0],
    ):
        assert everything(library) == before, (step, moment)
        last = task
    assert last is not None
    library.complete(library.engine.retry(last.id))
    assert len(library.host.images) == 2


def test_finalize(library: Library, os: VersionRecord) -> None:
    """The machine stays as long as the version does not have what was done in it."""
    creation, version = library.created(os)
    library.host.shut_down(version.id)
    before = everything(library)
    for step in steps_of(library, TaskKind.FINALIZE_LAYER, "freeze", "boot-disk", "capture-here", "squash"):
        for act, when in MOMENTS:
            if step == "clean" or (step == "keep" and (act, when) != ("fail", "before")):
                continue  # it has been made then
            disturb(library, step, act, when, kind=TaskKind.FINALIZE_LAYER)
            library.ended(library.layers.finalize(MANAGER, version.id))
            now = everything(library)
            (kept,) = [v for v in now["versions"] if v.id == version.id]
            assert kept.state is VersionState.FINALIZABLE, (step, act, when)
            assert (kept.packaging, kept.holder_task_id) == (version.packaging, None)
            assert {**now, "versions": 0} == {**before, "versions": 0}, (step, act, when)
            assert library.host.packaging[version.id].state == "off"
    assert library.host.layers == {os.identity}
    assert library.task(creation).state is TaskState.COMPLETE
    library.hook = lambda step, when, ctx: None
    library.complete(library.layers.finalize(MANAGER, version.id))


@pytest.mark.parametrize(("step", "when"), [("keep", "after"), ("clean", "before"), ("clean", "after")])
def test_finalize_once_it_is_made(library: Library, os: VersionRecord, step: str, when: str) -> None:
    """A version that is deployable stays so, and its machine goes: nobody could remove it any more."""
    for number, act in enumerate(("cancel", "fail")):
        _, version = library.created(os, name=f"app{number}")
        library.host.shut_down(version.id)
        disturb(library, step, act, when, kind=TaskKind.FINALIZE_LAYER)
        library.ended(library.layers.finalize(MANAGER, version.id))
        done = library.version(version.id)
        if (step, act) == ("keep", "fail"):
            assert done.state is VersionState.DEPLOYABLE  # it was recorded before the step failed
        assert (done.state, done.packaging) == (VersionState.DEPLOYABLE, None)
        assert library.store.exists(done.identity or "")
        assert not any(library.host.left().values())


def test_the_agent_is_away_in_the_middle(library: Library, os: VersionRecord) -> None:
    away = library.appliance.agents_port.offline
    waited: list[str] = []

    def go(step: str, when: str, ctx: FlowContext) -> None:
        # The first step that asks the agent comes upon its absence; who waits for the log brings it back.
        if when == "before" and step not in waited:
            waited.append(step)
            away.add(library.agent_id)

    def come_back(task: TaskRecord) -> TaskRecord:
        for _ in range(4000):
            now = library.engine.wait(task.id, timeout_s=0.005)
            if now.state.ended or now.state is TaskState.ACTION_REQUIRED:
                away.clear()
                return library.wait(task)
            if library.log(task).count("The task waits for it.") > 0:
                away.clear()
        raise AssertionError(library.log(task))

    library.hook = go
    task = come_back(library.layers.create(MANAGER, CreateLayer(LayerKind.APP, "app", "1", "plain", os.id)))
    assert task.state is TaskState.ACTION_REQUIRED, task.error
    assert "The agent" in library.log(task)
    version_id = task.subjects[0].id
    library.host.shut_down(version_id)
    waited.clear()
    assert come_back(library.layers.finalize(MANAGER, version_id)).state is TaskState.COMPLETE
    library.template(os, app_version_ids=(version_id,))
    waited.clear()
    assert come_back(library.templates.publish(PUBLISHER, ("web",))[0]).state is TaskState.COMPLETE
    waited.clear()
    assert come_back(library.images.remove(PUBLISHER, library.all_images()[0].id)).state is TaskState.COMPLETE
    assert not any(library.host.left().values())


def test_canceled_while_the_agent_is_away(library: Library, os: VersionRecord) -> None:
    """What cannot be removed now is removed when the agent is back; until then the version is held."""
    before = everything(library)
    creation, version = library.created(os)
    library.appliance.agents_port.offline.add(library.agent_id)
    library.layers.discard(MANAGER, version.id)
    assert library.failed(creation)["code"] == "task.clean-up"
    held = library.version(version.id)
    assert (held.state, held.holder_task_id) == (VersionState.DELETING, creation.id)
    library.appliance.agents_port.offline.clear()
    library.restart()
    for _ in range(2000):
        if library.find(version.id) is None and not library.host.packaging:
            break
        library.engine.wait(creation.id, timeout_s=0.01)
    library.ended(creation)
    assert everything(library) == before


def test_retried_while_its_clean_up_is_due(library: Library, os: VersionRecord) -> None:
    creation, version = library.created(os)
    library.appliance.agents_port.offline.add(library.agent_id)
    library.layers.discard(MANAGER, version.id)
    library.failed(creation)
    library.appliance.agents_port.offline.clear()
    assert library.wait(library.engine.retry(creation.id)).state is TaskState.ACTION_REQUIRED
    again = library.version(version.id)
    assert (again.state, again.holder_task_id) == (VersionState.EDITING, None)
    assert again.packaging == version.packaging


def test_what_is_finalized_is_not_canceled(library: Library, os: VersionRecord) -> None:
    creation, version = library.created(os)
    library.host.shut_down(version.id)

    def cancel(step: str, when: str, ctx: FlowContext) -> None:
        if (step, when, ctx.task.kind) == ("check", "after", TaskKind.FINALIZE_LAYER):
            with pytest.raises(TaskStateError):
                library.engine.cancel(creation.id)

    library.hook = cancel
    library.complete(library.layers.finalize(MANAGER, version.id))
    assert library.version(version.id).state is VersionState.DEPLOYABLE


def test_canceled_while_it_is_finalized(library: Library, os: VersionRecord) -> None:
    """A clean-up that comes too late leaves what was made meanwhile."""
    creation, version = library.created(os)
    library.host.shut_down(version.id)

    def cancel(step: str, when: str, ctx: FlowContext) -> None:
        if (step, when, ctx.task.kind) == ("check", "before", TaskKind.FINALIZE_LAYER):
            library.engine.cancel(creation.id)
            assert library.failed(creation)["code"] == "task.clean-up"

    library.hook = cancel
    library.complete(library.layers.finalize(MANAGER, version.id))
    done = library.version(version.id)
    assert (done.state, done.packaging) == (VersionState.DEPLOYABLE, None)
    library.restart()
    for _ in range(1000):
        if (library.task(creation).error or {}).get("code") != "task.clean-up":
            break
        library.engine.wait(creation.id, timeout_s=0.01)
    library.ended(creation)
    assert (library.task(creation).error or {}).get("code") != "task.clean-up"
    assert library.version(version.id) == done


def test_the_agent_is_gone_for_good(library: Library, os: VersionRecord) -> None:
    """What it had cannot be removed there, but nothing here waits for it for ever."""
    _, begun = library.created(os, name="begun")
    _, stuck = library.created(os, name="stuck")
    library.host.shut_down(stuck.id)
    disturb(library, "capture", "fail", "before", kind=TaskKind.FINALIZE_LAYER)
    library.failed(library.layers.finalize(MANAGER, stuck.id))
    library.template(os)
    image = library.published("web")
    del library.appliance.agents_port._agents[library.agent_id]  # pyright: ignore[reportPrivateUsage]
    assert library.ended(library.layers.discard(MANAGER, begun.id)).state is TaskState.CANCELED
    library.complete(library.layers.discard(MANAGER, stuck.id))
    library.complete(library.images.remove(PUBLISHER, image.id))
    assert library.layer_names() == ["Debian"]
    assert library.all_images() == ()


def test_stopped_between_the_file_and_its_record(
    library: Library, os: VersionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The appliance ends when a layer file is in the store and its version does not know it yet."""
    adopt, cut = library.store.adopt, [True]

    def adopt_and_stop(path: Path) -> str:
        identity = adopt(path)
        if cut:
            cut.clear()
            raise StoppingError
        return identity

    monkeypatch.setattr(library.store, "adopt", adopt_and_stop)
    task = library.layers.import_os(MANAGER, ImportOs("plain", SourceDisk("d"), "Fedora", "40"))
    while cut:
        library.engine.wait(task.id, timeout_s=0.01)
    library.restart()
    library.complete(task)
    (version,) = library.layers.get("Fedora").versions
    assert version.version.state is VersionState.DEPLOYABLE
    assert library.store.exists(version.version.identity or "")


def test_a_file_that_no_version_got_does_not_stay(
    library: Library, os: VersionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopt = library.store.adopt

    def adopt_and_fail(path: Path) -> str:
        adopt(path)
        raise RuleError(field="x", reason="The disk is full.", remedy="None.")

    before = everything(library)
    monkeypatch.setattr(library.store, "adopt", adopt_and_fail)
    task = library.layers.import_os(MANAGER, ImportOs("plain", SourceDisk("d"), "Fedora", "40"))
    library.failed(task)
    assert everything(library) == before


def test_stopped_in_the_middle(library: Library, os: VersionRecord) -> None:
    """What was done is not done again, what was cut off is."""
    cut: list[str] = []

    def stop(step: str, when: str, ctx: FlowContext) -> None:
        if when == "after" and (ctx.task.id + step) not in cut:
            cut.append(ctx.task.id + step)
            raise StoppingError

    def through(task: TaskRecord) -> TaskRecord:
        while not ((now := library.engine.wait(task.id, timeout_s=0.05)).state.ended or now.action):
            library.restart()
        return now

    library.hook = stop
    task = through(library.layers.create(MANAGER, CreateLayer(LayerKind.APP, "app", "1", "plain", os.id)))
    assert task.state is TaskState.ACTION_REQUIRED, task.error
    version_id = task.subjects[0].id
    assert len(library.host.asked("packaging.create")) == 1
    library.host.shut_down(version_id)
    assert through(library.layers.finalize(MANAGER, version_id)).state is TaskState.COMPLETE
    assert len(library.host.asked("layer.capture")) == 1
    done = library.version(version_id)
    assert (done.state, done.packaging) == (VersionState.DEPLOYABLE, None)
    assert len(cut) == 12
    for removal in library.layers.remove(MANAGER, "app"):
        assert through(removal).state is TaskState.COMPLETE
    assert [layer.identity for layer in library.store.list()] == [os.identity]
