"""Whole disk files: creating, converting, growing, the rules about files and disks below."""

from __future__ import annotations

import os
import random
import struct
import uuid
from pathlib import Path

import pytest

from sekiso.disks.convert import convert
from sekiso.disks.formats import detect_format
from sekiso.disks.identity import DiskIds
from sekiso.disks.image import create, inspect, repair_copy, set_disk_id
from sekiso.disks.open import open_disk
from sekiso.disks.resize import resize
from sekiso.errors import (
    AlreadyExistsError,
    CanceledError,
    DamagedInputError,
    NoSpaceError,
    NotFoundError,
    RuleError,
    SekisoError,
    UnsupportedInputError,
)
from sekiso.model.machine import DiskAllocation, DiskFormat
from tests.unit.disks.builders import IDS, MIB, patch

WRITTEN = [(f, a) for f in (DiskFormat.VHD, DiskFormat.VHDX, DiskFormat.RAW) for a in DiskAllocation]
FORMATS = pytest.mark.parametrize(("fmt", "allocation"), WRITTEN)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "source.raw"
    with path.open("wb") as stream:
        stream.truncate(9 * MIB + 1536)
        for at, seed in ((0, 1), (3 * MIB + 777 * 512, 2), (9 * MIB + 1024, 3)):
            stream.seek(at)
            stream.write(random.Random(seed).randbytes(512 if seed == 3 else 300_000))
    return path


class Watcher:
    def __init__(self, cancel_after: int | None = None) -> None:
        self.steps: list[tuple[str, int | None]] = []
        self.done: list[int] = []
        self.cancel_after = cancel_after

    def step(self, name: str, *, total: int | None = None) -> None:
        self.steps.append((name, total))

    def advance(self, done: int) -> None:
        self.done.append(done)

    def canceled(self) -> bool:
        return self.cancel_after is not None and len(self.done) >= self.cancel_after


@FORMATS
def test_convert_there_and_back(
    tmp_path: Path, raw: Path, fmt: DiskFormat, allocation: DiskAllocation
) -> None:
    target, back = tmp_path / "t", tmp_path / "back.raw"
    watch = Watcher()
    facts = convert(raw, target, fmt, allocation=allocation, progress=watch)
    assert (facts.format, facts.clean) == (fmt, True)
    if fmt is not DiskFormat.RAW:
        assert facts.allocation is allocation
        assert facts.virtual_size_bytes == 10 * MIB
    assert watch.done[-1] == watch.steps[0][1]
    assert convert(target, back, DiskFormat.RAW).virtual_size_bytes == facts.virtual_size_bytes
    data = raw.read_bytes()
    assert back.read_bytes() == data.ljust(facts.virtual_size_bytes, b"\0")
    assert not list(tmp_path.glob(".*"))


@FORMATS
def test_same_identifiers_same_file(
    tmp_path: Path, raw: Path, fmt: DiskFormat, allocation: DiskAllocation
) -> None:
    for name in "ab":
        convert(raw, tmp_path / name, fmt, allocation=allocation, ids=DiskIds.derived("x", created_s=1))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@FORMATS
def test_growing_keeps_the_content(
    tmp_path: Path, raw: Path, fmt: DiskFormat, allocation: DiskAllocation
) -> None:
    path = tmp_path / "t"
    convert(raw, path, fmt, allocation=allocation)
    data = raw.read_bytes()
    for size in (11 * MIB, 11 * MIB, 300 * MIB):
        assert resize(path, size).virtual_size_bytes == size
        with open_disk(path) as disk:
            assert disk.read(0, len(data)) == data
            assert not any(disk.read(len(data), 4 * MIB))
            assert not any(disk.read(size - MIB, MIB))
    with pytest.raises(RuleError, match="smaller"):
        resize(path, 200 * MIB)


def test_growing_a_vhdx_past_its_table_moves_the_table(tmp_path: Path) -> None:
    path = tmp_path / "a.vhdx"
    create(path, DiskFormat.VHDX, 4 * MIB, block_bytes=MIB)
    before = inspect(path)
    after = resize(path, 200 << 30)
    assert (after.virtual_size_bytes, after.disk_id) == (200 << 30, before.disk_id)
    assert after.file_bytes == before.file_bytes + 2 * MIB
    with open_disk(path) as disk:
        assert not any(disk.read((200 << 30) - 512, 512))


def test_what_lay_behind_the_end_does_not_appear(tmp_path: Path) -> None:
    """The last block of a dynamic disk may hold anything behind the end of the disk."""
    path = tmp_path / "a.vhdx"
    create(path, DiskFormat.VHDX, 3 * MIB)
    with open_disk(path) as disk:
        assert disk.size_bytes == 3 * MIB
    source = tmp_path / "s"
    source.write_bytes(b"\x11" * (3 * MIB))
    convert(source, tmp_path / "b.vhdx", DiskFormat.VHDX)
    end = (tmp_path / "b.vhdx").stat().st_size
    patch(tmp_path / "b.vhdx", end - MIB, b"junk" * 1000)
    resize(tmp_path / "b.vhdx", 4 * MIB)
    with open_disk(tmp_path / "b.vhdx") as disk:
        assert disk.read(3 * MIB, MIB) == bytes(MIB)


def test_new_identifier_in_place(tmp_path: Path, raw: Path) -> None:
    for fmt, allocation in WRITTEN[:4]:
        path = tmp_path / f"{fmt}{allocation}"
        convert(raw, path, fmt, allocation=allocation)
        set_disk_id(path, IDS.disk_id)
        facts = inspect(path)
        assert (facts.disk_id, facts.clean) == (IDS.disk_id, True)
        with open_disk(path) as disk:
            assert disk.read(0, 9 * MIB + 1536) == raw.read_bytes()
    with pytest.raises(UnsupportedInputError, match="no identifier"):
        set_disk_id(raw, IDS.disk_id)


def test_identifiers_are_unique(tmp_path: Path) -> None:
    ids = {create(tmp_path / f"{i}.vhdx", DiskFormat.VHDX, MIB).disk_id for i in range(3)}
    assert len(ids) == 3
    assert all(isinstance(i, uuid.UUID) for i in ids)


def test_nothing_is_overwritten(tmp_path: Path, raw: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(b"kept")
    with pytest.raises(AlreadyExistsError):
        convert(raw, kept, DiskFormat.VHDX)
    with pytest.raises(AlreadyExistsError):
        create(kept, DiskFormat.VHD, MIB)
    with pytest.raises(AlreadyExistsError):
        repair_copy(raw, kept)
    assert kept.read_bytes() == b"kept"


def test_cancel_leaves_nothing(tmp_path: Path, raw: Path) -> None:
    before = set(tmp_path.iterdir())
    with pytest.raises(CanceledError):
        convert(raw, tmp_path / "t.vhdx", DiskFormat.VHDX, progress=Watcher(cancel_after=1))
    assert set(tmp_path.iterdir()) == before


def test_no_space_is_told_before(tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = os.statvfs(tmp_path)
    full = os.statvfs_result((*state[:4], 1, *state[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    with pytest.raises(NoSpaceError):
        convert(raw, tmp_path / "t.vhdx", DiskFormat.VHDX)


def test_options_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(RuleError, match="does not write"):
        create(path, DiskFormat.QCOW2, MIB)
    with pytest.raises(RuleError, match="block size"):
        create(path, DiskFormat.VHDX, MIB, block_bytes=3 * MIB)
    with pytest.raises(RuleError, match="Sectors"):
        create(path, DiskFormat.VHDX, MIB, logical_sector_bytes=4096, physical_sector_bytes=512)
    assert not path.exists()


def test_4k_sectors(tmp_path: Path) -> None:
    facts = create(tmp_path / "a", DiskFormat.VHDX, 5 * MIB, logical_sector_bytes=4096)
    assert (facts.logical_sector_bytes, facts.physical_sector_bytes) == (4096, 4096)


@pytest.mark.parametrize(
    "magic",
    [b"KDMV", b"<<< Oracle VM VirtualBox Disk Image >>>", b"\x1f\x8b\x08", b"MSWIM\0\0\0", b"PK\x03\x04"],
)
def test_other_formats_are_named(tmp_path: Path, magic: bytes) -> None:
    path = tmp_path / "x.raw"
    path.write_bytes(magic.ljust(4096, b"\0"))
    with pytest.raises(UnsupportedInputError, match="It is"):
        detect_format(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        inspect(tmp_path / "no")
    with pytest.raises(UnsupportedInputError):
        inspect(tmp_path)


def qcow2(backing: str, *, version: int = 3, features: int = 0, crypt: int = 0, l1: int = 0) -> bytes:
    head = struct.pack(
        ">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", version, 112, len(backing), 16, MIB, crypt, 1, 65536,
        131072, 1, 0, 0, features, 0, 0, 4, 104,
    )  # fmt: skip
    data = bytearray(3 << 16)
    data[: len(head)] = head
    data[112 : 112 + len(backing)] = backing.encode()
    data[65536:65544] = l1.to_bytes(8, "big")
    return bytes(data)


class TestQcow2:
    @pytest.mark.parametrize("name", ["/etc/passwd", "../secret.raw", "json:{}", "nbd://host/x", "gone.raw"])
    def test_disks_below_must_be_beside(self, tmp_path: Path, name: str) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        (tmp_path / "secret.raw").write_bytes(b"secret" * 1000)
        (folder / "a.qcow2").write_bytes(qcow2(name))
        with pytest.raises(SekisoError) as caught:
            open_disk(folder / "a.qcow2")
        assert isinstance(caught.value, UnsupportedInputError | NotFoundError)

    def test_a_link_beside_that_leads_away_is_refused(self, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        (tmp_path / "secret.raw").write_bytes(b"secret" * 1000)
        (folder / "link").symlink_to(tmp_path / "secret.raw")
        (folder / "a.qcow2").write_bytes(qcow2("link"))
        with pytest.raises(UnsupportedInputError):
            open_disk(folder / "a.qcow2")
        with open_disk(folder / "a.qcow2", allow=[tmp_path]) as disk:
            assert disk.read(0, 6) == b"secret"

    def test_a_disk_on_itself_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.qcow2").write_bytes(qcow2("a.qcow2"))
        with pytest.raises(DamagedInputError, match="circle"):
            open_disk(tmp_path / "a.qcow2")

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"features": 4}, "another file"),
            ({"features": 8}, "zlib"),
            ({"features": 16}, "extended"),
            ({"features": 1 << 40}, "unknown features"),
            ({"crypt": 2}, "encrypted"),
            ({"version": 9}, "version"),
        ],
    )
    def test_features_that_are_refused(self, tmp_path: Path, options: dict[str, int], words: str) -> None:
        (tmp_path / "a").write_bytes(qcow2("", **options))
        with pytest.raises(UnsupportedInputError, match=words):
            inspect(tmp_path / "a")

    @pytest.mark.parametrize("l1", [1 << 50, 65536 + 512])
    def test_tables_out_of_place_are_refused(self, tmp_path: Path, l1: int) -> None:
        (tmp_path / "a").write_bytes(qcow2("", l1=l1))
        with pytest.raises(DamagedInputError, match="out of place"):
            inspect(tmp_path / "a")

    @pytest.mark.parametrize("name", ["a\0b", "x" * 300, "loop", "."])
    def test_names_that_cannot_be_files(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "loop").symlink_to("loop")
        (tmp_path / "a").write_bytes(qcow2(name))
        with pytest.raises(UnsupportedInputError):
            open_disk(tmp_path / "a")
