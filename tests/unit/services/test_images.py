"""Image templates and images: rules, publishing, boot tests, removal (IM-1, IM-2, IM-6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sekiso.connectors.errors import ConfigurationInvalidError
from sekiso.errors import AlreadyExistsError, BusyError, InUseError, NotFoundError, RuleError
from sekiso.model.layer import LayerKind
from sekiso.model.library import ImageRecord, ImageState, VersionRecord, VersionState
from sekiso.model.machine import DiskAllocation, DiskFormat, Generation
from sekiso.model.task import SubjectKind, TaskState
from sekiso.services.core import NotAllowedError
from sekiso.services.templates import TemplateWish
from sekiso.tasks.flows.keeping import VersionNotReadyError
from sekiso.tasks.flows.params import PublishTask, unpack
from sekiso.tasks.port import FlowContext

from ...support.appliance import MANAGER, PUBLISHER, READER
from ...support.library import Library, open_library
from ...support.model_agent import PNG


@pytest.fixture
def library() -> Iterator[Library]:
    with open_library() as found:
        yield found


@pytest.fixture
def os(library: Library) -> VersionRecord:
    return library.layer("Debian", LayerKind.OS, version="12")


def wish(os: VersionRecord, **changes: Any) -> TemplateWish:
    return replace(TemplateWish("web", "plain", os.id), **changes)


# --- templates ------------------------------------------------------------------------------------------


def test_a_template(library: Library, os: VersionRecord) -> None:
    apps = [library.layer(name, on=os, priority=n) for name, n in (("high", 9), ("low", 1))]
    drivers = library.layer("drivers", LayerKind.PLATFORM, on=os)
    view = library.template(os, app_version_ids=(apps[0].id, apps[1].id), platform_version_id=drivers.id)
    assert view.template.disk_format is DiskFormat.VHD
    assert (view.configuration_name, view.images, view.last_published_s) == ("plain", 0, None)
    image = library.published("WEB")
    assert image.version_ids == (os.id, apps[1].id, apps[0].id, drivers.id)
    assert library.images.get(image.id).layers == ("Debian 12", "low 1", "high 1", "drivers 1")
    assert (image.state, image.template_revision, image.holder_task_id) == (ImageState.PUBLISHED, 1, None)
    assert image.facts == {
        "cache_hit": False,
        "layers_sent": 4,
        "layer_wire_bytes": sum(v.file_bytes for v in (os, *apps, drivers)),
        "disk_wire_bytes": 0,
        "conflicts": 2,
    }
    assert (image.plan_id, image.file_bytes, image.boot_test) == ("plan", 1000, None)
    assert image.machine_id == library.host.images[image.id].id
    assert library.templates.get("web").images == 1
    assert library.templates.get("web").last_published_s == image.created_s
    assert library.images.get(image.name).agent_name == "hv01"
    assert library.appliance.actions() == ["template.create", "image.publish"]


def test_revisions(library: Library, os: VersionRecord) -> None:
    first = library.template(os).template
    library.now()
    second = library.templates.change(PUBLISHER, "web", wish(os, name="Web", notes="n", keep_last=2)).template
    assert (second.id, second.revision, second.created_s) == (first.id, 2, first.created_s)
    assert second.changed_s > first.changed_s
    assert library.templates.history("web") == (second, first)
    copy = library.templates.clone(PUBLISHER, "web", "copy").template
    assert (copy.revision, copy.notes, copy.keep_last) == (1, "n", 2)
    assert library.templates.history("copy") == (copy,)
    assert [v.template.name for v in library.templates.list()] == ["copy", "Web"]
    with pytest.raises(AlreadyExistsError):
        library.templates.change(PUBLISHER, "web", wish(os, name="COPY"))
    with pytest.raises(AlreadyExistsError):
        library.templates.clone(PUBLISHER, "web", "Copy")
    with pytest.raises(AlreadyExistsError):
        library.templates.create(PUBLISHER, wish(os, name="wEB"))
    library.templates.remove(PUBLISHER, "copy")
    with pytest.raises(NotFoundError):
        library.templates.get("copy")
    assert library.templates.history("web")[0] == second


def test_templates_that_are_refused(library: Library, os: VersionRecord) -> None:
    app = library.layer("Office", on=os)
    drivers = library.layer("drivers", LayerKind.PLATFORM, on=os)
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"name": "a|b"}, RuleError, "name"),
        ({"disk_name": "con"}, RuleError, "disk_name"),
        ({"disk_name": "a/b"}, RuleError, "disk_name"),
        ({"notes": "x" * 4001}, RuleError, "notes"),
        ({"os_version_id": app.id}, RuleError, "os_version_id"),
        ({"app_version_ids": (drivers.id,)}, RuleError, "app_version_ids"),
        ({"app_version_ids": (app.id, app.id)}, RuleError, "app_version_ids"),
        ({"platform_version_id": app.id}, RuleError, "platform_version_id"),
        ({"size_bytes": (64 << 20) - 1}, RuleError, "size_bytes"),
        ({"size_bytes": (2040 << 30) + 1}, RuleError, "size_bytes"),
        ({"size_bytes": (64 << 40) + 1, "disk_format": DiskFormat.VHDX}, RuleError, "size_bytes"),
        ({"keep_last": 0}, RuleError, "keep_last"),
        ({"keep_last": 1001}, RuleError, "keep_last"),
    ]
    for changes, error, field in cases:
        with pytest.raises(error) as refused:
            library.templates.create(PUBLISHER, wish(os, **changes))
        assert refused.value.params["field"] == field, changes  # type: ignore[attr-defined]
    with pytest.raises(NotFoundError):
        library.templates.create(PUBLISHER, wish(os, configuration="nowhere"))
    with pytest.raises(NotFoundError):
        library.templates.create(PUBLISHER, wish(os, app_version_ids=("nothing",)))
    _, begun = library.created(os, name="begun")
    with pytest.raises(VersionNotReadyError):
        library.templates.create(PUBLISHER, wish(os, app_version_ids=(begun.id,)))
    for act in (
        lambda: library.templates.create(READER, wish(os)),
        lambda: library.templates.publish(READER, ("web",)),
        lambda: library.images.remove(READER, "x"),
    ):
        with pytest.raises(NotAllowedError):
            act()
    assert library.templates.list() == ()


def test_disks_of_templates(library: Library, os: VersionRecord) -> None:
    """The disk goes with the configuration (CC-2), when the template is saved and when it is published."""
    library.configuration("slow", offload=False)
    library.configuration("uefi", generation=2, disk_format="vhdx")
    for configuration, disk_format in (("slow", DiskFormat.VHDX), ("uefi", DiskFormat.VHD)):
        with pytest.raises(ConfigurationInvalidError, match="disk format"):
            library.templates.create(
                PUBLISHER, wish(os, configuration=configuration, disk_format=disk_format)
            )
    view = library.templates.create(
        PUBLISHER,
        wish(
            os,
            disk_format=DiskFormat.VHDX,
            allocation=DiskAllocation.FIXED,
            size_bytes=1 << 30,
            disk_name="system",
        ),
    )
    image = library.published("web")
    assert image.disk_path == f"Images/{image.name}/system.vhdx"
    assert library.host.asked("image.create-machine")[0].disk_format is DiskFormat.VHDX
    assert library.host.asked("disk.compose")[-1].recipe.size_bytes == 1 << 30
    with library.core.db.begin() as work:
        record = work.configurations.get(view.template.configuration_id)
        work.configurations.replace(replace(record, settings={**record.settings, "offload": False}))
    for act in (
        lambda: library.templates.publish(PUBLISHER, ("web",)),
        lambda: library.templates.preview("web"),
    ):
        with pytest.raises(ConfigurationInvalidError):
            act()
    with library.core.db.begin() as work:
        work.configurations.replace(replace(record, settings={**record.settings, "template_vm": "gone"}))
    with pytest.raises(ConfigurationInvalidError):
        library.templates.publish(PUBLISHER, ("web",))


# --- publishing -----------------------------------------------------------------------------------------


def test_names_of_one_second(library: Library, os: VersionRecord) -> None:
    library.template(os)
    library.template(os, "db")
    library.engine.close()  # the second call comes before the first one's tasks have begun
    tasks = library.templates.publish(PUBLISHER, ("web", "db", "web"), count=2)
    tasks += library.templates.publish(PUBLISHER, ("WEB",))
    names = [task.subjects[0].name for task in tasks]
    stamp = names[0].removeprefix("web ")
    assert names == [
        f"web {stamp}",
        f"web {stamp} (2)",
        f"db {stamp}",
        f"db {stamp} (2)",
        f"web {stamp} (3)",
    ]
    assert [unpack(task.params, PublishTask).image.name for task in tasks] == names
    library.engine.launch(library.flows())
    for task in tasks:
        library.complete(task)
    assert sorted(image.name for image in library.all_images()) == sorted(names)
    assert {machine.name for machine in library.host.images.values()} == set(names)
    assert {s.kind for s in tasks[0].subjects} == {
        SubjectKind.IMAGE,
        SubjectKind.TEMPLATE,
        SubjectKind.CONFIGURATION,
    }
    (again,) = library.templates.publish(PUBLISHER, ("web",))
    assert again.subjects[0].name == f"web {stamp} (4)"
    library.complete(again)


def test_how_many_at_once(library: Library, os: VersionRecord) -> None:
    library.template(os)
    for references, count in (((), 1), (("web",), 0), (("web",), 51), (("web",) * 26, 2)):
        with pytest.raises(RuleError, match="From 1 to 50"):
            library.templates.publish(PUBLISHER, references, count=count)
    with pytest.raises(NotFoundError):
        library.templates.publish(PUBLISHER, ("web", "nothing"))
    assert library.tasks() == ()


def test_the_oldest_go(library: Library, os: VersionRecord) -> None:
    library.template(os, keep_last=2, boot_test=True)
    made = [library.published("web") for _ in range(4)]
    assert {image.id for image in library.all_images()} == {made[2].id, made[3].id}
    assert set(library.host.images) == {made[2].id, made[3].id}
    pictures = {path.stem for path in (library.core.state / "screenshots").iterdir()}
    assert pictures == {made[2].id, made[3].id}
    assert f"Removed the image {made[1].name}: the template keeps 2." in library.log(library.tasks()[0])


def test_pruning_leaves_what_it_must(library: Library, os: VersionRecord) -> None:
    """An image that a task works on stays, and one whose agent is away; the new one is published anyhow."""
    view = library.template(os)
    busy, away, free = (library.published("web") for _ in range(3))
    other = library.template(os, "other")
    stays = library.published("other")
    other_id, _ = library.add_host("hv02")
    library.appliance.agents_port.offline.add(other_id)
    with library.core.db.begin() as work:
        work.images.hold(busy.id, library.tasks()[0].id)
        work.images.replace(replace(work.images.get(away.id), agent_id=other_id))
    library.templates.change(PUBLISHER, "web", wish(os, keep_last=1))
    new = library.published("web")
    assert {image.id for image in library.all_images()} == {busy.id, away.id, stays.id, new.id}
    assert view.template.id != other.template.id
    log = library.log(library.tasks()[0])
    assert f"Removed the image {free.name}" in log
    assert "is not connected" in log
    with library.core.db.read() as work:
        assert work.images.get(away.id).holder_task_id is None
        assert work.images.get(busy.id).holder_task_id is not None


def test_more_at_once_than_are_kept(library: Library, os: VersionRecord) -> None:
    """Two that are published side by side leave each other alone; the next one clears the rest away."""
    library.template(os, keep_last=1)
    for task in library.templates.publish(PUBLISHER, ("web",), count=4):
        library.complete(task)
    assert len(library.all_images()) <= 2
    library.now()
    last = library.published("web")
    assert library.all_images() == (last,)
    assert set(library.host.images) == {last.id}


def test_the_template_changes_while_it_is_published(library: Library, os: VersionRecord) -> None:
    view = library.template(os, disk_name="old")

    def change(step: str, when: str, ctx: FlowContext) -> None:
        if (step, when) == ("look", "before"):
            library.templates.change(PUBLISHER, "web", wish(os, name="new name", disk_name="new"))

    library.hook = change
    image = library.published("web")
    assert (image.template_name, image.template_revision, image.template_id) == ("web", 1, view.template.id)
    assert image.disk_path.endswith("/old.vhd")
    assert library.templates.get("new name").template.revision == 2


@pytest.mark.parametrize("step", ["queued", "look", "keep", "prune"])
def test_the_template_is_deleted_while_it_is_published(
    library: Library, os: VersionRecord, step: str
) -> None:
    library.template(os, keep_last=1)
    older = library.published("web")

    def delete(now: str, when: str, ctx: FlowContext) -> None:
        if (now, when) == (step, "before"):
            library.templates.remove(PUBLISHER, "web")

    library.hook = delete
    library.engine.close()
    (task,) = library.templates.publish(PUBLISHER, ("web",))
    if step == "queued":
        library.templates.remove(PUBLISHER, "web")
    library.engine.launch(library.flows())
    library.complete(task)
    images = {image.id: image for image in library.all_images()}
    assert set(images) == {older.id, task.subjects[0].id}
    assert all(i.template_id is None and i.state is ImageState.PUBLISHED for i in images.values())


def test_the_configuration_changes_while_it_is_published(library: Library, os: VersionRecord) -> None:
    view = library.template(os)
    library.engine.close()
    (task,) = library.templates.publish(PUBLISHER, ("web",))
    with library.core.db.begin() as work:
        record = work.configurations.get(view.template.configuration_id)
        settings = {**record.settings, "storage_path": r"E:\Other", "cpus": 7}
        work.configurations.replace(replace(record, settings=settings))
    library.engine.launch(library.flows())
    library.complete(task)
    (image,) = library.all_images()
    assert image.storage_path == r"C:\Sekiso"
    made = library.host.asked("image.create-machine")[0]
    assert (made.hardware.cpus, made.storage_path) == (2, r"C:\Sekiso")
    second = library.published("web")
    assert second.storage_path == r"E:\Other"


def test_a_version_that_goes_before_the_task_begins(library: Library, os: VersionRecord) -> None:
    library.template(os)
    library.engine.close()
    (task,) = library.templates.publish(PUBLISHER, ("web",))
    with library.core.db.begin() as work:
        work.versions.replace(replace(os, state=VersionState.BROKEN))
    library.engine.launch(library.flows())
    assert library.failed(task)["code"] == "layer-version.not-ready"
    assert library.all_images() == ()
    assert library.host.served == []


def test_the_cache(library: Library, os: VersionRecord) -> None:
    library.configuration("cached", cache_gb=10)
    library.template(os, configuration="cached")
    first, second = library.published("web"), library.published("web")
    assert first.facts is not None
    assert second.facts is not None
    assert (first.facts["cache_hit"], second.facts["cache_hit"]) == (False, True)
    assert second.facts["layers_sent"] == 0
    assert first.disk_path != second.disk_path


def test_an_image_holds_what_it_was_made_of(library: Library, os: VersionRecord) -> None:
    library.template(os)
    image = library.published("web")
    library.templates.remove(PUBLISHER, "web")
    with pytest.raises(InUseError) as refused:
        library.layers.remove_version(MANAGER, os.id)
    assert refused.value.params["users"] == image.name


# --- boot tests -----------------------------------------------------------------------------------------


def test_a_boot_test(library: Library, os: VersionRecord) -> None:
    library.template(os)
    image = library.published("web")
    with pytest.raises(NotFoundError, match="Make a boot test first"):
        library.images.screenshot(image.name)
    task = library.complete(library.images.boot_test(PUBLISHER, image.name))
    assert task.result == {"reported_s": 12.5, "report": {"ready": True}}
    tested = library.images.get(image.id).image
    assert tested == replace(image, boot_test=task.result)
    assert library.images.screenshot(image.id) == PNG
    picture = next((library.core.state / "screenshots").iterdir())
    assert picture.stat().st_mode & 0o077 == 0
    library.complete(library.images.remove(PUBLISHER, image.id))
    assert list((library.core.state / "screenshots").iterdir()) == []
    with pytest.raises(NotFoundError):
        library.images.screenshot(image.id)


def test_a_boot_test_of_what_was_made_otherwise(library: Library, os: VersionRecord) -> None:
    """The configuration has been changed since: the image is started as it was made."""
    view = library.template(os)
    image = library.published("web")
    other_id, other = library.add_host("hv02")
    with library.core.db.begin() as work:
        record = work.configurations.get(view.template.configuration_id)
        settings = {
            **record.settings,
            "agent": other_id,
            "storage_path": r"E:\Other",
            "generation": 2,
            "disk_format": "vhdx",
            "cpus": 3,
        }
        work.configurations.replace(replace(record, settings=settings))
    library.complete(library.images.boot_test(PUBLISHER, image.id))
    (asked,) = library.host.asked("image.boot-test")
    assert other.served == []
    assert (asked.storage_path, asked.disk_format) == (r"C:\Sekiso", DiskFormat.VHD)
    assert (asked.hardware.generation, asked.hardware.cpus) == (Generation.ONE, 3)
    assert (asked.hardware.network, asked.hardware.template_vm) == (None, None)


def test_a_boot_test_that_fails(library: Library, os: VersionRecord) -> None:
    library.template(os)
    image = library.published("web")
    library.host.before = failing("image.boot-test")
    library.failed(library.images.boot_test(PUBLISHER, image.id))
    assert library.images.get(image.id).image == image
    library.templates.change(PUBLISHER, "web", wish(os, boot_test=True))
    (task,) = library.templates.publish(PUBLISHER, ("web",))
    library.failed(task)
    assert library.all_images() == (image,)
    assert set(library.host.images) == {image.id}


def failing(method: str) -> Any:
    def before(name: str, params: Any) -> None:
        del params
        if name == method:
            raise RuleError(field="x", reason=f"{method} fails.", remedy="None.")

    return before


# --- removal --------------------------------------------------------------------------------------------


def published(library: Library, os: VersionRecord) -> ImageRecord:
    library.template(os)
    return library.published("web")


def test_an_image_is_removed(library: Library, os: VersionRecord) -> None:
    image = published(library, os)
    task = library.complete(library.images.remove(PUBLISHER, image.name))
    assert task.result == {"image_id": image.id, "name": image.name}
    assert library.all_images() == ()
    assert not any(library.host.left().values())
    (asked,) = library.host.asked("image.remove")
    assert (asked.name, asked.machine_id, asked.storage_path) == (image.name, image.machine_id, r"C:\Sekiso")
    with pytest.raises(NotFoundError):
        library.images.get(image.id)
    assert library.appliance.actions()[-1] == "image.delete"


def test_an_image_that_a_task_works_on(library: Library, os: VersionRecord) -> None:
    library.template(os)
    refused: list[str] = []

    def look(step: str, when: str, ctx: FlowContext) -> None:
        image_id = ctx.task.subjects[0].id
        if (step, when) == ("prepare", "after"):
            for act in (library.images.remove, library.images.boot_test):
                with pytest.raises(BusyError) as busy:
                    act(PUBLISHER, image_id)
                refused.append(str(busy.value.params["holder"]))

    library.hook = look
    image = library.published("web")
    assert refused == ["publish-image", "publish-image"]
    with library.core.db.begin() as work:
        work.images.replace(replace(image, state=ImageState.FAILED))
    with pytest.raises(NotFoundError, match="Wait until it is published"):
        library.images.boot_test(PUBLISHER, image.id)


def test_removed_twice_at_once(library: Library, os: VersionRecord) -> None:
    image = published(library, os)
    library.engine.close()
    tasks = [library.images.remove(PUBLISHER, image.id) for _ in range(2)]
    library.engine.launch(library.flows())
    assert sorted(library.ended(task).state for task in tasks) == [TaskState.COMPLETE, TaskState.FAILED]
    assert library.all_images() == ()


@pytest.mark.parametrize(
    ("step", "when", "state"),
    [
        ("prepare", "after", ImageState.PUBLISHED),
        ("remove", "before", None),
        ("remove", "after", None),
        ("forget", "after", None),
    ],
)
def test_the_removal_is_canceled(
    library: Library, os: VersionRecord, step: str, when: str, state: ImageState | None
) -> None:
    """As long as the agent has removed nothing the image is as good as before."""
    image = published(library, os)

    def cancel(now: str, moment: str, ctx: FlowContext) -> None:
        if (now, moment) == (step, when):
            library.engine.cancel(ctx.task.id)

    library.hook = cancel
    task = library.ended(library.images.remove(PUBLISHER, image.id))
    assert task.state is TaskState.CANCELED
    left = library.all_images()
    assert [i.state for i in left] == ([state] if state else [])
    assert (image.id in library.host.images) is bool(state)


def test_the_removal_fails(library: Library, os: VersionRecord) -> None:
    image = published(library, os)
    library.host.before = failing("image.remove")
    task = library.images.remove(PUBLISHER, image.id)
    library.failed(task)
    (left,) = library.all_images()
    assert (left.state, left.holder_task_id) == (ImageState.FAILED, None)
    library.host.before = lambda method, params: None
    library.complete(library.images.remove(PUBLISHER, image.id))
    assert library.all_images() == ()
