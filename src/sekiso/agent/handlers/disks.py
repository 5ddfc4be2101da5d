"""`disk.compose`: a disk is taken from the cache, from the appliance, or composed here (IM-3, IM-4)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sekiso.agent.cache import CacheEntry, DiskCache, DiskFacts, recipe_key
from sekiso.agent.contract import ComposeDiskParams, DiskMade
from sekiso.agent.handlers import engine
from sekiso.agent.handlers.context import Command
from sekiso.agent.handlers.image_home import ImageDisk, ImageHome
from sekiso.agent.handlers.layers import family_of, layer_files
from sekiso.agent.handlers.opening import usable_places
from sekiso.agent.handlers.packaging_home import PackagingHome
from sekiso.agent.handlers.results import fresh_folder, keep_result, kept_result
from sekiso.agent.places import Places, disk_name
from sekiso.errors import RuleError
from sekiso.model.progress import Progress

#: The appliance names the disk it composes alike: the name is part of the plan.
_STEM = "disk"


class Owner(Protocol):
    """Who the disk is for."""

    def made(self, key: str) -> DiskMade | None:
        """Return the disk that an earlier call has made for it."""
        ...

    def hold(self, entry: CacheEntry) -> None:
        """Keep a disk of the cache from being removed."""
        ...

    def let_go(self) -> None:
        """Let it go again."""
        ...

    def use(self, cache: DiskCache, entry: CacheEntry, *, cache_hit: bool, progress: Progress) -> DiskMade:
        """Use a disk of the cache."""
        ...

    def take(self, disk: Path, key: str, facts: DiskFacts) -> DiskMade:
        """Take a disk that is not in the cache."""
        ...


@dataclass(frozen=True, slots=True)
class _Packaging:
    """A packaging machine runs on the cached disk itself."""

    home: PackagingHome

    def made(self, key: str) -> DiskMade | None:
        return self.home.made(key)

    def hold(self, entry: CacheEntry) -> None:
        self.home.hold_cached(entry)

    def let_go(self) -> None:
        self.home.let_go()

    def use(self, cache: DiskCache, entry: CacheEntry, *, cache_hit: bool, progress: Progress) -> DiskMade:
        return self.home.use_cached(entry, cache_hit=cache_hit)

    def take(self, disk: Path, key: str, facts: DiskFacts) -> DiskMade:
        return self.home.take(disk, key, facts)


@dataclass(frozen=True, slots=True)
class _Image:
    """An image has a copy of its own; the cached disk is kept only while it is copied, by its key."""

    disk: ImageDisk

    def made(self, key: str) -> DiskMade | None:
        return self.disk.made(key)

    def hold(self, entry: CacheEntry) -> None:
        pass

    def let_go(self) -> None:
        pass

    def use(self, cache: DiskCache, entry: CacheEntry, *, cache_hit: bool, progress: Progress) -> DiskMade:
        return self.disk.copy_cached(cache, entry, cache_hit=cache_hit, progress=progress)

    def take(self, disk: Path, key: str, facts: DiskFacts) -> DiskMade:
        return self.disk.take(disk, key, facts)


def compose(command: Command, params: ComposeDiskParams) -> DiskMade:
    """Make a disk, or take it from the cache."""
    places = usable_places(params.storage_path)
    owner, key = _owner(places, params), recipe_key(params.recipe)
    done = owner.made(key)
    if done is not None:
        return done
    if params.cache_bytes > 0:
        return _through_cache(command, params, places, owner, key)
    if params.only_cached:
        return DiskMade("", 0, cache_hit=False)
    disk, facts = _new_disk(command, params, places, key)
    return owner.take(disk, key, facts)


def _through_cache(
    command: Command, params: ComposeDiskParams, places: Places, owner: Owner, key: str
) -> DiskMade:
    cache, progress = DiskCache(places), command.progress
    with cache.holding(key, progress=progress):
        entry = cache.find(
            key, task_id=params.task_id, claim=owner.hold, release=owner.let_go, progress=progress
        )
        if entry is not None:
            # The task that made it has only been cut off before it could say so.
            hit = entry.made_by != params.task_id or entry.hits > 0
            return owner.use(cache, entry, cache_hit=hit, progress=progress)
        if params.only_cached:
            return DiskMade("", 0, cache_hit=False)
        disk, facts = _new_disk(command, params, places, key)
        entry = cache.put(
            disk,
            facts,
            limit_bytes=params.cache_bytes,
            task_id=params.task_id,
            claim=owner.hold,
            progress=progress,
        )
        if entry is None:
            return owner.take(disk, key, facts)
        return owner.use(cache, entry, cache_hit=False, progress=progress)


def _owner(places: Places, params: ComposeDiskParams) -> Owner:
    if params.target == "packaging":
        return _Packaging(PackagingHome(places, params.owner_id))
    if params.target == "image":
        return _Image(ImageDisk(ImageHome(places, params.owner_id, params.owner_name), params.disk_name))
    raise RuleError(
        field="target",
        reason=f"A disk is for packaging or for an image, not for {params.target[:80]!r}.",
        remedy="",
    )


@dataclass(frozen=True, slots=True)
class _Composed:
    """What an earlier call has composed into the scratch of the task."""

    key: str
    file_bytes: int
    facts: DiskFacts


def _new_disk(
    command: Command, params: ComposeDiskParams, places: Places, key: str
) -> tuple[Path, DiskFacts]:
    """Return a new disk in the scratch of the task: the one received, or one composed here."""
    if params.received is not None:
        disk = places.file_below(params.received, field="received")
        if places.task(params.task_id) not in disk.parents:
            raise RuleError(field="received", reason="The disk is not in the scratch of its task.", remedy="")
        return disk, DiskFacts(params.recipe, family=family_of(places, params.recipe.identities))
    return _composed(command, params, places, key)


def _composed(
    command: Command, params: ComposeDiskParams, places: Places, key: str
) -> tuple[Path, DiskFacts]:
    folder = places.scratch(params.task_id, "compose")
    disk = folder / disk_name(_STEM, params.recipe.disk_format)
    earlier = kept_result(folder, "disk", _Composed)
    if earlier is not None and earlier.key == key and _size(disk) == earlier.file_bytes:
        return disk, earlier.facts
    layers = layer_files(places, params.recipe.identities)
    fresh_folder(folder)
    work = engine.compose_disk(params.recipe, layers, disk, seed=key, progress=command.progress)
    family = family_of(places, params.recipe.identities)
    facts = DiskFacts(params.recipe, work.plan_id, work.conflicts, family)
    keep_result(folder, "disk", _Composed(key, disk.stat().st_size, facts))
    return disk, facts


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
