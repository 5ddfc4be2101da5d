"""Composed disks: for packaging machines and images, with the cache and without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sekiso.agent.contract import CacheParams, ClearCacheParams, DiskMade, PackagingParams, RemoveImageParams
from sekiso.errors import AlreadyExistsError, NotFoundError, RuleError
from sekiso.model.machine import DiskFormat, Generation

from .bench import IMAGE, MIB, OTHER_TASK, TASK, VERSION, Bench, FakeEngine, disk_content, key_of

CACHE = 64 * MIB


def image(bench: Bench, recipe: object, **more: object):
    options = {"target": "image", "owner_id": IMAGE, "owner_name": "web 1", "disk_name": "web"}
    return bench.compose(recipe, **{**options, **more})  # type: ignore[arg-type]


def test_without_cache_a_packaging_machine_gets_a_disk_of_its_own(bench: Bench, fake: FakeEngine) -> None:
    recipe = bench.recipe(bench.add_layer())
    made = bench.run("disk.compose", bench.compose(recipe))
    assert Path(made.path) == bench.storage / "Packaging" / VERSION / "boot.vhd"
    assert (made.cache_hit, made.plan_id, made.conflicts) == (False, f"plan-{key_of(recipe)[:8]}", 3)
    assert made.file_bytes == 4 * MIB
    assert bench.run("disk.compose", bench.compose(recipe)) == made
    assert fake.composed == [key_of(recipe)]
    assert not (bench.storage / "Cache").exists()


def test_with_cache_it_runs_on_the_cached_disk_until_it_is_removed(bench: Bench, fake: FakeEngine) -> None:
    recipe = bench.recipe(bench.add_layer())
    asked = bench.compose(recipe, cache_bytes=CACHE)
    assert bench.run("disk.compose", replace(asked, only_cached=True)).path == ""
    made = bench.run("disk.compose", asked)
    assert Path(made.path) == bench.storage / "Cache" / f"{key_of(recipe)}.vhd"
    assert not made.cache_hit
    facts = bench.run("cache.list", CacheParams(bench.path))
    assert (facts.misses, facts.hits, facts.disks[0].in_use_by) == (1, 0, (VERSION,))
    assert bench.run("cache.clear", ClearCacheParams(bench.path)).disks == facts.disks
    bench.run("packaging.remove", PackagingParams(bench.path, VERSION))
    assert bench.run("cache.clear", ClearCacheParams(bench.path)).disks == ()
    assert fake.composed == [key_of(recipe)]


def test_another_machine_finds_the_disk_in_the_cache(bench: Bench, fake: FakeEngine) -> None:
    recipe = bench.recipe(bench.add_layer())
    bench.run("disk.compose", bench.compose(recipe, cache_bytes=CACHE))
    other = bench.compose(recipe, cache_bytes=CACHE, owner_id=IMAGE, task_id=OTHER_TASK, only_cached=True)
    made = bench.run("disk.compose", other, task=OTHER_TASK)
    assert made.cache_hit and made.plan_id and made.conflicts == 3
    assert bench.run("disk.compose", other, task=OTHER_TASK) == made
    facts = bench.run("cache.list", CacheParams(bench.path))
    assert (facts.hits, facts.misses, facts.disks[0].hits) == (1, 1, 1)
    assert facts.disks[0].in_use_by == (VERSION, IMAGE)
    assert len(fake.composed) == 1


@pytest.mark.parametrize("cache_bytes", [0, CACHE])
def test_an_image_has_a_disk_of_its_own(bench: Bench, fake: FakeEngine, cache_bytes: int) -> None:
    recipe = bench.recipe(bench.add_layer())
    made = bench.run("disk.compose", image(bench, recipe, cache_bytes=cache_bytes))
    disk = bench.storage / "Images" / "web 1" / "web.vhd"
    assert Path(made.path) == disk and disk.stat().st_nlink == 1
    assert disk.read_bytes() == disk_content(key_of(recipe), 4 * MIB)
    cached = bench.storage / "Cache" / f"{key_of(recipe)}.vhd"
    assert cached.exists() is (cache_bytes > 0)
    if cache_bytes:
        assert cached.stat().st_ino != disk.stat().st_ino
    assert bench.run("disk.compose", image(bench, recipe, cache_bytes=cache_bytes)) == made
    assert not [p for p in disk.parent.iterdir() if p.name.startswith(".")]


def test_the_second_image_comes_from_the_cache(bench: Bench, fake: FakeEngine) -> None:
    recipe = bench.recipe(bench.add_layer())
    bench.run("disk.compose", image(bench, recipe, cache_bytes=CACHE))
    second = image(
        bench, recipe, cache_bytes=CACHE, owner_id=VERSION, owner_name="web 2", task_id=OTHER_TASK,
        only_cached=True,
    )  # fmt: skip
    made = bench.run("disk.compose", second, task=OTHER_TASK)
    assert made.cache_hit and Path(made.path) == bench.storage / "Images" / "web 2" / "web.vhd"
    assert len(fake.composed) == 1


def test_a_disk_larger_than_the_cache_is_used_without_it(bench: Bench, fake: FakeEngine) -> None:
    recipe = bench.recipe(bench.add_layer())
    made = bench.run("disk.compose", bench.compose(recipe, cache_bytes=MIB))
    assert Path(made.path).name == "boot.vhd"
    assert bench.run("cache.list", CacheParams(bench.path)).disks == ()


@pytest.mark.parametrize("cache_bytes", [0, CACHE])
def test_a_disk_that_came_from_the_appliance_is_moved(
    bench: Bench, fake: FakeEngine, cache_bytes: int
) -> None:
    scratch = bench.storage / "Tasks" / TASK
    scratch.mkdir(parents=True)
    received = scratch / "disk.vhd"
    received.write_bytes(b"from the appliance" * 1000)
    recipe = bench.recipe("1" * 64)
    asked = bench.compose(recipe, received=str(received), cache_bytes=cache_bytes)
    made = bench.run("disk.compose", asked)
    assert Path(made.path).read_bytes() == b"from the appliance" * 1000
    assert not received.exists() and fake.composed == []
    assert (made.plan_id, made.conflicts, made.cache_hit) == ("", -1, False)
    assert bench.run("disk.compose", asked) == made


def test_what_is_received_lies_in_the_scratch_of_the_task(bench: Bench, tmp_path: Path) -> None:
    recipe = bench.recipe("1" * 64)
    for place in (tmp_path / "disk.vhd", bench.storage / "Tasks" / OTHER_TASK / "disk.vhd"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
        with pytest.raises(RuleError):
            bench.run("disk.compose", bench.compose(recipe, received=str(place)))
        assert place.exists()


def test_a_layer_that_is_not_there_is_named(bench: Bench, fake: FakeEngine) -> None:
    with pytest.raises(NotFoundError) as caught:
        bench.run("disk.compose", bench.compose(bench.recipe("1" * 64)))
    assert "1" * 64 in caught.value.render()


def test_the_disk_of_a_version_is_not_exchanged_under_its_work(bench: Bench, fake: FakeEngine) -> None:
    layer = bench.add_layer()
    bench.run("disk.compose", bench.compose(bench.recipe(layer)))
    other = bench.recipe(layer, size_bytes=99 * MIB)
    bench.run("disk.compose", bench.compose(other))
    (bench.storage / "Packaging" / VERSION / "packaging.qcow2").write_bytes(b"work")
    with pytest.raises(AlreadyExistsError):
        bench.run("disk.compose", bench.compose(bench.recipe(layer)))


def test_two_images_never_share_a_folder(bench: Bench, fake: FakeEngine) -> None:
    recipe = bench.recipe(bench.add_layer())
    bench.run("disk.compose", image(bench, recipe))
    with pytest.raises(AlreadyExistsError):
        bench.run("disk.compose", image(bench, recipe, owner_id=VERSION))
    bench.run("image.remove", RemoveImageParams(bench.path, VERSION, "web 1", ""))
    assert (bench.storage / "Images" / "web 1" / "web.vhd").is_file()
    bench.run("image.remove", RemoveImageParams(bench.path, IMAGE, "web 1", ""))
    assert not (bench.storage / "Images" / "web 1").exists()


def test_a_foreign_folder_is_not_taken_over(bench: Bench, fake: FakeEngine) -> None:
    recipe = bench.recipe(bench.add_layer())
    place = bench.storage / "Images" / "web 1"
    place.mkdir(parents=True)
    (place / "mine.txt").write_text("x")
    with pytest.raises(AlreadyExistsError):
        bench.run("disk.compose", image(bench, recipe))
    assert [p.name for p in place.iterdir()] == ["mine.txt"]


def test_an_image_is_not_composed_anew_over_its_disk(bench: Bench, fake: FakeEngine) -> None:
    layer = bench.add_layer()
    bench.run("disk.compose", image(bench, bench.recipe(layer)))
    with pytest.raises(AlreadyExistsError):
        bench.run("disk.compose", image(bench, bench.recipe(layer, title="other")))


def test_hostile_names_stay_below_images(bench: Bench, fake: FakeEngine) -> None:
    recipe = bench.recipe(bench.add_layer())
    made: DiskMade = bench.run(
        "disk.compose", image(bench, recipe, owner_name="../../evil", disk_name="/etc/passwd")
    )
    assert bench.storage / "Images" in Path(made.path).parents


def test_an_unknown_target_is_refused(bench: Bench) -> None:
    with pytest.raises(RuleError):
        bench.run("disk.compose", bench.compose(bench.recipe("1" * 64), target="elsewhere"))


def test_generation_two_is_vhdx(bench: Bench, fake: FakeEngine) -> None:
    recipe = replace(bench.recipe(bench.add_layer()), generation=Generation.TWO, disk_format=DiskFormat.VHDX)
    assert bench.run("disk.compose", bench.compose(recipe)).path.endswith("boot.vhdx")
