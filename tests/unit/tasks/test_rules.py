"""Rules that no other tool checks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import sekiso
from sekiso.crash_points import VARIABLE, crash_point, point
from sekiso.model.task import TaskKind
from sekiso.tasks.engine import check_flows
from sekiso.tasks.port import Flow, FlowContext, Step, StepResult
from sekiso.tasks.runner import CLEANING

SOURCE = Path(sekiso.__file__).parent
ENGINE = "sekiso.tasks.dbos_engine"


def _importers(pattern: str) -> set[str]:
    found = re.compile(pattern, re.MULTILINE)
    files = SOURCE.rglob("*.py")
    return {str(path.relative_to(SOURCE)) for path in files if found.search(path.read_text("utf-8"))}


def test_one_module_knows_the_workflow_library() -> None:
    assert _importers(r"^\s*(import|from) dbos\b") == {"tasks/dbos_engine.py"}


def test_no_module_of_the_command_line_imports_the_engine() -> None:
    importers = _importers(r"(import|from) sekiso\.tasks\.dbos_engine\b|tasks import dbos_engine")
    assert not {path for path in importers if path.startswith(("cli/", "services/", "web/"))}


def test_the_command_line_starts_without_the_library() -> None:
    code = "import sys, sekiso.cli.main; sys.exit('dbos' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_is_pickled() -> None:
    assert not {path for path in _importers(r"^\s*(import|from) pickle\b") if path.startswith("tasks/")}


def test_crash_points_do_nothing_unless_ordered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    crash_point("import-os", "copy", "before")
    monkeypatch.setenv(VARIABLE, point("import-os", "copy", "after"))
    crash_point("import-os", "copy", "before")


def _flow(*steps: tuple[str, str], kind: TaskKind = TaskKind.IMPORT_OS) -> Flow:
    def run(_: FlowContext) -> StepResult:
        return {}

    made = tuple(Step(name, title, 1.0, run) for name, title in steps)
    return Flow(kind, made, lambda _c, _r: None, lambda _c, _s: None)


def test_flows_that_cannot_be_told_apart_are_refused() -> None:
    check_flows([_flow(("a", "A"), ("b", "B")), _flow(("a", "A"), kind=TaskKind.BOOT_TEST)])
    for bad in (
        [_flow(), _flow()],
        [_flow(("a", "A"), ("a", "B"))],
        [_flow(("undo", "A"))],
        [_flow((":decide", "A"))],
        [_flow(("a", CLEANING))],
    ):
        with pytest.raises(ValueError, match=r"twice|reserved"):
            check_flows(bad)
