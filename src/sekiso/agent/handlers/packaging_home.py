"""The folder of one packaging machine: its boot disk, its packaging disk, its machine, and their records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sekiso.agent.cache import CLAIM, BootClaim, CacheEntry, DiskFacts
from sekiso.agent.contract import DiskMade
from sekiso.agent.handlers.records import put_in_place, read_record, write_record
from sekiso.agent.handlers.sparse import allocated_bytes
from sekiso.agent.places import MACHINE, PACKAGING_RECORD, Places, disk_name, make_folder
from sekiso.errors import AlreadyExistsError, NotFoundError
from sekiso.model.machine import DiskFormat

#: Name of the packaging disk, without the suffix that the driver adds.
PACKAGING_STEM = "packaging"
RUN_ONCE = "run-once.raw"
_BOOT_STEM = "boot"


@dataclass(frozen=True, slots=True)
class PackagingRecord:
    """Content of `record.json`.

    Attributes:
        version_id: the layer version.
        machine_name: name of its machine.
        boot_disk: the disk under its packaging disk.
        disk_format: format of that disk.
        machine_id: identifier of its machine; empty until it is made.
        report_offset: offset of the guest's report port when the machine was last started.
        started: whether the machine has been started since it was made.
    """

    version_id: str
    machine_name: str
    boot_disk: str
    disk_format: DiskFormat
    machine_id: str = ""
    report_offset: int = 0
    started: bool = False


class PackagingHome:
    """The folder `Packaging/<version id>/`."""

    def __init__(self, places: Places, version_id: str) -> None:
        self.places = places
        self.folder = places.packaging(version_id)
        self.version_id = self.folder.name
        self.machine_folder = self.folder / MACHINE
        self.run_once = self.folder / RUN_ONCE

    def record(self) -> PackagingRecord | None:
        """Return what is known of its machine."""
        return read_record(self.folder / PACKAGING_RECORD, PackagingRecord)

    def save(self, record: PackagingRecord) -> PackagingRecord:
        """Write down what is known of its machine."""
        write_record(make_folder(self.folder) / PACKAGING_RECORD, record)
        return record

    def require(self) -> PackagingRecord:
        """Return what is known of its machine.

        Raises:
            NotFoundError: there is no packaging machine.
        """
        record = self.record()
        if record is None:
            raise self.absent()
        return record

    def absent(self) -> NotFoundError:
        """Return the error for a packaging machine that is not there."""
        return NotFoundError(
            what="The packaging machine of the layer version",
            name=self.version_id,
            remedy="It may have been removed; begin a new version of the layer.",
        )

    def packaging_disk(self) -> Path | None:
        """Return its writable disk, if that is there."""
        return next(iter(sorted(self.folder.glob(f"{PACKAGING_STEM}.*"))), None)

    def require_packaging_disk(self) -> Path:
        """Return its writable disk.

        Raises:
            NotFoundError: there is none.
        """
        found = self.packaging_disk()
        if found is None:
            raise self.absent()
        return found

    # The boot disk

    def claim(self) -> BootClaim | None:
        """Return which boot disk it has."""
        return read_record(self.folder / CLAIM, BootClaim)

    def boot_disk(self, claim: BootClaim) -> Path:
        """Return the path of the boot disk of a claim."""
        assert claim.facts is not None
        fmt = claim.facts.recipe.disk_format
        if claim.cached:
            return self.places.cache() / disk_name(claim.key, fmt)
        return self.folder / disk_name(_BOOT_STEM, fmt)

    def made(self, key: str) -> DiskMade | None:
        """Return the boot disk that an earlier call has put here.

        Raises:
            AlreadyExistsError: the machine was begun on another one.
        """
        claim = self.claim()
        if claim is not None and claim.key != key and self.packaging_disk() is not None:
            raise AlreadyExistsError(
                what="The packaging machine of the layer version",
                name=self.version_id,
                remedy="It was begun on another boot disk. Remove it first.",
            )
        if claim is None or claim.key != key or not claim.ready or claim.facts is None:
            return None
        path = self.boot_disk(claim)
        if not path.is_file():
            return None
        return _disk_made(path, claim.facts, cache_hit=claim.cache_hit)

    def hold_cached(self, entry: CacheEntry) -> None:
        """Keep a disk of the cache from being removed."""
        self._write_claim(BootClaim(entry.key, cached=True, facts=entry.facts))

    def let_go(self) -> None:
        """Forget the boot disk that was held."""
        (self.folder / CLAIM).unlink(missing_ok=True)

    def use_cached(self, entry: CacheEntry, *, cache_hit: bool) -> DiskMade:
        """Have the disk of the cache as boot disk, until the packaging machine is removed."""
        claim = BootClaim(entry.key, cached=True, ready=True, cache_hit=cache_hit, facts=entry.facts)
        self._write_claim(claim)
        return _disk_made(self.boot_disk(claim), entry.facts, cache_hit=cache_hit)

    def take(self, disk: Path, key: str, facts: DiskFacts) -> DiskMade:
        """Have a disk of its own as boot disk; it is moved here."""
        claim = BootClaim(key, cached=False, ready=True, facts=facts)
        # The claim first, and no other disk under that name: the disk that is there is then this one.
        self.boot_disk(claim).unlink(missing_ok=True)
        self._write_claim(claim)
        put_in_place(disk, self.boot_disk(claim))
        return _disk_made(self.boot_disk(claim), facts, cache_hit=False)

    def _write_claim(self, claim: BootClaim) -> None:
        write_record(make_folder(self.folder) / CLAIM, claim)


def _disk_made(path: Path, facts: DiskFacts, *, cache_hit: bool) -> DiskMade:
    return DiskMade(str(path), allocated_bytes(path), cache_hit, facts.plan_id, facts.conflicts)
