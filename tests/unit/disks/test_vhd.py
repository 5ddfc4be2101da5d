from __future__ import annotations

import os
import random
import uuid
from pathlib import Path

import pytest

from sekiso.disks.image import inspect, repair_copy
from sekiso.disks.open import allocated_ranges, open_disk
from sekiso.disks.vhd import VhdType, pack_footer
from sekiso.errors import DamagedInputError, UnsupportedInputError
from sekiso.model.machine import DiskAllocation
from tests.unit.disks.builders import IDS, MIB, patch, sparse_vhd, vhd_footer

BLOCK = 65536
ALL = b"\xff" * 16


def block_of(seed: int) -> bytes:
    return random.Random(seed).randbytes(BLOCK)


def test_footer_equals_one_built_by_hand() -> None:
    made = pack_footer(VhdType.FIXED, 3 * MIB, IDS)
    by_hand = vhd_footer(2, 3 * MIB, IDS.disk_id, creator=b"win ")
    assert made[:8] == by_hand[:8]
    assert made[40:56] == by_hand[40:56]
    assert made[60:64] == by_hand[60:64]
    assert made[68:84] == IDS.disk_id.bytes
    assert sum(made) - sum(made[64:68]) == 0xFFFFFFFF - int.from_bytes(made[64:68], "big")


def test_dynamic_reads_blocks_holes_and_unwritten_sectors(tmp_path: Path) -> None:
    first, third = block_of(1), block_of(3)
    half = b"\xf0" + bytes(15)  # the first four sectors only
    path = tmp_path / "a.vhd"
    path.write_bytes(sparse_vhd(5 * BLOCK - 512, {0: (ALL, first), 3: (half, third)}))
    wanted = first + bytes(2 * BLOCK) + third[:2048] + bytes(BLOCK - 2048) + bytes(BLOCK - 512)
    with open_disk(path) as disk:
        assert disk.size_bytes == len(wanted)
        assert disk.read(0, len(wanted) + 5) == wanted
        assert disk.read(3 * BLOCK + 2000, 100) == wanted[3 * BLOCK + 2000 :][:100]
        with pytest.raises(ValueError, match="negative"):
            disk.read(-1, 1)
    ranges = allocated_ranges(path)
    assert [(r.start, r.length) for r in ranges] == [(0, BLOCK), (3 * BLOCK, 2048)]
    facts = inspect(path)
    assert (facts.allocation, facts.block_size_bytes, facts.disk_id) == (
        DiskAllocation.DYNAMIC,
        BLOCK,
        IDS.disk_id,
    )


FIRST_SECTOR = b"\x80" + bytes(15)


def differencing(
    folder: Path, *, parent_id: uuid.UUID = IDS.disk_id, mine: bytes = FIRST_SECTOR, sectors: int = 1
) -> tuple[Path, bytes]:
    """A child that holds the first `sectors` sectors of the parent's second block."""
    parent, child = block_of(1), block_of(2)
    (folder / "Base.vhd").write_bytes(sparse_vhd(2 * BLOCK, {0: (ALL, parent), 1: (ALL, parent)}))
    path = folder / "child.avhd"
    path.write_bytes(
        sparse_vhd(
            2 * BLOCK,
            {1: (mine, child)},
            kind=4,
            disk_id=uuid.UUID(int=7),
            parent_id=parent_id,
            parent_name=".\\base.VHD",
        )
    )
    return path, parent + child[: 512 * sectors] + parent[512 * sectors :]


def test_differencing_reads_through_its_parent(tmp_path: Path) -> None:
    path, wanted = differencing(tmp_path)
    with open_disk(path) as disk:
        assert disk.read(0, 2 * BLOCK) == wanted
        assert [(r.start, r.length) for r in disk.data_ranges()] == [(0, 2 * BLOCK)]
    assert [(r.start, r.length) for r in allocated_ranges(path)] == [(BLOCK, 512)]
    assert inspect(path).parent == ".\\base.VHD"


def test_differencing_without_its_parent_names_it(tmp_path: Path) -> None:
    path, _ = differencing(tmp_path)
    (tmp_path / "Base.vhd").unlink()
    with pytest.raises(UnsupportedInputError, match=r"base\.VHD"):
        open_disk(path)


def test_differencing_refuses_another_disk_of_the_same_name(tmp_path: Path) -> None:
    path, _ = differencing(tmp_path, parent_id=uuid.UUID(int=99))
    with pytest.raises(UnsupportedInputError, match="another disk"):
        open_disk(path)


def test_the_disk_below_may_have_another_name_and_place(tmp_path: Path) -> None:
    path, wanted = differencing(tmp_path)
    below = tmp_path / "far" / "made-again.vhd"
    below.parent.mkdir()
    (tmp_path / "Base.vhd").rename(below)
    with open_disk(path, below=below) as disk:
        assert disk.read(0, 2 * BLOCK) == wanted
    other, _ = differencing(tmp_path, parent_id=uuid.UUID(int=99))
    with pytest.raises(UnsupportedInputError, match="another disk"):
        open_disk(other, below=below)


def test_disks_that_name_each_other_are_refused(tmp_path: Path) -> None:
    for own, other in (("a.vhd", "b.vhd"), ("b.vhd", "a.vhd")):
        (tmp_path / own).write_bytes(
            sparse_vhd(BLOCK, {}, kind=4, disk_id=IDS.disk_id, parent_id=IDS.disk_id, parent_name=other)
        )
    with pytest.raises(DamagedInputError, match="circle"):
        open_disk(tmp_path / "a.vhd")


def test_copy_of_the_footer_is_used_and_repaired(tmp_path: Path) -> None:
    path = tmp_path / "a.vhd"
    data = sparse_vhd(2 * BLOCK, {1: (ALL, block_of(1))})
    path.write_bytes(data[:-512])
    facts = inspect(path)
    assert not facts.clean
    assert "copy" in facts.notes[0]
    repaired = repair_copy(path, tmp_path / "b.vhd")
    assert repaired.clean
    assert (tmp_path / "b.vhd").read_bytes() == data
    with open_disk(path) as one, open_disk(tmp_path / "b.vhd") as two:
        assert one.read(0, 2 * BLOCK) == two.read(0, 2 * BLOCK)


def table_at(number: int) -> int:
    return 1536 + 4 * number


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [
        (table_at(1), (10_000).to_bytes(4, "big"), "outside"),
        (table_at(1), None, "share the same place"),
        (table_at(1), (1).to_bytes(4, "big"), "share the same place"),
        (table_at(0), (1).to_bytes(4, "big"), "own structures"),
        (512, b"cxbroken", "dynamic header"),
        (512 + 100, b"\x01", "dynamic header"),
        (512 + 28, (1).to_bytes(4, "big"), "dynamic header"),
    ],
)
def test_broken_structures_are_refused(tmp_path: Path, offset: int, value: bytes | None, words: str) -> None:
    path = tmp_path / "a.vhd"
    data = sparse_vhd(2 * BLOCK, {0: (ALL, block_of(1)), 1: (ALL, block_of(2))})
    path.write_bytes(data)
    patch(path, offset, data[table_at(0) : table_at(1)] if value is None else value)
    with pytest.raises(DamagedInputError, match=words):
        open_disk(path)


def test_cut_off_fixed_disk_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.vhd"
    path.write_bytes(bytes(1000) + vhd_footer(2, 3 * MIB, IDS.disk_id))
    with pytest.raises(DamagedInputError, match="shorter"):
        inspect(path)


def test_broken_footer_of_a_fixed_disk_is_refused_not_taken_for_raw(tmp_path: Path) -> None:
    path = tmp_path / "a.vhd"
    footer = bytearray(vhd_footer(2, 4096, IDS.disk_id))
    footer[20] ^= 1
    path.write_bytes(os.urandom(4096) + footer)
    with pytest.raises(DamagedInputError, match="no intact VHD footer"):
        inspect(path)
