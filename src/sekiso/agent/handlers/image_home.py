"""The folder of one published image: its disk, its machine, and their record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sekiso.agent.cache import CacheEntry, DiskCache, DiskFacts
from sekiso.agent.contract import DiskMade
from sekiso.agent.handlers.records import put_in_place, read_record, write_record
from sekiso.agent.handlers.sparse import allocated_bytes, copy_disk_file
from sekiso.agent.places import IMAGE_RECORD, MACHINE, Places, checked_id, disk_name, make_folder, safe_name
from sekiso.errors import AlreadyExistsError
from sekiso.model.progress import Progress

_PART = ".part"


@dataclass(frozen=True, slots=True)
class ImageRecordFile:
    """Content of `image.json`.

    Attributes:
        image_id: the image.
        name: its name.
        key: identity of the recipe of its disk; empty until it is known.
        disk: name of its disk file; empty until the disk is whole.
        cache_hit: whether that came from the cache.
        facts: what its disk is.
        machine_id: its machine; empty until that is made.
    """

    image_id: str
    name: str
    key: str = ""
    disk: str = ""
    cache_hit: bool = False
    facts: DiskFacts | None = None
    machine_id: str = ""


class ImageHome:
    """The folder `Images/<image name>/`."""

    def __init__(self, places: Places, image_id: str, name: str) -> None:
        self.places = places
        self.image_id, self.name = checked_id(image_id, "image_id"), name
        self.folder = places.image(name)
        self.machine_folder = self.folder / MACHINE

    def record(self) -> ImageRecordFile | None:
        """Return what is known of the image; None also if the folder is another image's."""
        found = read_record(self.folder / IMAGE_RECORD, ImageRecordFile)
        return found if found is not None and found.image_id == self.image_id else None

    def is_foreign(self) -> bool:
        """Whether the folder belongs to another image."""
        found = read_record(self.folder / IMAGE_RECORD, ImageRecordFile)
        return found is not None and found.image_id != self.image_id

    def open(self) -> ImageRecordFile:
        """Return what is known of the image; its folder is made.

        Raises:
            AlreadyExistsError: there is something of that name that is not this image.
        """
        record = self.record()
        if record is not None:
            return record
        if self.folder.exists() and (self.is_foreign() or any(self._content())):
            raise AlreadyExistsError(
                what="The image", name=self.name, remedy="Give the image another name, or remove that one."
            )
        make_folder(self.folder)
        return self.save(ImageRecordFile(self.image_id, self.name))

    def save(self, record: ImageRecordFile) -> ImageRecordFile:
        """Write down what is known of the image."""
        write_record(self.folder / IMAGE_RECORD, record)
        return record

    def _content(self) -> list[Path]:
        return [p for p in self.folder.iterdir() if not p.name.startswith(".")]


class ImageDisk:
    """The disk of an image, as `disk.compose` makes it."""

    def __init__(self, home: ImageHome, stem: str) -> None:
        self._home, self._stem = home, safe_name(stem)

    def made(self, key: str) -> DiskMade | None:
        """Return the disk that an earlier call has put here."""
        record = self._home.record()
        if record is None or record.key != key or not record.disk or record.facts is None:
            return None
        path = self._home.folder / record.disk
        return _disk_made(path, record) if path.is_file() else None

    def take(self, disk: Path, key: str, facts: DiskFacts) -> DiskMade:
        """Have a disk as the image's; it is moved here."""
        self._begin()
        return self._put(disk, key, facts, cache_hit=False)

    def copy_cached(
        self, cache: DiskCache, entry: CacheEntry, *, cache_hit: bool, progress: Progress
    ) -> DiskMade:
        """Have a copy of a disk of the cache as the image's; call while holding its key."""
        self._begin()
        part = self._home.folder / f".{self._file_name(entry.facts)}{_PART}"
        copy_disk_file(cache.path(entry), part, progress=progress)
        return self._put(part, entry.key, entry.facts, cache_hit=cache_hit)

    def _begin(self) -> None:
        record = self._home.open()
        if record.disk and (self._home.folder / record.disk).is_file():
            raise AlreadyExistsError(
                what="The disk of the image", name=record.name, remedy="Remove the image first."
            )
        for part in self._home.folder.glob(f".*{_PART}"):
            part.unlink()

    def _put(self, disk: Path, key: str, facts: DiskFacts, *, cache_hit: bool) -> DiskMade:
        target = self._home.folder / self._file_name(facts)
        # The record first: there is no disk of this name, so one that is there is then the one recorded.
        record = replace(self._home.open(), key=key, disk=target.name, cache_hit=cache_hit, facts=facts)
        self._home.save(record)
        put_in_place(disk, target)
        return _disk_made(target, record)

    def _file_name(self, facts: DiskFacts) -> str:
        return disk_name(self._stem, facts.recipe.disk_format)


def _disk_made(path: Path, record: ImageRecordFile) -> DiskMade:
    assert record.facts is not None
    facts = record.facts
    return DiskMade(str(path), allocated_bytes(path), record.cache_hit, facts.plan_id, facts.conflicts)
