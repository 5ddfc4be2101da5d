"""Names, notes, and which versions go together (LY-6)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sekiso.errors import NotFoundError, RuleError
from sekiso.model.layer import LayerKind
from sekiso.services.library_rules import (
    StackedVersion,
    check_name,
    check_notes,
    check_stack,
    in_merge_order,
    require_kind,
    stacked,
)
from sekiso.tasks.flows.keeping import VersionNotReadyError

from ...support.library import Library, open_library


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    with open_library() as found:
        yield found


@pytest.mark.parametrize(
    "name", ["a", "Office 2024", "営業部 標準", "x" * 64, "a.b", "é", "CONSOLE", "a.con"]
)
def test_good_names(name: str) -> None:
    assert check_name("name", name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", " a", "a ", "a\u3000", "x" * 65, "a/b", "a\\b", 'a"', "a<", "a>", "a:", "a|", "a?", "a*"),
        *("a\n", "a\x00", "a\x7f", "a\u200b", "a\ud800", "\u202etxt", ".", "..", "a.", "a\u2028b"),
        *("con", "NUL", "Com1", "LPT9.txt", "aux.a.b", "prn .x", "COM¹"),
    ],
)
def test_refused_names(name: str) -> None:
    with pytest.raises(RuleError) as refused:
        check_name("disk_name", name)
    assert refused.value.params["field"] == "disk_name"


def test_notes() -> None:
    assert check_notes("x\n" * 2000) == "x\n" * 2000
    with pytest.raises(RuleError) as refused:
        check_notes("x" * 4001)
    assert refused.value.params["field"] == "notes"


def items(library: Library, *version_ids: str) -> list[StackedVersion]:
    with library.core.db.read() as work:
        return [stacked(work, version_id) for version_id in version_ids]


@pytest.fixture(scope="module")
def versions(library: Library) -> dict[str, str]:
    os, other = library.layer("Debian", LayerKind.OS), library.layer("Fedora", LayerKind.OS)
    return {
        "os": os.id,
        "other": other.id,
        "low": library.layer("zeta", on=os, priority=1).id,
        "high": library.layer("alpha", on=os, priority=9).id,
        "twin": library.layer("beta", on=os, priority=9).id,
        "foreign": library.layer("gamma", on=other).id,
        "platform": library.layer("drivers", LayerKind.PLATFORM, on=os).id,
        "platform2": library.layer("agent", LayerKind.PLATFORM, on=os).id,
    }


def test_merge_order_is_by_kind_and_priority(library: Library, versions: dict[str, str]) -> None:
    given = ["platform", "twin", "high", "low", "os"]
    found = in_merge_order(items(library, *(versions[name] for name in given)))
    # The same priority: the older layer first, whatever order they are given in.
    assert [item.layer.name for item in found] == ["Debian", "zeta", "alpha", "beta", "drivers"]
    assert in_merge_order(tuple(reversed(found))) == found


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["low"], "exactly one OS layer"),
        ([], "exactly one OS layer"),
        (["os", "other"], "exactly one OS layer"),
        (["os", "foreign"], "gamma was made on another OS layer"),
        (["os", "platform", "platform2"], "at most one platform layer"),
        (["os", "low", "low"], "zeta is there twice"),
        (["os", "os"], "Debian is there twice"),
    ],
)
def test_stacks_that_do_not_go_together(
    library: Library, versions: dict[str, str], given: list[str], reason: str
) -> None:
    with pytest.raises(RuleError, match=reason) as refused:
        check_stack(items(library, *(versions[name] for name in given)), field="app_version_ids")
    assert refused.value.params["field"] == "app_version_ids"


def test_a_stack_that_goes_together(library: Library, versions: dict[str, str]) -> None:
    check_stack(items(library, *(versions[n] for n in ("platform", "low", "os", "high"))), field="x")


def test_kind(library: Library, versions: dict[str, str]) -> None:
    (item,) = items(library, versions["low"])
    assert require_kind("a", item, LayerKind.APP) is item
    with pytest.raises(RuleError, match="zeta is a layer of the kind app; os is needed here"):
        require_kind("os_version_id", item, LayerKind.OS)


def test_only_what_is_deployable(library: Library, versions: dict[str, str]) -> None:
    with library.core.db.read() as work:
        os = work.versions.get(versions["os"])
    _, begun = library.created(os, name="begun")
    with library.core.db.read() as work:
        with pytest.raises(VersionNotReadyError, match="It is editing; it has to be deployable"):
            stacked(work, begun.id)
        with pytest.raises(NotFoundError):
            stacked(work, "nobody")
