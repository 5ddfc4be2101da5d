"""The house rules that no other tool looks after."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sekiso.process import PACKAGES

from ..conftest import REPOSITORY, skip_is_excused

DOCS = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
SOURCES = sorted((REPOSITORY / "src").rglob("*.py"))
#: Programs that are there wherever Python and Debian are.
ESSENTIAL = {"qemu-system-common"}


def package_lines() -> list[tuple[str, str, str]]:
    """Group, choice and reason of each line of the list of packages."""
    text = (REPOSITORY / "script/lib/packages.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = [re.fullmatch(r"(run|test|guide)\s+(\S+)\s+# (.+)", line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    return [(m[1], m[2], m[3]) for m in found if m]


def test_every_package_is_listed_once_with_its_reason() -> None:
    names = [name for _, choice, _ in package_lines() for name in choice.split("|")]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", name) for name in names)


def test_every_program_that_sekiso_runs_is_installed_by_setup() -> None:
    run = {name for group, choice, _ in package_lines() if group == "run" for name in choice.split("|")}
    assert set(PACKAGES.values()) - ESSENTIAL <= run


@pytest.mark.parametrize(
    "path",
    ["script/test", "script/demo", "script/bench", "script/screenshots", "script/lib/setup.sh", ".ci/run"],
)
def test_programs_can_be_started(path: str) -> None:
    assert os.access(REPOSITORY / path, os.X_OK)
    subprocess.run(["bash", "-n", REPOSITORY / path], check=True)


def test_links_between_documents_lead_somewhere() -> None:
    broken: list[str] = []
    for page in DOCS:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(REPOSITORY)}: {target}")
    assert broken == []


def test_tests_named_in_the_requirements_exist() -> None:
    text = (REPOSITORY / "docs/requirements.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:tests|script)/[^`*:]+)", text))
    assert named
    assert [path for path in sorted(named) if not (REPOSITORY / path).exists()] == []


def test_requirements_table_names_each_once() -> None:
    text = (REPOSITORY / "docs/requirements.md").read_text(encoding="utf-8")
    ids = re.findall(r"^\| ([A-Z]{2}-\d+) \|", text, re.MULTILINE)
    assert len(ids) == len(set(ids))
    counts = {"CC": 11, "AG": 5, "TR": 5, "LY": 8, "IM": 7, "OP": 5}
    assert {f"{kind}-{n}" for kind, count in counts.items() for n in range(1, count + 1)} == set(ids)


def test_programs_are_started_through_one_door() -> None:
    pattern = re.compile(r"subprocess\.(run|Popen|check_\w+|call)\(|os\.(system|popen|exec|spawn)|shell=True")
    guilty = [
        str(path.relative_to(REPOSITORY))
        for path in SOURCES
        if path.name != "process.py" and pattern.search(path.read_text(encoding="utf-8"))
    ]
    assert guilty == []


def test_nothing_is_left_open_in_the_source() -> None:
    pattern = re.compile(r"\b(TODO|FIXME|XXX)\b")
    guilty = [
        str(p.relative_to(REPOSITORY)) for p in SOURCES if pattern.search(p.read_text(encoding="utf-8"))
    ]
    assert guilty == []


def test_no_path_of_a_developers_machine_is_in_the_tree() -> None:
    pattern = re.compile(r"/(home|Users)/[a-z]+/|/work/(main|shared)")
    listed = subprocess.run(
        ["git", "-C", REPOSITORY, "ls-files", "-z", "--", "src", "script", "docs", "*.md", "*.toml", ".ci"],
        capture_output=True,
        check=True,
    )
    files = [REPOSITORY / name for name in listed.stdout.decode().split("\0") if name]
    guilty: list[str] = []
    for path in files:
        if path.is_file() and pattern.search(path.read_text(encoding="utf-8", errors="replace")):
            guilty.append(str(path.relative_to(REPOSITORY)))
    assert guilty == []


@pytest.mark.parametrize(
    ("reason", "excused"),
    [
        ("the folder with the shared data is not beside the repository", True),
        ("could not import 'dissect'", False),
        ("qemu-img is not installed", False),
        ("", False),
    ],
)
def test_which_skips_are_excused(reason: str, excused: bool) -> None:
    assert skip_is_excused(reason) is excused


def test_a_skip_is_a_failure_where_nothing_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((REPOSITORY / "tests/conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "test_skips.py").write_text(
        "import pytest\n"
        "def test_tool(): pytest.skip('no such tool')\n"
        "def test_shared(): pytest.skip('shared data is absent')\n"
        "@pytest.mark.skipif(True, reason='needs a tool')\n"
        "def test_mark(): pass\n"
        "def test_fine(): pass\n"
    )
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        tmp_path,
        tmp_path,
    ]
    for variables, outcome in (
        ({"SEKISO_CI": "1"}, "1 failed, 1 passed, 1 skipped, 2 errors"),
        ({"SEKISO_CI": ""}, "1 passed, 4 skipped"),
    ):
        done = subprocess.run(
            [*command, "--continue-on-collection-errors"],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert outcome in done.stdout
