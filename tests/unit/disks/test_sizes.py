from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso.disks.sizes import GIB, MIB, VHD_MAX_BYTES, plan_size, vhd_geometry
from sekiso.errors import RuleError
from sekiso.model.machine import DiskFormat


@pytest.mark.parametrize(
    ("size_bytes", "geometry"),
    [
        (3 * MIB, (90, 4, 17)),
        (504 * MIB, (1024, 16, 63)),
        (40 * GIB, (20805, 16, 255)),  # 65535*16*63 sectors are about 31.5 GiB
        (127 * GIB, (65278, 16, 255)),
        (2040 * GIB, (65535, 16, 255)),
    ],
)
def test_geometry_follows_the_specification(size_bytes: int, geometry: tuple[int, int, int]) -> None:
    assert geometry[0] <= 65535
    found = vhd_geometry(size_bytes)
    assert found[1:] == geometry[1:]
    assert found.size_bytes <= size_bytes
    if size_bytes < 127 * GIB:
        assert size_bytes - found.size_bytes < 16 * 255 * 512


@given(st.integers(1, VHD_MAX_BYTES))
def test_planned_size_is_enough_and_whole(wanted: int) -> None:
    plan = plan_size(DiskFormat.VHD, wanted)
    assert plan.size_bytes >= wanted
    assert plan.size_bytes % MIB == 0
    assert plan.size_bytes - wanted < 3 * MIB
    assert plan.reason
    assert vhd_geometry(plan.size_bytes).size_bytes <= plan.size_bytes


def test_sizes_that_are_refused() -> None:
    with pytest.raises(RuleError, match="2040 GiB"):
        plan_size(DiskFormat.VHD, 2040 * GIB + 1)
    assert plan_size(DiskFormat.VHDX, 64 << 40).size_bytes == 64 << 40
    with pytest.raises(RuleError, match="64 TiB"):
        plan_size(DiskFormat.VHDX, (64 << 40) + 1)
    with pytest.raises(RuleError, match="larger than zero"):
        plan_size(DiskFormat.RAW, 0)


def test_raw_is_rounded_to_the_sector_and_small_disks_are_raised() -> None:
    assert plan_size(DiskFormat.RAW, 513).size_bytes == 1024
    assert plan_size(DiskFormat.VHDX, 1).size_bytes == 3 * MIB
