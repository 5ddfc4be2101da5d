"""Lists of the CLI: what is asked of the appliance, and the audit history as a file (OP-3, OP-4)."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from .conftest import Run
from .fake_appliance import FakeAppliance


@pytest.mark.parametrize("command", ["layer list", "image list", "template list", "agent list"])
def test_lists_are_narrowed_by_the_appliance(sekiso: Run, appliance: FakeAppliance, command: str) -> None:
    assert sekiso(*command.split(), "--text", "勘定 100%", "--offset", "20", "--limit", "10")[0] == 0
    assert appliance.queries[-1] == {"text": "勘定 100%", "offset": "20", "limit": "10"}
    assert sekiso(*command.split())[0] == 0
    assert appliance.queries[-1] == {}
    assert sekiso(*command.split(), "--limit", "0")[0] == 2


def test_the_audit_history_is_narrowed(sekiso: Run, appliance: FakeAppliance) -> None:
    which = [
        "--actor",
        "eve",
        "--action",
        "layer",
        "--kind",
        "layer",
        "--text",
        "a b",
        "--since",
        "2026-01-31",
    ]
    assert sekiso("audit", "list", *which, "--until", "2026-02-01 12:30", "--offset", "5")[0] == 0
    since, until = datetime(2026, 1, 31), datetime(2026, 2, 1, 12, 30)  # noqa: DTZ001 (local, as it is typed)
    assert appliance.queries[-1] == {
        "actor": "eve",
        "action": "layer",
        "subject_kind": "layer",
        "text": "a b",
        "from_s": str(since.timestamp()),
        "to_s": str(until.timestamp()),
        "offset": "5",
        "limit": "50",
    }
    assert sekiso("audit", "list", "--kind", "nothing")[0] == 2
    assert sekiso("audit", "list", "--since", "yesterday")[0] == 2


def test_the_audit_history_becomes_a_file(sekiso: Run, appliance: FakeAppliance, tmp_path: Path) -> None:
    out = tmp_path / "audit.CSV"
    code, shown, _ = sekiso("audit", "export", "--out", str(out), "--actor", "eve & co", "--json")
    assert (code, json.loads(shown)) == (0, {"path": str(out), "size_bytes": out.stat().st_size})
    assert out.read_text() == "number,csv\n"
    assert appliance.queries[-1] == {"actor": "eve & co", "format": "csv"}
    assert sekiso("audit", "export", "--out", str(tmp_path / "audit.jsonl"))[0] == 0
    assert appliance.queries[-1] == {"format": "jsonl"}
    assert sekiso("audit", "export", "--out", str(out))[0] == 5
    assert sekiso("audit", "export", "--out", str(tmp_path / "audit.xlsx"))[0] == 2
