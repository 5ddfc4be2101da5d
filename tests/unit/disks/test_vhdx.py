from __future__ import annotations

import random
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekiso.disks.image import inspect, repair_copy
from sekiso.disks.open import allocated_ranges, open_disk
from sekiso.disks.vhdx.bat import FULL, NOT_PRESENT, PARTIAL, UNMAPPED, ZERO, BatShape
from sekiso.disks.vhdx.layout import Header, pack_header
from sekiso.errors import DamagedInputError, UnsupportedInputError
from sekiso.model.machine import DiskAllocation
from tests.unit.disks.builders import IDS, MIB, log_entry, patch, set_log, vhdx

BAT = 3 * MIB
LOG_ID = uuid.UUID(int=0xABC)


def data_of(seed: int, length: int = MIB) -> bytes:
    return random.Random(seed).randbytes(length)


def entry(state: int, mib: int) -> bytes:
    return (mib << 20 | state).to_bytes(8, "little")


def test_content_holes_and_ranges(tmp_path: Path) -> None:
    path = vhdx(tmp_path / "a.vhdx", 10 * MIB, {7 * MIB + 512: data_of(1), 0: data_of(2, 4096)})
    wanted = data_of(2, 4096) + bytes(7 * MIB + 512 - 4096) + data_of(1) + bytes(2 * MIB - 512)
    with open_disk(path) as disk:
        assert disk.read(0, 20 * MIB) == wanted
        assert disk.logical_sector_bytes == 512
    assert [(r.start, r.length) for r in allocated_ranges(path)] == [(0, MIB), (7 * MIB, 2 * MIB)]
    facts = inspect(path)
    assert (facts.virtual_size_bytes, facts.block_size_bytes, facts.clean) == (10 * MIB, MIB, True)
    assert (facts.logical_sector_bytes, facts.physical_sector_bytes) == (512, 4096)
    assert facts.disk_id == IDS.disk_id


def test_states_that_read_as_zeros(tmp_path: Path) -> None:
    path = vhdx(tmp_path / "a.vhdx", 3 * MIB, {0: data_of(1), MIB: data_of(2), 2 * MIB: data_of(3)})
    patch(path, BAT, entry(ZERO, 4) + entry(UNMAPPED, 5))
    with open_disk(path) as disk:
        assert disk.read(0, 3 * MIB) == bytes(2 * MIB) + data_of(3)


def test_same_ids_same_bytes(tmp_path: Path) -> None:
    one = vhdx(tmp_path / "a", 5 * MIB, {0: data_of(1)}).read_bytes()
    assert one == vhdx(tmp_path / "b", 5 * MIB, {0: data_of(1)}).read_bytes()


class TestHeaders:
    def newer(self, path: Path, index: int, sequence: int, **changes: uuid.UUID) -> None:
        header = Header(sequence, IDS.file_write_id, IDS.data_write_id, uuid.UUID(int=0), MIB, MIB)
        patch(path, (64 << 10) * (index + 1), pack_header(replace(header, **changes)))

    def test_one_broken_header_is_enough_two_are_not(self, tmp_path: Path) -> None:
        path = vhdx(tmp_path / "a.vhdx", 3 * MIB, {})
        patch(path, (128 << 10) + 100, b"x")
        assert "Header 2 is broken" in inspect(path).notes[0]
        patch(path, (64 << 10) + 100, b"x")
        with pytest.raises(DamagedInputError, match="Both headers"):
            inspect(path)

    def test_equal_sequence_numbers(self, tmp_path: Path) -> None:
        path = vhdx(tmp_path / "a.vhdx", 3 * MIB, {})
        self.newer(path, 0, 5)
        self.newer(path, 1, 5)
        assert inspect(path).clean
        self.newer(path, 1, 5, file_write_id=uuid.UUID(int=1))
        with pytest.raises(DamagedInputError, match="same sequence number"):
            inspect(path)

    def test_newer_header_decides_about_the_log(self, tmp_path: Path) -> None:
        path = vhdx(tmp_path / "a.vhdx", 3 * MIB, {})
        self.newer(path, 0, 8, log_id=LOG_ID)
        assert not inspect(path).clean
        self.newer(path, 1, 9)
        assert inspect(path).clean


class TestTables:
    def test_second_region_table_is_used(self, tmp_path: Path) -> None:
        path = vhdx(tmp_path / "a.vhdx", 3 * MIB, {})
        patch(path, (192 << 10) + 20, b"x")
        assert "Region table 1 is broken" in inspect(path).notes[0]
        patch(path, (256 << 10) + 20, b"x")
        with pytest.raises(DamagedInputError, match="Both region tables"):
            inspect(path)

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (entry(FULL, 100), "outside of the file"),
            (entry(FULL, 0), "outside of the file"),
            (entry(FULL, (1 << 44) - 1), "outside of the file"),
            (entry(FULL, 3), "something else"),
            (entry(FULL, 2), "something else"),
            (entry(FULL, 1), "something else"),
            (entry(FULL, 5), "same place"),
            (entry(4, 5), "impossible state 4"),
            (entry(PARTIAL, 5), "impossible state 7"),
        ],
    )
    def test_block_table_is_checked(self, tmp_path: Path, value: bytes, words: str) -> None:
        path = vhdx(tmp_path / "a.vhdx", 3 * MIB, {0: data_of(1), MIB: data_of(2)})
        patch(path, BAT, value)
        with pytest.raises(DamagedInputError, match=words):
            inspect(path)

    @pytest.mark.parametrize(
        ("offset", "value", "words"),
        [
            (0, b"xxxxxxxx", "metadata table"),
            (10, (2000).to_bytes(2, "little"), "metadata table"),
            (10, (3).to_bytes(2, "little"), "is missing"),
            (32 + 16, (1).to_bytes(4, "little"), "outside of its region"),
            (32 + 20, (5).to_bytes(4, "little"), "wrong length"),
            (65536, (3 << 19).to_bytes(4, "little"), "block size"),
            (65536 + 8, (512 << 40).to_bytes(8, "little"), "virtual size"),
            (65536 + 8, (MIB + 1).to_bytes(8, "little"), "virtual size"),
            (65536 + 32, (100).to_bytes(4, "little"), "sector size"),
            (65536 + 8, (1 << 40).to_bytes(8, "little"), "too small for the disk"),
        ],
    )
    def test_metadata_is_checked(self, tmp_path: Path, offset: int, value: bytes, words: str) -> None:
        path = vhdx(tmp_path / "a.vhdx", 3 * MIB, {})
        patch(path, 2 * MIB + offset, value)
        with pytest.raises(DamagedInputError, match=words):
            inspect(path)

    def test_unknown_metadata_that_must_be_understood(self, tmp_path: Path) -> None:
        path = vhdx(tmp_path / "a.vhdx", 3 * MIB, {})
        patch(path, 2 * MIB + 32, uuid.uuid4().bytes)
        with pytest.raises(UnsupportedInputError, match="must be understood"):
            inspect(path)


@given(st.integers(1, 64 << 40), st.sampled_from([MIB << n for n in range(9)]), st.booleans())
def test_shape_never_indexes_outside_of_the_table(size: int, block_bytes: int, has_parent: bool) -> None:
    shape = BatShape.of(size, block_bytes, 512, has_parent=has_parent)
    assert shape.payload_index(shape.blocks - 1) < shape.entries
    if has_parent:
        assert shape.bitmap_index(shape.blocks - 1) < shape.entries
    assert shape.payload_index(shape.ratio) == shape.ratio + 1


class TestParents:
    def child(self, folder: Path, linkage: uuid.UUID = IDS.data_write_id) -> Path:
        vhdx(folder / "Base.vhdx", 4 * MIB, {0: data_of(1), 2 * MIB: data_of(2)})
        locator = {
            "parent_linkage": f"{{{linkage}}}",
            "relative_path": ".\\base.vhdx",
            "absolute_win32_path": "C:\\disks\\base.vhdx",
        }
        ids = replace(IDS, data_write_id=uuid.UUID(int=5))
        path = vhdx(
            folder / "child.avhdx", 4 * MIB, {0: data_of(3), MIB: data_of(4)}, ids=ids, locator=locator
        )
        self.make_partial(path)
        return path

    def make_partial(self, path: Path) -> None:
        """Block 0 is partial: only its sectors 1 and 9 are the child's. The bitmap goes to the file's end."""
        end = path.stat().st_size // MIB
        patch(path, BAT, entry(PARTIAL, 4))
        patch(path, BAT + 8 * 4096, entry(FULL, end))
        patch(path, end * MIB, b"\x02\x02" + bytes(MIB - 2))
        patch(path, BAT + 16, entry(NOT_PRESENT, 0) + entry(ZERO, 0))

    def test_reads_through(self, tmp_path: Path) -> None:
        path = self.child(tmp_path)
        mixed = bytearray(data_of(1))
        for sector in (1, 9):
            mixed[512 * sector : 512 * sector + 512] = data_of(3)[512 * sector : 512 * sector + 512]
        with open_disk(path) as disk:
            assert disk.read(0, 4 * MIB) == bytes(mixed) + data_of(4) + data_of(2) + bytes(MIB)
        ranges = [(r.start, r.length) for r in allocated_ranges(path)]
        assert ranges == [(512, 512), (9 * 512, 512), (MIB, MIB)]
        assert inspect(path).parent == ".\\base.vhdx"

    def test_a_parent_that_was_changed_is_refused(self, tmp_path: Path) -> None:
        path = self.child(tmp_path, linkage=uuid.UUID(int=77))
        with pytest.raises(UnsupportedInputError, match="was changed since"):
            open_disk(path)

    def test_a_missing_parent_is_named(self, tmp_path: Path) -> None:
        path = self.child(tmp_path)
        (tmp_path / "Base.vhdx").rename(tmp_path / "elsewhere.vhdx")
        with pytest.raises(UnsupportedInputError, match=r"base\.vhdx"):
            open_disk(path)

    def test_a_parent_elsewhere_must_be_allowed(self, tmp_path: Path) -> None:
        path = self.child(tmp_path)
        other = tmp_path / "other"
        other.mkdir()
        (tmp_path / "Base.vhdx").rename(other / "base.vhdx")
        with open_disk(path, allow=[other]) as disk:
            assert disk.read(2 * MIB, MIB) == data_of(2)

    def test_the_disk_below_may_have_another_name_and_place(self, tmp_path: Path) -> None:
        path = self.child(tmp_path)
        below = tmp_path / "other" / "made-again.vhdx"
        below.parent.mkdir()
        (tmp_path / "Base.vhdx").rename(below)
        with open_disk(path, below=below) as disk:
            assert disk.read(2 * MIB, MIB) == data_of(2)
        with pytest.raises(UnsupportedInputError, match="was changed since"):
            open_disk(self.child(tmp_path, linkage=uuid.UUID(int=77)), below=below)

    def test_partial_block_without_bitmap_is_refused(self, tmp_path: Path) -> None:
        path = self.child(tmp_path)
        patch(path, BAT + 8 * 4096, bytes(8))
        with open_disk(path) as disk, pytest.raises(DamagedInputError, match="bitmap is missing"):
            disk.read(0, 512)


class TestLog:
    """Logs as [MS-VHDX] 2.3 describes them; the change that is logged is the block table's first page."""

    def dirty(self, folder: Path, log: bytes) -> Path:
        path = vhdx(folder / "a.vhdx", 3 * MIB, {0: data_of(1), MIB: data_of(2)})
        set_log(path, LOG_ID, log)
        return path

    def page(self, *entries: bytes) -> bytes:
        return b"".join(entries).ljust(4096, b"\0")

    def swapped(self) -> bytes:
        return self.page(entry(FULL, 5), entry(FULL, 4))

    def one(self, sequence: int = 1, **options: int) -> bytes:
        given = {"tail": 0, "file_bytes": 6 * MIB, **options}
        return log_entry(LOG_ID, sequence, [(BAT, self.swapped())], **given)

    def read(self, path: Path) -> bytes:
        with open_disk(path) as disk:
            return disk.read(0, 3 * MIB)

    def test_replay_is_seen_without_writing_and_repair_writes_it(self, tmp_path: Path) -> None:
        path = self.dirty(tmp_path, self.one())
        before = path.read_bytes()
        wanted = data_of(2) + data_of(1) + bytes(MIB)
        assert self.read(path) == wanted
        assert not inspect(path).clean
        assert path.read_bytes() == before
        fixed = tmp_path / "fixed.vhdx"
        assert repair_copy(path, fixed).clean
        assert self.read(fixed) == wanted
        assert path.read_bytes() == before

    def test_zeros_and_extension(self, tmp_path: Path) -> None:
        page = self.page(entry(FULL, 4), entry(FULL, 5), entry(FULL, 6))
        log = log_entry(
            LOG_ID, 1, [(BAT, page), (4 * MIB, MIB)], tail=0, file_bytes=7 * MIB, flushed_bytes=6 * MIB
        )
        path = self.dirty(tmp_path, log)
        assert self.read(path) == bytes(MIB) + data_of(2) + bytes(MIB)
        assert repair_copy(path, tmp_path / "b.vhdx").file_bytes == 7 * MIB

    def test_entries_before_the_tail_are_done_already(self, tmp_path: Path) -> None:
        old = log_entry(LOG_ID, 1, [(BAT, self.page(entry(ZERO, 0)))], tail=0, file_bytes=6 * MIB)
        new = self.one(2, tail=len(old))
        assert self.read(self.dirty(tmp_path, old + new)) == data_of(2) + data_of(1) + bytes(MIB)

    def test_newest_complete_sequence_wins_and_a_torn_entry_is_left_out(self, tmp_path: Path) -> None:
        stale = log_entry(LOG_ID, 1, [(BAT, self.page(entry(ZERO, 0)))], tail=0, file_bytes=6 * MIB)
        gap = bytes(4096)
        at = len(stale) + len(gap)
        good = self.one(8, tail=at)
        torn = bytearray(self.one(9, tail=at))
        torn[5000] ^= 1
        path = self.dirty(tmp_path, stale + gap + good + bytes(torn))
        assert self.read(path) == data_of(2) + data_of(1) + bytes(MIB)

    def test_entries_of_another_log_do_not_count(self, tmp_path: Path) -> None:
        foreign = log_entry(uuid.UUID(int=9), 50, [(BAT, bytes(4096))], tail=0, file_bytes=6 * MIB)
        good = self.one(3, tail=len(foreign))
        assert self.read(self.dirty(tmp_path, foreign + good)) == data_of(2) + data_of(1) + bytes(MIB)

    def test_a_sequence_that_wraps_around_the_end(self, tmp_path: Path) -> None:
        first = log_entry(LOG_ID, 4, [(BAT, self.page(entry(ZERO, 0)))], tail=MIB - 8192, file_bytes=6 * MIB)
        second = self.one(5, tail=MIB - 8192)
        log = second.ljust(MIB - len(first), b"\0") + first
        assert self.read(self.dirty(tmp_path, log)) == data_of(2) + data_of(1) + bytes(MIB)

    def test_an_entry_that_wraps_around_the_end(self, tmp_path: Path) -> None:
        whole = self.one(5, tail=MIB - 4096)
        log = whole[4096:].ljust(MIB - 4096, b"\0") + whole[:4096]
        assert self.read(self.dirty(tmp_path, log)) == data_of(2) + data_of(1) + bytes(MIB)

    def test_a_tail_that_is_gone_makes_the_sequence_incomplete(self, tmp_path: Path) -> None:
        path = self.dirty(tmp_path, bytes(8192) + self.one(5, tail=0))
        with pytest.raises(DamagedInputError, match="no valid entries"):
            inspect(path)

    def test_a_file_cut_off_since_is_refused(self, tmp_path: Path) -> None:
        path = self.dirty(tmp_path, self.one(file_bytes=60 * MIB))
        with pytest.raises(DamagedInputError, match="cut off"):
            inspect(path)

    @pytest.mark.parametrize("target", [64 << 10, MIB, 2 * MIB - 4096, 40 * MIB])
    def test_writes_to_forbidden_places_are_refused(self, tmp_path: Path, target: int) -> None:
        log = log_entry(LOG_ID, 1, [(target, bytes(4096))], tail=0, file_bytes=6 * MIB)
        with pytest.raises(DamagedInputError, match="must not write"):
            inspect(self.dirty(tmp_path, log))

    def test_a_broken_log_is_refused(self, tmp_path: Path) -> None:
        broken = bytearray(self.one())
        broken[4500] ^= 0xFF
        with pytest.raises(DamagedInputError, match="no valid entries"):
            inspect(self.dirty(tmp_path, bytes(broken)))

    def test_a_lost_log_is_refused_unless_its_writer_is_known_to_announce_first(self, tmp_path: Path) -> None:
        path = self.dirty(tmp_path, b"")
        assert inspect(path).clean is False
        assert self.read(path) == data_of(1) + data_of(2) + bytes(MIB)
        patch(path, 8, "Microsoft Windows".encode("utf-16-le"))
        with pytest.raises(DamagedInputError, match="no valid entries"):
            inspect(path)

    @settings(max_examples=25, deadline=None)
    @given(st.integers(1, 20), st.integers(0, 255), st.data())
    def test_any_cut_of_the_log_gives_a_prefix_or_a_refusal(
        self, tmp_path_factory: pytest.TempPathFactory, count: int, start: int, data: st.DataObject
    ) -> None:
        """A log torn anywhere replays exactly the entries that are whole, in order."""
        folder = tmp_path_factory.mktemp("log")
        parts = [
            log_entry(
                LOG_ID,
                100 + i,
                [(4 * MIB + 4096 * i, bytes([i + 1]) * 4096)],
                tail=start * 4096,
                file_bytes=6 * MIB,
            )
            for i in range(count)
        ]
        keep = data.draw(st.integers(0, count))
        ring = bytearray(MIB)
        for i, part in enumerate(parts[:keep] + [bytes(4096) + p[4096:] for p in parts[keep : keep + 1]]):
            for half in range(2):
                at = (start + 2 * i + half) % 256 * 4096
                ring[at : at + 4096] = part[4096 * half : 4096 * half + 4096]
        path = self.dirty(folder, bytes(ring))
        wanted = bytearray(data_of(1))
        for i in range(keep):
            wanted[4096 * i : 4096 * i + 4096] = bytes([i + 1]) * 4096
        assert self.read(path)[:MIB] == bytes(wanted)


def test_fixed_has_every_block_in_order(tmp_path: Path) -> None:
    path = vhdx(tmp_path / "a.vhdx", 5 * MIB, {2 * MIB: data_of(1)}, fixed=True)
    facts = inspect(path)
    assert facts.allocation is DiskAllocation.FIXED
    assert facts.file_bytes == 9 * MIB
    assert path.read_bytes()[6 * MIB : 7 * MIB] == data_of(1)
    assert [(r.start, r.length) for r in allocated_ranges(path)] == [(0, 5 * MIB)]
