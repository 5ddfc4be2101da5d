"""The layer disk cache of a storage path (IM-4): composed disks that are kept to be used again.

    Cache/<key>.<vhd|vhdx>   the disk; never written again
    Cache/<key>.json         its recipe, size, content hash, and how it was used
    Cache/index.json         counters
    Cache/.lock, .<key>.lock held while the cache changes; while one disk is looked at, made or copied

The key of a disk is the identity of its whole recipe, its title in the boot menu included: the key is also
the seed of the disk's identifiers. So appliance and agent make the same bytes from one recipe, and a boot
disk composed again at the appliance fits the packaging disk that was begun on the agent's. Whoever asks for
boot disks of packaging machines gives them one constant title, so that they are shared.

A packaging machine runs on the cached disk itself; that it does is written in its own folder (`boot.json`),
so that nothing can be forgotten here: a disk is in use as long as such a record names it.

Several tasks and processes may work at once. Nobody removes a disk whose key somebody else holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from sekiso.agent.contract import CachedDisk, CacheFacts, DiskRecipe
from sekiso.agent.handlers.locks import holding_file, try_lock
from sekiso.agent.handlers.records import put_in_place, read_record, write_record
from sekiso.agent.handlers.sparse import allocated_bytes, content_root
from sekiso.agent.places import Places, checked_identity, disk_name, is_identity, make_folder
from sekiso.model.canonical import content_id
from sekiso.model.machine import DiskFormat
from sekiso.model.progress import NO_PROGRESS, Progress

log = logging.getLogger(__name__)
#: Record of the boot disk in the folder of a packaging machine.
CLAIM = "boot.json"
_SUFFIXES = tuple(f".{f.value}" for f in DiskFormat)


def recipe_key(recipe: DiskRecipe) -> str:
    """Return the identity of a recipe: key in the cache, and seed of the disk's identifiers."""
    plain: dict[str, Any] = msgspec.to_builtins(recipe)
    return content_id(plain)


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """What is known of a disk that was composed.

    Attributes:
        recipe: what it is.
        plan_id: identity of its plan; empty if it was composed elsewhere.
        conflicts: number of conflicts between its layers; -1 = not known here.
        family: guest family of its OS layer; empty if not known here.
    """

    recipe: DiskRecipe
    plan_id: str = ""
    conflicts: int = -1
    family: str = ""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """Content of `<key>.json`. Times are Unix seconds.

    Attributes:
        key: its key.
        facts: what it is.
        size_bytes: length of the file.
        root: hash of its content, see `content_root`.
        made_by: the task that made it.
        hits: how often it was used again.
        created_s: when it was made.
        used_s: when it was last used.
    """

    key: str
    facts: DiskFacts
    size_bytes: int
    root: str
    made_by: str
    hits: int = 0
    created_s: float = 0.0
    used_s: float = 0.0

    @property
    def file_name(self) -> str:
        """Name of the disk file."""
        return disk_name(self.key, self.facts.recipe.disk_format)


@dataclass(frozen=True, slots=True)
class BootClaim:
    """Content of `Packaging/<version id>/boot.json`: which disk the machine runs on.

    Attributes:
        key: key of the disk.
        cached: whether it is the one in the cache.
        ready: whether the disk is there and whole; until then the claim only keeps it.
        cache_hit: whether it was in the cache before.
        facts: what it is.
    """

    key: str
    cached: bool
    ready: bool = False
    cache_hit: bool = False
    facts: DiskFacts | None = None


@dataclass(frozen=True, slots=True)
class Counters:
    """Content of `index.json`."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    rebuilt: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """What is in the cache now, for decisions under its lock.

    Attributes:
        entries: the disks, least recently used first.
        sizes: room that each takes up, by key.
        users: packaging machines that run on each, by key.
    """

    entries: tuple[CacheEntry, ...]
    sizes: dict[str, int] = field(default_factory=dict[str, int])
    users: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    @property
    def file_bytes(self) -> int:
        """Room that all take up."""
        return sum(self.sizes.values())


def _nothing() -> None:
    """Do nothing."""


class DiskCache:
    """The layer disk cache of one storage path."""

    def __init__(self, places: Places, *, clock: Callable[[], float] = time.time) -> None:
        """Open the cache; nothing is made yet.

        Args:
            places: the storage path.
            clock: Unix seconds.
        """
        self._places, self._clock = places, clock
        self._folder = places.cache()

    def path(self, entry: CacheEntry) -> Path:
        """Return the file of a disk."""
        return self._folder / entry.file_name

    @contextlib.contextmanager
    def holding(self, key: str, *, progress: Progress = NO_PROGRESS) -> Generator[None]:
        """Hold a key: nobody else looks at, makes or removes its disk meanwhile.

        Raises:
            CanceledError: the work was canceled while it waited for another task.
        """
        make_folder(self._folder)
        with holding_file(self._lock_path(key), progress=progress):
            yield

    def find(
        self,
        key: str,
        *,
        task_id: str,
        claim: Callable[[CacheEntry], None],
        release: Callable[[], None] = _nothing,
        progress: Progress = NO_PROGRESS,
    ) -> CacheEntry | None:
        """Return a disk whose content is right, or None; call while holding the key.

        A damaged disk is removed. While a packaging machine runs on it, only its record is: its file is then
        replaced by the one that is made anew, which is the same.

        Args:
            key: its key.
            task_id: who asks. The task that made the disk finds it without this being a hit.
            claim: called under the cache's lock before the disk is looked at.
            release: called if it turns out damaged.
            progress: gets bytes; asked for cancellation.
        """
        with self._locked():
            entry = self._load(key)
            if entry is None:
                return None
            claim(entry)
        whole = self._is_whole(entry, progress)
        with self._locked():
            if not whole:
                release()
                self._drop_damaged(entry)
                return None
            return self._used(entry, task_id)

    def _used(self, entry: CacheEntry, task_id: str) -> CacheEntry:
        again = entry.made_by == task_id and entry.hits == 0
        if not again:
            entry = replace(entry, hits=entry.hits + 1, used_s=self._clock())
            write_record(self._record_path(entry.key), entry)
            self._count(hits=1)
        return entry

    def put(
        self,
        disk: Path,
        facts: DiskFacts,
        *,
        limit_bytes: int,
        task_id: str,
        claim: Callable[[CacheEntry], None],
        progress: Progress = NO_PROGRESS,
    ) -> CacheEntry | None:
        """Take a new disk into the cache; call while holding its key.

        Args:
            disk: the disk file, in the scratch of a task; it is moved.
            facts: what it is.
            limit_bytes: what all disks together may take up; the least recently used go to keep it.
            task_id: who made it.
            claim: called under the cache's lock before others can remove it again.
            progress: gets bytes; asked for cancellation.

        Returns:
            The entry; None if it does not fit even alone with the disks that are in use: the file stays.
        """
        key, size = recipe_key(facts.recipe), allocated_bytes(disk)
        make_folder(self._folder)
        root = content_root(disk, progress=progress) if size <= limit_bytes else ""
        with self._locked():
            self._count(misses=1)
            self._sweep(key)
            if size > limit_bytes or not self._make_room(limit_bytes - size, spare=key):
                return None
            now = self._clock()
            entry = CacheEntry(key, facts, disk.stat().st_size, root, task_id, 0, now, now)
            # The record first: a disk without one is a leftover, a record without a disk is nothing.
            write_record(self._record_path(key), entry)
            put_in_place(disk, self.path(entry))
            claim(entry)
        return entry

    def facts(self) -> CacheFacts:
        """Return what the cache holds."""
        with self._locked():
            return self._facts()

    def clear(self, keys: Sequence[str] | None = None, *, limit_bytes: int | None = None) -> CacheFacts:
        """Remove disks that nothing uses.

        Args:
            keys: which; None = all.
            limit_bytes: instead, remove the least recently used until the rest fits.

        Returns:
            What is left.
        """
        wanted = None if keys is None else {checked_identity(key) for key in keys}
        with self._locked():
            self._sweep()
            if limit_bytes is not None:
                self._make_room(limit_bytes, best_effort=True)
                return self._facts()
            held = self._held()
            for entry in held.entries:
                if entry.key not in held.users and (wanted is None or entry.key in wanted):
                    self._try_remove(entry)
            return self._facts()

    def _make_room(self, room_bytes: int, *, spare: str = "", best_effort: bool = False) -> bool:
        """Evict until the rest takes up no more; nothing is evicted if that would not be enough."""
        held = self._held()
        kept = held.file_bytes - held.sizes.get(spare, 0)
        loose = [e for e in held.entries if e.key != spare and e.key not in held.users]
        if not best_effort and kept - sum(held.sizes[e.key] for e in loose) > room_bytes:
            return False
        for entry in loose:
            if kept <= room_bytes:
                break
            if self._try_remove(entry):
                kept -= held.sizes[entry.key]
                self._count(evictions=1)
        return kept <= room_bytes

    def _try_remove(self, entry: CacheEntry) -> bool:
        """Remove a disk unless somebody holds its key."""
        fd = try_lock(self._lock_path(entry.key))
        if fd is None:
            return False
        try:
            self.path(entry).unlink(missing_ok=True)
            self._record_path(entry.key).unlink(missing_ok=True)
            self._lock_path(entry.key).unlink(missing_ok=True)
        finally:
            os.close(fd)
        log.info("the disk %s was removed from the layer disk cache", entry.key[:12])
        return True

    def _drop_damaged(self, entry: CacheEntry) -> None:
        if self._load(entry.key) is None:
            return
        log.warning("the disk %s in the layer disk cache is damaged; it is made again", entry.key[:12])
        if entry.key not in self._users():
            self.path(entry).unlink(missing_ok=True)
        self._record_path(entry.key).unlink(missing_ok=True)
        self._count(rebuilt=1)

    def _is_whole(self, entry: CacheEntry, progress: Progress) -> bool:
        path = self.path(entry)
        try:
            return (
                path.stat().st_size == entry.size_bytes
                and content_root(path, progress=progress) == entry.root
            )
        except OSError as error:
            log.warning("the disk %s cannot be read: %s", entry.key[:12], error)
            return False

    def _sweep(self, held_key: str = "") -> None:
        """Remove what cut-off work has left: disks without a record, records without a disk."""
        users = self._users()
        for path in tuple(self._folder.iterdir()):
            key = path.stem
            leftover = path.suffix in _SUFFIXES and self._load(key) is None and key not in users
            lonely = path.suffix == ".json" and path.name != "index.json" and self._load(key) is None
            if (leftover or lonely) and key != held_key:
                path.unlink(missing_ok=True)

    def _held(self) -> Held:
        names = [p.stem for p in self._folder.glob("*.json") if p.name != "index.json"]
        entries = [e for e in map(self._load, names) if e is not None]
        entries.sort(key=lambda e: (e.used_s, e.created_s, e.key))
        return Held(
            entries=tuple(entries),
            sizes={e.key: allocated_bytes(self.path(e)) for e in entries},
            users=self._users(),
        )

    def _users(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for folder in self._places.packagings():
            claim = read_record(folder / CLAIM, BootClaim)
            if claim is not None and claim.cached:
                found[claim.key] = (*found.get(claim.key, ()), folder.name)
        return found

    def _facts(self) -> CacheFacts:
        held, counted = self._held(), self._counters()
        disks = [
            CachedDisk(
                key=entry.key,
                identities=entry.facts.recipe.identities,
                disk_format=entry.facts.recipe.disk_format,
                generation=entry.facts.recipe.generation,
                file_bytes=held.sizes[entry.key],
                hits=entry.hits,
                created_s=entry.created_s,
                used_s=entry.used_s,
                in_use_by=held.users.get(entry.key, ()),
            )
            for entry in reversed(held.entries)
        ]
        counters = (counted.hits, counted.misses, counted.evictions, counted.rebuilt)
        return CacheFacts(tuple(disks), held.file_bytes, *counters)

    def _load(self, key: str) -> CacheEntry | None:
        entry = read_record(self._record_path(key), CacheEntry)
        if entry is None or entry.key != key or not is_identity(key):
            return None
        return entry if self.path(entry).is_file() else None

    def _counters(self) -> Counters:
        return read_record(self._folder / "index.json", Counters) or Counters()

    def _count(self, *, hits: int = 0, misses: int = 0, evictions: int = 0, rebuilt: int = 0) -> None:
        old = self._counters()
        new = Counters(old.hits + hits, old.misses + misses, old.evictions + evictions, old.rebuilt + rebuilt)
        write_record(self._folder / "index.json", new)

    def _record_path(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def _lock_path(self, key: str) -> Path:
        return self._folder / f".{checked_identity(key)}.lock"

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        make_folder(self._folder)
        fd = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)
