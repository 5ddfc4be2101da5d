"""Paths, identifiers and names that come over the wire."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso.agent.places import Places, checked_file_name, is_own_machine, open_places, safe_name
from sekiso.errors import NotFoundError, RuleError

from .bench import TASK, VERSION


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return open_places(str(tmp_path / "deep" / "storage"))


def test_the_storage_path_is_made_for_the_agent_alone(places: Places) -> None:
    assert places.root.stat().st_mode & 0o777 == 0o700
    assert places.scratch(TASK, "x").is_dir()
    assert open_places(str(places.root)).root == places.root


@pytest.mark.parametrize("text", ["", "relative/path", "/a/../b", "C:\\x", "/a\0b"])
def test_a_storage_path_that_breaks_the_rules_is_refused(text: str) -> None:
    with pytest.raises(RuleError):
        open_places(text)


def test_only_paths_below_the_storage_path_are_taken(places: Places, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    (places.root / "link").symlink_to(outside)
    (places.root / "file-link").symlink_to(outside / "file")
    good = places.root / "Layers" / "x.wim"
    assert places.below(str(good)) == good
    for bad in (
        str(outside / "file"),
        f"{places.root}/../outside/file",
        str(places.root / "link" / "file"),
        str(places.root / "file-link"),
        str(places.root),
        f"{places.root}/..",
        "relative",
        "/etc/passwd",
        f"{places.root}/a\0b",
    ):
        with pytest.raises(RuleError):
            places.below(bad)
    with pytest.raises(NotFoundError):
        places.file_below(str(good))


def test_the_way_to_the_storage_path_may_lead_over_links(places: Places, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to(places.root.parent)
    linked = open_places(str(tmp_path / "way" / "storage"))
    assert linked.root == places.root
    assert linked.below(str(tmp_path / "way" / "storage" / "x")) == places.root / "x"


@pytest.mark.parametrize(
    "bad", ["", "..", "../../etc", "x" * 32, f"{TASK}/..", "a" * 31, f" {TASK}", f"{TASK}\n"]
)
def test_identifiers_are_uuids_or_hexadecimal(places: Places, bad: str) -> None:
    for make in (places.task, places.packaging):
        with pytest.raises(RuleError):
            make(bad)


def test_identifiers_do_not_tell_case_apart(places: Places) -> None:
    assert places.packaging(VERSION.upper()) == places.packaging(VERSION)


@pytest.mark.parametrize("bad", ["a" * 63, "A" * 64, "../" + "a" * 61, "g" * 64])
def test_identities_are_hashes(places: Places, bad: str) -> None:
    with pytest.raises(RuleError):
        places.layer(bad)


@pytest.mark.parametrize("bad", ["", ".", "..", ".hidden", "a/b", "a b", "x" * 121, "日本"])
def test_file_names_of_scratch_are_plain(bad: str) -> None:
    with pytest.raises(RuleError):
        checked_file_name(bad)


@pytest.mark.parametrize("name", ["web 2026-11-24 09.30", "積層イメージ", "a.b", "x" * 180])
def test_a_name_that_fits_stays_as_it_is(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    "name", ["a/b", "a:b", "CON", "nul.txt", ".x", "x.", "x ", "é" * 200, "e\u0301", "\udcff"]
)
def test_a_name_that_does_not_fit_is_changed(name: str) -> None:
    assert safe_name(name) != name
    assert safe_name(name) == safe_name(name)


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=2, max_size=2, unique=True))
def test_names_are_safe_and_stay_different(names: list[str]) -> None:
    made = [safe_name(name) for name in names]
    assert made[0] != made[1]
    for name in made:
        assert len(name.encode()) <= 200
        assert not set(name) & set('<>:"/\\|?*\0\n') and name not in (".", "..") and not name.startswith(".")


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(RuleError):
        safe_name("  ")


def test_machines_of_sekiso_are_known_by_their_folder(places: Places) -> None:
    home = places.packaging(VERSION)
    home.mkdir(parents=True)
    assert not is_own_machine(home / "machine")
    (home / "record.json").write_text("{}")
    assert is_own_machine(home / "machine")
    assert not is_own_machine(home)
