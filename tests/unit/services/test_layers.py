"""Layers and versions: what is refused, what is shown, and the whole way of a version (LY-1 … LY-4, LY-7)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sekiso.agent.contract import SourceDisk
from sekiso.connectors.errors import ConfigurationInvalidError
from sekiso.errors import AlreadyExistsError, BusyError, InUseError, NotFoundError, RuleError
from sekiso.model.layer import GuestFamily, LayerKind
from sekiso.model.library import PackagingFacts, VersionRecord, VersionState
from sekiso.model.machine import Generation
from sekiso.model.task import SubjectKind, TaskKind, TaskState
from sekiso.services.core import NotAllowedError
from sekiso.services.layer_tasks import AddVersion, CreateLayer, ImportOs
from sekiso.store.layer_file import LayerFile
from sekiso.tasks.errors import StoppingError
from sekiso.tasks.flows.keeping import VersionNotReadyError
from sekiso.tasks.flows.params import CreateLayerTask, unpack
from sekiso.tasks.port import FlowContext

from ...support.appliance import MANAGER, PUBLISHER
from ...support.library import Library, open_library


@pytest.fixture
def library() -> Iterator[Library]:
    with open_library() as found:
        yield found


@pytest.fixture
def os(library: Library) -> VersionRecord:
    return library.layer("Debian", LayerKind.OS, version="12")


DISK = SourceDisk(disk_path=r"D:\debian.vhdx")


def wish_os(**changes: Any) -> ImportOs:
    return replace(ImportOs("plain", DISK, "Debian", "12", notes="stable", icon="debian"), **changes)


def wish_layer(os: VersionRecord, **changes: Any) -> CreateLayer:
    return replace(CreateLayer(LayerKind.APP, "app", "1", "plain", os.id), **changes)


# --- import -----------------------------------------------------------------------------------------------


def test_an_operating_system_becomes_a_layer(library: Library) -> None:
    task = library.complete(library.layers.import_os(MANAGER, wish_os()))
    view = library.layers.get("debian")
    (version,) = view.versions
    assert (view.layer.kind, view.layer.notes, view.layer.icon) == (LayerKind.OS, "stable", "debian")
    assert view.layer.family is GuestFamily.LINUX
    assert (version.version.state, version.version.holder_task_id) == (VersionState.DEPLOYABLE, None)
    assert task.result == {"version_id": version.version.id, "layer_id": view.layer.id}
    assert [s.kind for s in task.subjects] == [
        SubjectKind.LAYER_VERSION,
        SubjectKind.LAYER,
        SubjectKind.CONFIGURATION,
    ]
    path = library.layers.export(version.version.id)
    assert path.stat().st_size == view.file_bytes == version.version.file_bytes
    with LayerFile(path) as layer:
        assert layer.manifest.identity == version.version.identity
    assert library.host.left()["scratch"] == {}
    assert list((library.core.state / "scratch").iterdir()) == []
    assert library.appliance.grant_store.ids() == []
    assert library.appliance.actions()[-1] == "layer.import-os"


def test_an_os_layer_that_exists_gets_a_version(library: Library, os: VersionRecord) -> None:
    library.now()  # versions are listed by age
    library.complete(library.layers.import_os(MANAGER, wish_os(name="DEBIAN", version="13")))
    view = library.layers.get("Debian", LayerKind.OS)
    assert sorted(v.version.name for v in view.versions) == ["12", "13"]
    assert view.layer.notes == ""
    assert library.layer_names() == ["Debian"]


def test_the_same_system_twice_at_once(library: Library) -> None:
    """Both are accepted as a new layer; one of them makes it."""
    library.engine.close()
    tasks = [library.layers.import_os(MANAGER, wish_os()) for _ in range(2)]
    library.engine.launch(library.flows())
    states = sorted(library.ended(task).state for task in tasks)
    assert states == [TaskState.COMPLETE, TaskState.FAILED]
    assert [v.version.state for v in library.layers.get("Debian").versions] == [VersionState.DEPLOYABLE]
    assert len(library.store.list()) == 1


IMPORTS_THAT_ARE_REFUSED: list[tuple[dict[str, Any], type[Exception], str | None]] = [
    ({"source": SourceDisk()}, RuleError, "source"),
    ({"source": SourceDisk("a", "b")}, RuleError, "source"),
    ({"name": "a/b"}, RuleError, "name"),
    ({"version": "12."}, RuleError, "version"),
    ({"name": "Fedora", "icon": "../x"}, RuleError, "icon"),
    ({"name": "Fedora", "notes": "x" * 5000}, RuleError, "notes"),
    ({"version": "12"}, AlreadyExistsError, None),
    ({"version": "12", "name": "dEBIAN"}, AlreadyExistsError, None),
    ({"configuration": "nowhere"}, NotFoundError, None),
]


def test_imports_that_are_refused(library: Library, os: VersionRecord) -> None:
    for changes, error, field in IMPORTS_THAT_ARE_REFUSED:
        with pytest.raises(error) as refused:
            library.layers.import_os(MANAGER, wish_os(**{"version": "13", **changes}))
        if field is not None:
            assert refused.value.params["field"] == field  # type: ignore[attr-defined]
    assert library.tasks() == ()
    assert library.appliance.actions() == []


# --- create -----------------------------------------------------------------------------------------------


def test_a_version_on_its_whole_way(library: Library, os: VersionRecord) -> None:
    """LY-4: editing while it is made, finalizable, finalizing, deployable."""
    seen: list[tuple[str, VersionState, str]] = []

    def look(step: str, when: str, ctx: FlowContext) -> None:
        version = library.find(ctx.task.subjects[0].id)
        if version is not None and when == "after":
            assert version.holder_task_id == ctx.task.id or step == "remember"
            seen.append((step, version.state, "made" if version.packaging else ""))

    library.hook = look
    creation, version = library.created(os, notes="what it is for")
    assert seen == [
        ("prepare", VersionState.EDITING, ""),
        ("look", VersionState.EDITING, ""),
        ("layers", VersionState.EDITING, ""),
        ("place", VersionState.EDITING, ""),
        ("machine", VersionState.EDITING, ""),
        ("remember", VersionState.EDITING, "made"),
    ]
    assert version.packaging == PackagingFacts(
        creation.lane, library.agent_id, r"C:\Sekiso", f"m-{version.id[:8]}", f"app 1 {version.id[:8]}"
    )
    assert version.base_version_ids == (os.id,)
    assert creation.action.startswith(
        f"Install what the layer is to hold in the packaging machine app 1 {version.id[:8]}"
    )
    assert library.host.layers == {os.identity}
    library.host.shut_down(version.id)
    library.watch.look()
    assert library.version(version.id).state is VersionState.FINALIZABLE
    seen.clear()
    task = library.complete(library.layers.finalize(MANAGER, version.id))
    assert [state for _, state, _ in seen] == [
        *[VersionState.FINALIZING] * 4,
        VersionState.DEPLOYABLE,
        VersionState.DEPLOYABLE,
    ]
    done = library.version(version.id)
    assert (done.packaging, done.holder_task_id, done.file_bytes > 0) == (None, None, True)
    assert task.result == {"version_id": version.id, "identity": done.identity}
    assert library.task(creation).state is TaskState.COMPLETE
    assert library.task(creation).action == ""
    assert done.identity in library.host.layers
    assert not any(library.host.left().values())
    view = library.layers.version(version.id)
    assert (view.layer_name, view.kind, view.made_on) == ("app", LayerKind.APP, ("Debian 12",))
    assert [u.name for u in library.layers.version(os.id).used_by] == ["app 1"]
    assert [view.layer.name for view in library.layers.list(LayerKind.APP)] == ["app"]
    assert library.layers.get("app").os_layer_name == "Debian"


def test_what_a_layer_is_made_of(library: Library, os: VersionRecord) -> None:
    low = library.layer("low", on=os, priority=7)
    high = library.layer("high", on=os, priority=8)
    _, version = library.created(os, prerequisite_version_ids=(high.id, low.id))
    assert version.base_version_ids == (os.id, low.id, high.id)
    params = unpack(library.tasks()[0].params, CreateLayerTask)
    assert params.recipe.identities == (os.identity, low.identity, high.identity)
    assert params.recipe.created_s == int(high.created_s)
    assert params.layer.priority == 9
    assert params.layer.os_layer_id == os.layer_id


def test_priorities(library: Library, os: VersionRecord) -> None:
    library.created(os, name="chosen", priority=77)
    library.created(os, name="above")
    library.created(os, name="drivers", kind=LayerKind.PLATFORM)
    assert [library.layers.get(n).layer.priority for n in ("chosen", "above", "drivers")] == [77, 78, 0]


def test_automatic_by_offload(library: Library, os: VersionRecord) -> None:
    library.engine.close()
    library.configuration("slow", offload=False)
    for configuration, asked, wanted in (
        ("plain", None, True),
        ("plain", False, False),
        ("slow", None, False),
        ("slow", True, True),
    ):
        wish = wish_layer(os, configuration=configuration, auto_finalize=asked)
        task = library.layers.create(MANAGER, wish)
        assert unpack(task.params, CreateLayerTask).auto_finalize is wanted


LAYERS_THAT_ARE_REFUSED: list[tuple[dict[str, Any], type[Exception], str | None]] = [
    ({"kind": LayerKind.OS}, RuleError, "kind"),
    ({"name": "a:b"}, RuleError, "name"),
    ({"version": ""}, RuleError, "version"),
    ({"notes": "x" * 5000}, RuleError, "notes"),
    ({"icon": "a b"}, RuleError, "icon"),
    ({"priority": -1}, RuleError, "priority"),
    ({"priority": 1_000_001}, RuleError, "priority"),
    ({"kind": LayerKind.PLATFORM, "priority": 1}, RuleError, "priority"),
    ({"name": "OFFICE"}, AlreadyExistsError, None),
    ({"configuration": "nowhere"}, NotFoundError, None),
    ({"os_version_id": "nothing"}, NotFoundError, None),
    ({"prerequisite_version_ids": ("nothing",)}, NotFoundError, None),
    ({"run_once_upload_id": "0"}, NotFoundError, None),
    ({"configuration": "broken"}, ConfigurationInvalidError, None),
]


def test_layers_that_are_refused(library: Library, os: VersionRecord) -> None:
    library.layer("Office", on=os)
    library.configuration("broken", template_vm="gone")
    for changes, error, field in LAYERS_THAT_ARE_REFUSED:
        with pytest.raises(error) as refused:
            library.layers.create(MANAGER, wish_layer(os, **changes))
        if field is not None:
            assert refused.value.params["field"] == field  # type: ignore[attr-defined]
    assert library.tasks() == ()
    assert library.appliance.actions() == []


def test_kinds_of_what_a_layer_is_made_on(library: Library, os: VersionRecord) -> None:
    app = library.layer("Office", on=os)
    platform = library.layer("drivers", LayerKind.PLATFORM, on=os)
    other = library.layer("Fedora", LayerKind.OS)
    foreign = library.layer("Gimp", on=other)
    for changes, field in (
        ({"os_version_id": app.id}, "os_version_id"),
        ({"prerequisite_version_ids": (platform.id,)}, "prerequisite_version_ids"),
        ({"prerequisite_version_ids": (os.id,)}, "prerequisite_version_ids"),
        ({"prerequisite_version_ids": (app.id, app.id)}, "prerequisite_version_ids"),
        ({"prerequisite_version_ids": (foreign.id,)}, "prerequisite_version_ids"),
    ):
        with pytest.raises(RuleError) as refused:
            library.layers.create(MANAGER, wish_layer(os, **changes))
        assert refused.value.params["field"] == field


def test_a_base_that_is_not_deployable(library: Library, os: VersionRecord) -> None:
    _, begun = library.created(os)
    with pytest.raises(VersionNotReadyError):
        library.layers.create(MANAGER, wish_layer(os, name="b", prerequisite_version_ids=(begun.id,)))


def test_a_base_that_goes_before_the_task_begins(library: Library, os: VersionRecord) -> None:
    app = library.layer("Office", on=os)
    library.engine.close()
    task = library.layers.create(MANAGER, wish_layer(os, prerequisite_version_ids=(app.id,)))
    with library.core.db.begin() as work:
        work.versions.replace(replace(app, state=VersionState.BROKEN))
    library.engine.launch(library.flows())
    assert library.failed(task)["code"] == "layer-version.not-ready"
    assert library.layer_names() == ["Debian", "Office"]
    assert library.host.served == []


def test_the_same_layer_twice_at_once(library: Library, os: VersionRecord) -> None:
    """What could not even be recorded is undone without the agent, which may be away."""
    library.engine.close()
    tasks = [library.layers.create(MANAGER, wish_layer(os)) for _ in range(2)]
    library.appliance.agents_port.offline.add(library.agent_id)
    library.engine.launch(library.flows())
    while not (ended := [t for t in tasks if library.task(t).state.ended]):
        time.sleep(0.001)
    assert library.failed(ended[0])["code"] == "already-exists"
    library.appliance.agents_port.offline.clear()
    (other,) = (t for t in tasks if t is not ended[0])
    assert library.wait(other).state is TaskState.ACTION_REQUIRED
    assert library.layer_names() == ["app", "Debian"]
    assert set(library.host.packaging) == {other.subjects[0].id}


def test_roles(library: Library, os: VersionRecord) -> None:
    layers = library.layers
    for act in (
        lambda: layers.import_os(PUBLISHER, wish_os()),
        lambda: layers.create(PUBLISHER, wish_layer(os)),
        lambda: layers.add_version(PUBLISHER, os.layer_id, AddVersion("2", "plain")),
        lambda: layers.finalize(PUBLISHER, os.id),
        lambda: layers.discard(PUBLISHER, os.id),
        lambda: layers.start_machine(PUBLISHER, os.id),
        lambda: layers.press_keys(PUBLISHER, os.id, ["a"]),
        lambda: layers.change(PUBLISHER, os.layer_id, notes="x"),
        lambda: layers.clone(PUBLISHER, os.layer_id, "x"),
        lambda: layers.remove(PUBLISHER, os.layer_id),
        lambda: layers.remove_version(PUBLISHER, os.id),
    ):
        with pytest.raises(NotAllowedError):
            act()
    assert library.appliance.actions() == []


# --- more versions ----------------------------------------------------------------------------------------


def add(library: Library, reference: str, name: str = "2", **wish: Any) -> VersionRecord:
    task = library.wait(library.layers.add_version(MANAGER, reference, AddVersion(name, "plain", **wish)))
    assert task.state is TaskState.ACTION_REQUIRED, task.error
    return library.version(task.subjects[0].id)


def test_a_version_continues_the_newest_one(library: Library, os: VersionRecord) -> None:
    tool = library.layer("tool", on=os)
    first = library.layer("Office", on=os, bases=(tool.id,))
    second = replace(first, id="second", name="2", created_s=library.now())
    broken = replace(first, id="third", name="3", state=VersionState.BROKEN, created_s=library.now())
    with library.core.db.begin() as work:
        work.versions.add(second)
        work.versions.add(broken)
    made = add(library, "Office", "4", notes="n", auto_finalize=False)
    assert (made.previous_version_id, made.base_version_ids, made.notes) == ("second", (os.id, tool.id), "n")
    params = unpack(library.tasks()[0].params, CreateLayerTask)
    assert params.recipe.identities == (os.identity, tool.identity, first.identity)
    assert not params.new_layer
    older = add(library, "Office", "5", from_version_id=first.id, prerequisite_version_ids=())
    assert (older.previous_version_id, older.base_version_ids) == (first.id, (os.id,))


def test_the_changes_become_one_with_the_previous_version(library: Library, os: VersionRecord) -> None:
    first = library.layer("Office", on=os)
    made = add(library, "Office", auto_finalize=False)
    assert [u.name for u in library.layers.version(first.id).used_by] == ["Office 2"]
    library.host.shut_down(made.id)
    task = library.complete(library.layers.finalize(MANAGER, made.id))
    done = library.version(made.id)
    assert "squash" in library.hooked
    assert {f.name for f in library.layers.files(done.id).entries} == {"Office"}
    # The captured changes are no version: they do not stay at the agent.
    assert library.host.layers == {os.identity, first.identity}
    assert task.result == {"version_id": done.id, "identity": done.identity}
    assert library.layers.version(first.id).used_by == ()


def test_a_version_of_an_os_layer(library: Library, os: VersionRecord) -> None:
    library.configuration("uefi", generation=2, disk_format="vhdx", template_vm=None)
    for wish in (
        AddVersion("13", "uefi", os_version_id=os.id),
        AddVersion("13", "uefi", prerequisite_version_ids=(os.id,)),
    ):
        with pytest.raises(RuleError, match="made on that layer alone"):
            library.layers.add_version(MANAGER, "Debian", wish)
    task = library.wait(
        library.layers.add_version(MANAGER, "Debian", AddVersion("13", "uefi", auto_finalize=False))
    )
    version = library.version(task.subjects[0].id)
    assert (version.generation, version.base_version_ids) == (Generation.TWO, ())
    assert unpack(task.params, CreateLayerTask).recipe.identities == (os.identity,)
    library.host.shut_down(version.id)
    library.complete(library.layers.finalize(MANAGER, version.id))
    assert library.version(version.id).generation is Generation.TWO


def test_versions_that_are_refused(library: Library, os: VersionRecord) -> None:
    other = library.layer("Fedora", LayerKind.OS)
    app = library.layer("Office", on=os)
    tool = library.layer("tool", on=os)
    for wish, error, told in (
        (AddVersion("1", "plain"), AlreadyExistsError, "Office 1"),
        (AddVersion("x?", "plain"), RuleError, "64 printable"),
        (AddVersion("2", "plain", from_version_id=tool.id), RuleError, "belongs to another layer"),
        (AddVersion("2", "plain", os_version_id=other.id), RuleError, "made on another OS layer"),
        (AddVersion("2", "plain", os_version_id=tool.id), RuleError, "of the kind app; os is needed"),
        (AddVersion("2", "plain", prerequisite_version_ids=(app.id,)), RuleError, "Office is there twice"),
        (AddVersion("2", "plain", run_once_upload_id="x"), NotFoundError, "The upload"),
        (AddVersion("2", "plain", from_version_id="x"), NotFoundError, "x"),
    ):
        with pytest.raises(error, match=told):
            library.layers.add_version(MANAGER, "Office", wish)
    _, begun = library.created(os, name="begun")
    with pytest.raises(VersionNotReadyError, match="It is absent"):
        library.layers.add_version(MANAGER, "begun", AddVersion("2", "plain"))
    with pytest.raises(VersionNotReadyError, match="It is editing"):
        library.layers.add_version(MANAGER, "begun", AddVersion("2", "plain", from_version_id=begun.id))


# --- finalize and discard ---------------------------------------------------------------------------------


def test_finalize_is_refused(library: Library, os: VersionRecord) -> None:
    with pytest.raises(NotFoundError, match="packaging machine"):
        library.layers.finalize(MANAGER, os.id)
    with pytest.raises(NotFoundError):
        library.layers.finalize(MANAGER, "nothing")
    _, version = library.created(os)
    inside, go_on = threading.Event(), threading.Event()

    def hold(step: str, when: str, ctx: FlowContext) -> None:
        if (step, when, ctx.task.kind) == ("capture", "before", TaskKind.FINALIZE_LAYER):
            inside.set()
            assert go_on.wait(10)

    library.hook = hold
    library.host.shut_down(version.id)
    task = library.layers.finalize(MANAGER, version.id)
    assert inside.wait(10)
    try:
        for act in (
            lambda: library.layers.finalize(MANAGER, version.id),
            lambda: library.layers.discard(MANAGER, version.id),
            lambda: library.layers.start_machine(MANAGER, version.id),
            lambda: library.layers.turn_off_machine(MANAGER, version.id),
        ):
            with pytest.raises(BusyError) as busy:
                act()
            assert (busy.value.params["holder"], busy.value.params["task"]) == ("finalize-layer", task.id)
        with pytest.raises(InUseError, match="finalize-layer"):
            library.layers.remove_version(MANAGER, version.id)
    finally:
        go_on.set()
    library.complete(task)
    for act in (library.layers.finalize, library.layers.discard):
        with pytest.raises(VersionNotReadyError, match="It is deployable"):
            act(MANAGER, version.id)


def test_finalize_twice_at_once(library: Library, os: VersionRecord) -> None:
    """The second one finds the version held, or made: it changes nothing of the first one's."""
    _, version = library.created(os)
    library.host.shut_down(version.id)
    states: list[VersionState] = []

    def look(step: str, when: str, ctx: FlowContext) -> None:
        if step == "capture" and when == "before":
            while library.task(second).state is not TaskState.FAILED:
                time.sleep(0.001)
            states.append(library.version(version.id).state)

    library.engine.close()
    first = library.layers.finalize(MANAGER, version.id)
    second = library.layers.finalize(MANAGER, version.id)
    library.hook = look

    def one_after_the_other(step: str, when: str, ctx: FlowContext) -> None:
        if step == "prepare" and when == "before" and ctx.task.id == second.id:
            while library.version(version.id).holder_task_id != first.id:
                time.sleep(0.001)
        look(step, when, ctx)

    library.hook = one_after_the_other
    library.engine.launch(library.flows())
    assert library.failed(second)["code"] == "busy"
    library.complete(first)
    assert states == [VersionState.FINALIZING]
    library.hook = lambda step, when, ctx: None
    third = library.engine.retry(second.id)
    assert library.failed(third)["code"] == "layer-version.not-ready"
    assert library.version(version.id).state is VersionState.DEPLOYABLE


def test_finalize_while_the_machine_runs(library: Library, os: VersionRecord) -> None:
    creation, version = library.created(os)
    error = library.failed(library.layers.finalize(MANAGER, version.id))
    assert error["code"] == "packaging.running"
    assert library.version(version.id).state is VersionState.FINALIZABLE
    assert library.task(creation).state is TaskState.ACTION_REQUIRED
    library.watch.look()
    assert library.version(version.id).state is VersionState.EDITING


def test_finalize_with_the_gate_overridden(library: Library, os: VersionRecord) -> None:
    _, version = library.created(os)
    library.host.shut_down(version.id, "packages: half installed", failed=("setup: exit 1",))
    error = library.failed(library.layers.finalize(MANAGER, version.id))
    assert error["params"]["reason"] == "packages: half installed; setup: exit 1"
    library.complete(library.layers.finalize(MANAGER, version.id, override_gate=True))
    assert library.host.asked("layer.capture")[-1].ignore_gate is True
    assert library.appliance.entries()[-1].details == {"override_gate": True}


def test_discard_cancels_the_task_that_waits(library: Library, os: VersionRecord) -> None:
    creation, version = library.created(os)
    task = library.layers.discard(MANAGER, version.id)
    assert task.id == creation.id
    assert library.ended(task).state is TaskState.CANCELED
    assert library.layer_names() == ["Debian"]
    assert not any(library.host.left().values())
    assert library.appliance.actions()[-1] == "layer-version.discard"


def test_discard_after_a_failed_finalization(library: Library, os: VersionRecord) -> None:
    office = library.layer("Office", on=os)
    version = add(library, "Office", auto_finalize=False)
    library.host.shut_down(version.id)
    library.host.before = failing("layer.capture")
    library.failed(library.layers.finalize(MANAGER, version.id))
    assert library.version(version.id).state is VersionState.FINALIZABLE
    task = library.layers.discard(MANAGER, version.id)
    assert task.kind is TaskKind.DISCARD_PACKAGING
    assert library.complete(task).result == {"version_id": version.id}
    assert [v.version.id for v in library.layers.get("Office").versions] == [office.id]
    assert not any(library.host.left().values())


def test_discard_twice_at_once(library: Library, os: VersionRecord) -> None:
    _, version = library.created(os)
    library.host.shut_down(version.id)
    library.host.before = failing("layer.capture")
    library.failed(library.layers.finalize(MANAGER, version.id))
    library.engine.close()
    tasks = [library.layers.discard(MANAGER, version.id) for _ in range(2)]
    library.engine.launch(library.flows())
    assert sorted(library.ended(t).state for t in tasks) == [TaskState.COMPLETE, TaskState.FAILED]
    assert library.layer_names() == ["Debian"]


def failing(method: str) -> Any:
    def before(name: str, params: Any) -> None:
        del params
        if name == method:
            raise RuleError(field="x", reason=f"{method} fails.", remedy="None.")

    return before


# --- what is said of layers; removal ----------------------------------------------------------------------


def test_change(library: Library, os: VersionRecord) -> None:
    app = library.layer("Office", on=os)
    library.layer("Gimp", on=os)
    view = library.layers.change(MANAGER, "office", name="Office 2024", notes="n", icon="doc", priority=5)
    assert (view.layer.name, view.layer.notes, view.layer.icon, view.layer.priority) == (
        "Office 2024",
        "n",
        "doc",
        5,
    )
    assert library.appliance.entries()[-1].details == {
        "name": "Office 2024",
        "notes": "n",
        "icon": "doc",
        "priority": 5,
    }
    assert library.layers.change(MANAGER, app.layer_id).layer == view.layer
    assert library.version(app.id) == app
    for wish, field in (
        ({"name": ""}, "name"),
        ({"icon": "a/b"}, "icon"),
        ({"icon": "x" * 65}, "icon"),
        ({"notes": "x" * 4001}, "notes"),
        ({"priority": -1}, "priority"),
    ):
        with pytest.raises(RuleError) as refused:
            library.layers.change(MANAGER, "office 2024", **wish)  # type: ignore[arg-type]
        assert refused.value.params["field"] == field
    with pytest.raises(RuleError, match="Only app layers"):
        library.layers.change(MANAGER, "Debian", priority=3)
    with pytest.raises(AlreadyExistsError):
        library.layers.change(MANAGER, "office 2024", name="GIMP")


def test_a_clone_shares_the_content(library: Library, os: VersionRecord) -> None:
    app = library.layer("Office", on=os, priority=3)
    facts = PackagingFacts(library.configuration("other").id, library.agent_id, "p")
    held = replace(app, id="held", name="2", packaging=facts, created_s=library.now())
    begun = replace(app, id="begun", name="3", identity=None, state=VersionState.EDITING)
    with library.core.db.begin() as work:
        work.versions.add(held)
        work.versions.add(begun)
    view = library.layers.clone(MANAGER, "Office", "Copy")
    assert [v.version.name for v in view.versions] == ["1", "2"]
    assert {v.version.identity for v in view.versions} == {app.identity}
    assert all(v.version.packaging is None and v.version.holder_task_id is None for v in view.versions)
    assert (view.layer.priority, view.os_layer_name) == (4, "Debian")
    assert len(library.store.list()) == 2
    with pytest.raises(RuleError, match="not cloned"):
        library.layers.clone(MANAGER, "Debian", "Copy of it")
    with pytest.raises(AlreadyExistsError):
        library.layers.clone(MANAGER, "Office", "copy")
    with pytest.raises(RuleError):
        library.layers.clone(MANAGER, "Office", "a\n")


def test_a_version_goes_with_its_file(library: Library, os: VersionRecord) -> None:
    app = library.layer("Office", on=os)
    library.host.layers = {os.identity or "", app.identity or ""}
    other_id, other = library.add_host("hv02")
    library.configuration("second", agent="hv02")
    other.layers = {app.identity or ""}
    away_id, _ = library.add_host("hv03")
    library.configuration("third", agent=away_id)
    library.configuration("gone", agent="nobody")
    library.appliance.agents_port.offline.add(away_id)
    task = library.complete(library.layers.remove_version(MANAGER, app.id))
    assert task.result == {"version_id": app.id}
    assert library.find(app.id) is None
    assert not library.store.exists(app.identity or "")
    assert library.host.layers == {os.identity}
    assert other.layers == set()
    assert other_id
    assert "its copy of the layer stays there" in library.log(task)
    # The layer stays: it may get a version again.
    assert library.layers.get("Office").versions == ()
    assert library.layers.remove(MANAGER, "Office") == ()
    assert library.layer_names() == ["Debian"]


def test_content_that_a_clone_shares_stays(library: Library, os: VersionRecord) -> None:
    app = library.layer("Office", on=os)
    copy = library.layers.clone(MANAGER, "Office", "Copy").versions[0].version
    library.host.layers = {app.identity or ""}
    library.complete(library.layers.remove_version(MANAGER, app.id))
    assert library.layers.export(copy.id).is_file()
    assert library.host.layers == {app.identity}
    library.complete(library.layers.remove_version(MANAGER, copy.id))
    assert not library.store.exists(app.identity or "")


def test_all_who_share_content_go_at_once(library: Library, os: VersionRecord) -> None:
    app = library.layer("Office", on=os)
    copy = library.layers.clone(MANAGER, "Office", "Copy").versions[0].version
    both = threading.Barrier(2, timeout=10)

    def together(step: str, when: str, ctx: FlowContext) -> None:
        if step == "prepare" and when == "after":
            both.wait()

    library.hook = together
    for task in [library.layers.remove_version(MANAGER, v.id) for v in (app, copy)]:
        library.complete(task)
    assert not library.store.exists(app.identity or "")


def test_a_version_twice_at_once(library: Library, os: VersionRecord) -> None:
    app = library.layer("Office", on=os)
    seen: list[VersionState] = []

    def look(step: str, when: str, ctx: FlowContext) -> None:
        if ctx.task.id == second.id and step == "prepare":
            while library.version(app.id).holder_task_id != first.id:
                time.sleep(0.001)
        if ctx.task.id == first.id and step == "forget" and when == "before":
            while library.task(second).state is not TaskState.FAILED:
                time.sleep(0.001)
            seen.append(library.version(app.id).state)

    library.engine.close()
    first, second = (library.layers.remove_version(MANAGER, app.id) for _ in range(2))
    library.hook = look
    library.engine.launch(library.flows())
    assert library.failed(second)["code"] == "busy"
    library.complete(first)
    assert seen == [VersionState.DELETING]
    assert library.find(app.id) is None


def test_a_version_in_use_stays(library: Library, os: VersionRecord) -> None:
    app = library.layer("Office", on=os)
    library.layer("add-in", on=os, bases=(app.id,))
    library.template(os, app_version_ids=(app.id,))
    library.published("web")
    with pytest.raises(InUseError) as refused:
        library.layers.remove_version(MANAGER, app.id)
    users = str(refused.value.params["users"]).split(", ")
    assert [name.split(" 20")[0] for name in users] == ["add-in 1", "web", "web"]
    _, begun = library.created(os, name="begun")
    with pytest.raises(InUseError) as refused:
        library.layers.remove_version(MANAGER, begun.id)
    assert refused.value.params["users"] == f"begun 1 {begun.id[:8]}"


def test_a_use_that_comes_before_the_task_begins(library: Library, os: VersionRecord) -> None:
    app = library.layer("Office", on=os)
    library.engine.close()
    task = library.layers.remove_version(MANAGER, app.id)
    library.template(os, app_version_ids=(app.id,))
    library.engine.launch(library.flows())
    error = library.failed(task)
    assert (error["code"], error["params"]["users"]) == ("in-use", "web")
    assert library.version(app.id) == app
    assert library.store.exists(app.identity or "")


def test_a_layer_goes_with_all_or_nothing(library: Library, os: VersionRecord) -> None:
    app = library.layer("Office", on=os)
    second = replace(app, id="second", name="2")
    with library.core.db.begin() as work:
        work.versions.add(second)
    template = library.template(os, app_version_ids=(second.id,))
    with pytest.raises(InUseError, match="web"):
        library.layers.remove(MANAGER, "Office")
    with pytest.raises(InUseError, match="Office"):
        library.layers.remove(MANAGER, "Debian")
    assert library.tasks() == ()
    library.templates.remove(PUBLISHER, template.template.id)
    for task in library.layers.remove(MANAGER, "Office"):
        library.complete(task)
    assert library.layer_names() == ["Debian"]
    assert not library.store.exists(app.identity or "")
    for task in library.layers.remove(MANAGER, "Debian"):
        library.complete(task)
    assert library.layer_names() == []
    assert library.store.list() == ()


def test_cancel_of_a_removal(library: Library, os: VersionRecord) -> None:
    """Before its record is gone a version is as good as ever; afterwards its file goes too."""
    for step, stays in (("prepare", True), ("forget", False)):
        app = library.layer(f"app {step}", on=os)

        def cancel(now: str, when: str, ctx: FlowContext, step: str = step) -> None:
            if (now, when) == (step, "after"):
                library.engine.cancel(ctx.task.id)

        library.hook = cancel
        task = library.layers.remove_version(MANAGER, app.id)
        assert library.ended(task).state is TaskState.CANCELED
        assert (library.find(app.id) == app) is stays
        assert library.store.exists(app.identity or "") is stays


def test_a_removal_cut_off_and_canceled(library: Library, os: VersionRecord) -> None:
    """The record is gone, but the step that removed it was not recorded as done."""
    app = library.layer("Office", on=os)
    cut: list[bool] = []

    def stop(step: str, when: str, ctx: FlowContext) -> None:
        if (step, when) == ("forget", "after"):
            cut.append(True)
            raise StoppingError

    library.hook = stop
    task = library.layers.remove_version(MANAGER, app.id)
    while not cut:
        time.sleep(0.001)
    library.engine.close()
    library.engine.cancel(task.id)
    library.engine.launch(library.flows())
    assert library.ended(task).state is TaskState.CANCELED
    assert library.find(app.id) is None
    assert not library.store.exists(app.identity or "")


def test_what_is_in_layers(library: Library, os: VersionRecord) -> None:
    app = library.layer("Office", on=os)
    other = library.layer("Gimp", on=os)
    assert [f.name for f in library.layers.files(app.id).entries] == ["Office"]
    assert {c.path for c in library.layers.diff(app.id, other.id).differences} == {"/Office", "/Gimp"}
    assert library.layers.conflicts((app.id, os.id, other.id)).conflicts == ()
    with pytest.raises(RuleError, match="exactly one OS layer"):
        library.layers.conflicts((app.id,))
