from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso.errors import RuleError, SekisoError
from sekiso.hypervisors import errors, rules
from sekiso.hypervisors.facts import (
    DiskAttachment,
    DiskController,
    MachineFacts,
    MachineSpec,
    MachineState,
    NetworkAdapter,
)
from sekiso.hypervisors.keys import KNOWN, parse_keys
from sekiso.i18n import render_error
from sekiso.model.machine import DiskFormat, Generation

SPEC = MachineSpec("maki", Generation.TWO, adapters=(NetworkAdapter(),))
slots = st.none() | st.integers(0, 63)


def facts(state: MachineState, *disks: DiskAttachment) -> MachineFacts:
    return MachineFacts("id", replace(SPEC, disks=disks), state, 0.0, Path("/m"))


def disk(name: str, controller: DiskController = DiskController.SCSI, **more: object) -> DiskAttachment:
    return replace(DiskAttachment(Path("/d") / name, DiskFormat.VHDX, controller), **more)


@given(st.lists(slots, max_size=66))
def test_slots_are_unique_and_wishes_are_kept(wishes: list[int | None]) -> None:
    spec = replace(SPEC, disks=tuple(disk(str(n), slot=s) for n, s in enumerate(wishes)))
    asked = [s for s in wishes if s is not None]
    if len(set(asked)) < len(asked) or len(wishes) > 64:
        with pytest.raises(errors.NoSlotError):
            rules.place_disks(spec)
        return
    placed = rules.place_disks(spec).disks
    assert len({d.slot for d in placed}) == len(wishes)
    by_name = {d.path.name: d.slot for d in placed}
    assert all(by_name[str(n)] == s for n, s in enumerate(wishes) if s is not None)


def test_ide_and_scsi_slots_do_not_meet() -> None:
    spec = replace(
        SPEC,
        generation=Generation.ONE,
        disks=(disk("a", DiskController.IDE), disk("b"), disk("c", DiskController.IDE)),
    )
    assert sorted((d.path.name, d.slot) for d in rules.place_disks(spec).disks) == [
        ("a", 0),
        ("b", 0),
        ("c", 1),
    ]


@pytest.mark.parametrize("state", list(MachineState))
@pytest.mark.parametrize("controller", list(DiskController))
def test_when_disks_change(state: MachineState, controller: DiskController) -> None:
    hot = controller is DiskController.SCSI and state in (MachineState.RUNNING, MachineState.PAUSED)
    if state is MachineState.OFF or hot:
        rules.check_change(facts(state), disk("d", controller), "attach a disk")
    else:
        with pytest.raises(errors.WrongStateError):
            rules.check_change(facts(state), disk("d", controller), "attach a disk")


def test_ancestors_end_at_a_loop() -> None:
    parents = {Path("/a"): Path("/b"), Path("/b"): Path("/c"), Path("/c"): Path("/b")}
    assert rules.ancestors(Path("/a"), parents.get) == (Path("/b"), Path("/c"))


def test_a_grandparent_is_protected_too() -> None:
    parents = {Path("/d/top"): Path("/d/mid"), Path("/d/mid"): Path("/d/low")}
    used = [facts(MachineState.OFF, disk("top"))]
    for name in ("mid", "low"):
        with pytest.raises(errors.DiskInUseError, match="base of /d/top"):
            rules.check_disk_free(disk(name), used, parents.get)
        rules.check_disk_free(disk(name, read_only=True), used, parents.get)
    rules.check_disk_free(disk("else"), used, parents.get)


def test_keys() -> None:
    assert parse_keys(["a", "ctrl-alt-delete"]) == (("a",), ("ctrl", "alt", "delete"))
    assert "enter" in KNOWN
    for bad in ("", "A", "-", "a-", "ctrl+a", "\n"):
        with pytest.raises(RuleError):
            parse_keys([bad])


def _subclasses() -> list[type[SekisoError]]:
    found = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, SekisoError)]
    return [c for c in found if c is not SekisoError]


@pytest.mark.parametrize("kind", _subclasses())
def test_every_error_says_what_why_and_what_to_do(kind: type[SekisoError]) -> None:
    import string

    templates = (kind.brief, kind.why, kind.resolution)
    names = {n for t in templates for _, n, _, _ in string.Formatter().parse(t) if n}
    assert all(n in (kind.__doc__ or "") for n in names)
    error = kind(**{n: f"<{n}>" for n in names})
    brief, why, resolution = render_error(error, "en")
    assert brief
    assert why
    assert resolution
    assert all(f"<{n}>" in str(error) for n in names)


def test_error_codes_are_unique() -> None:
    codes = [k.code for k in _subclasses()]
    assert len(set(codes)) == len(codes)
