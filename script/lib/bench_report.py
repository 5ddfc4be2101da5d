"""Shows results: tables, phases, the machine they were measured on; and JSON for machines."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sekiso
from sekiso import process

from .bench_measure import Row, Table

_GIB = 1 << 30
_BUSY_LOAD = 0.5
_NAME_WIDTH = 66


@dataclass(frozen=True)
class Machine:
    """What must be known of a machine to read its numbers."""

    processor: str
    processors: int
    memory_gib: float
    kernel: str
    filesystem: str
    python: str
    wimlib: str
    sekiso: str
    caches: str
    load_at_start: float
    started: str


def describe_machine(work: Path, *, cold: bool, privileged: bool) -> Machine:
    """Look at the machine."""
    if cold:
        caches = "the page cache is emptied before each run"
    elif privileged:
        caches = "the page cache is kept (--warm)"
    else:
        caches = "the page cache is kept (only root can empty it)"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    version = process.run(["wimlib-imagex", "--version"]).text.splitlines()[0]
    return Machine(
        processor=_processor(),
        processors=len(os.sched_getaffinity(0)),
        memory_gib=round(memory, 1),
        kernel=platform.release(),
        filesystem=process.run(["stat", "-f", "-c", "%T", work]).text.strip(),
        python=platform.python_version(),
        wimlib=version,
        sekiso=f"{sekiso.__version__} {_commit()}".strip(),
        caches=caches,
        load_at_start=round(os.getloadavg()[0], 2),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    here = Path(__file__).resolve().parent
    done = subprocess.run(
        ["git", "-C", here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def print_machine(machine: Machine) -> None:
    """Print what was measured on, with a warning if it is busy."""
    print(
        f"Sekiso {machine.sekiso}, Python {machine.python}, {machine.wimlib}\n"
        f"{machine.processors} × {machine.processor}, {machine.memory_gib} GiB of memory, "
        f"Linux {machine.kernel}, work folder on {machine.filesystem}\n"
        f"{machine.caches}; sync before each run; every run ends with an fsync of its result"
    )
    if machine.load_at_start > _BUSY_LOAD * machine.processors:
        print(
            f"WARNING: the machine is busy (load {machine.load_at_start}): even the ratios cannot be trusted"
        )


def print_table(table: Table, *, phases: bool) -> None:
    """Print one table."""
    print(f"\n{table.title}\n")
    print(
        f"{'':<{_NAME_WIDTH}}{'seconds':>9}{'ratio':>8}{'min–max':>14}{'goal':>8}{'cpu s':>9}{'peak MiB':>10}"
    )
    for row in table.rows:
        goal = "" if row.goal is None else f"≤ {row.goal:g}"
        spread = f"{min(row.ratios):.2f}–{max(row.ratios):.2f}"
        peak = row.peak_bytes >> 20
        print(
            f"{row.name:<{_NAME_WIDTH}}{row.seconds:>9.2f}{row.ratio:>8.2f}{spread:>14}{goal:>8}{row.processor_s:>9.2f}{peak:>10}"
        )
    if table.checks:
        print()
    for line in table.checks:
        print(f"  {line}")
    if phases:
        for row in table.rows:
            if len(row.phases()) > 2:
                print_phases(row)


def print_phases(row: Row) -> None:
    """Print where the wall time of one step goes."""
    print(f"\n  where the time goes: {row.name}\n")
    for name, seconds in row.phases().items():
        print(f"    {name:<52}{seconds:>9.2f} s{seconds / row.seconds:>7.0%}")


def write_json(path: Path, machine: Machine, settings: dict[str, Any], tables: Sequence[Table]) -> None:
    """Write everything, each single run too."""
    data = {
        "machine": _fields(machine),
        "settings": settings,
        "load_at_end": round(os.getloadavg()[0], 2),
        "tables": [
            {
                "title": table.title,
                "reference": table.reference,
                "checks": table.checks,
                "rows": [_row(row) for row in table.rows],
            }
            for table in tables
        ],
    }
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _fields(machine: Machine) -> dict[str, Any]:
    return {name: getattr(machine, name) for name in Machine.__dataclass_fields__}


def _row(row: Row) -> dict[str, Any]:
    return {
        "key": row.key,
        "name": row.name,
        "goal": row.goal,
        "seconds": round(row.seconds, 4),
        "ratio": round(row.ratio, 4),
        "processor_seconds": round(row.processor_s, 4),
        "peak_bytes": row.peak_bytes,
        "runs_seconds": [round(outcome.seconds, 4) for outcome in row.outcomes],
        "phases_seconds": {name: round(seconds, 4) for name, seconds in row.phases().items()},
    }
