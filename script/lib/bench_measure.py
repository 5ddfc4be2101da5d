"""Measuring: each run in a process of its own, runs interleaved, medians, ratios to a reference.

A run is forked off a small parent, so that its peak memory is its own. The clock starts in the child after
the caches were treated alike for everybody, and stops when the result is on the disk: every measured step
ends with an fsync of what it wrote.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sekiso import process

COMMAND_TIMEOUT_S = 7200.0
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")


class Phases:
    """Where the wall time of one run goes. It is a `Progress`: the product's own steps are phases."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._current = "Opening"
        self._since = time.perf_counter()

    def step(self, name: str, *, total: int | None = None) -> None:
        """Begin a phase."""
        now = time.perf_counter()
        self.seconds[self._current] = self.seconds.get(self._current, 0.0) + now - self._since
        self._current, self._since = name, now

    def advance(self, done: int) -> None:
        """Ignore how far it is."""

    def canceled(self) -> bool:
        """Never canceled."""
        return False

    def finish(self) -> dict[str, float]:
        """End the last phase and return all of them."""
        self.step("")
        return {name: seconds for name, seconds in self.seconds.items() if seconds >= 0.0005}


Work = Callable[[Phases], Any]


@dataclass(frozen=True)
class Outcome:
    """What one run cost, and what it returned."""

    seconds: float
    processor_s: float
    peak_bytes: int
    phases: dict[str, float]
    value: Any


@dataclass(frozen=True)
class Step:
    """One thing to measure.

    Attributes:
        key: short name, for JSON and for `Measured.value`.
        name: what it is, in words.
        work: the measured work; returns something small.
        prepare: is done before it, unmeasured.
        cleanup: is done after it, unmeasured.
        goal: the highest ratio that the product aims at; None for references and for information.
    """

    key: str
    name: str
    work: Work
    prepare: Callable[[], object] = lambda: None
    cleanup: Callable[[], object] = lambda: None
    goal: float | None = None


@dataclass
class Row:
    """The runs of one step; ratios are paired: each run against the reference's run of the same round."""

    key: str
    name: str
    goal: float | None
    outcomes: list[Outcome] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Median."""
        return statistics.median(outcome.seconds for outcome in self.outcomes)

    @property
    def ratio(self) -> float:
        """Median."""
        return statistics.median(self.ratios)

    @property
    def processor_s(self) -> float:
        """Median of the processor time, which a busy machine changes little."""
        return statistics.median(outcome.processor_s for outcome in self.outcomes)

    @property
    def peak_bytes(self) -> int:
        """Largest."""
        return max(outcome.peak_bytes for outcome in self.outcomes)

    @property
    def value(self) -> Any:
        """What the last run returned."""
        return self.outcomes[-1].value

    def phases(self) -> dict[str, float]:
        """Medians per phase, in the order of the first run."""
        names = list(dict.fromkeys(name for outcome in self.outcomes for name in outcome.phases))
        return {n: statistics.median(o.phases.get(n, 0.0) for o in self.outcomes) for n in names}


@dataclass
class Table:
    """One table of results.

    Attributes:
        title: what was measured.
        reference: key of the row that the ratios are held against.
        rows: in the order of the steps.
        checks: what was checked about the results beside the time, in words.
    """

    title: str
    reference: str
    rows: list[Row]
    checks: list[str] = field(default_factory=list)

    def row(self, key: str) -> Row:
        """Return one row."""
        return next(row for row in self.rows if row.key == key)


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        runs: rounds; in each round every step runs once.
        cold: empty the page cache before each run (root only).
    """

    runs: int
    cold: bool


def measure(title: str, reference: str, steps: Sequence[Step], settings: Settings) -> Table:
    """Run all steps in rounds, each round beginning with another step, and return the table."""
    rows = {step.key: Row(step.key, step.name, step.goal) for step in steps}
    for number in range(settings.runs):
        for step in (*steps[number % len(steps) :], *steps[: number % len(steps)]):
            say(f"{title}: round {number + 1} of {settings.runs}: {step.name}")
            rows[step.key].outcomes.append(_run_step(step, settings))
    base = rows[reference].outcomes
    for row in rows.values():
        row.ratios = [o.seconds / b.seconds for o, b in zip(row.outcomes, base, strict=True)]
    return Table(title, reference, list(rows.values()))


def _run_step(step: Step, settings: Settings) -> Outcome:
    step.cleanup()
    step.prepare()
    try:
        settle(cold=settings.cold)
        return in_child(step.work)
    finally:
        step.cleanup()


def settle(*, cold: bool) -> None:
    """Write out what is dirty and, if asked for, forget what is cached: everybody starts alike."""
    os.sync()
    if cold:
        _DROP_CACHES.write_text("3\n", encoding="ascii")


def can_drop_caches() -> bool:
    """Whether this process may empty the page cache."""
    return os.access(_DROP_CACHES, os.W_OK)


def in_child(work: Work) -> Outcome:
    """Run work in a forked child; its memory, and that of the programs it runs, is gone afterwards."""
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be_child(work, writer)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as stream:
            data = stream.read()
    except BaseException:
        os.kill(child, signal.SIGTERM)
        raise
    finally:
        _, status, usage = os.wait4(child, 0)
    if status or not data:
        raise SystemExit(f"a measured run ended with status {os.waitstatus_to_exitcode(status)}")
    seconds, phases, value = pickle.loads(data)
    processor_s = usage.ru_utime + usage.ru_stime
    return Outcome(seconds, processor_s, usage.ru_maxrss * 1024, phases, value)


def _be_child(work: Work, writer: int) -> None:
    status = 1
    try:
        phases = Phases()
        begun = time.perf_counter()
        value = work(phases)
        seconds = time.perf_counter() - begun
        with os.fdopen(writer, "wb") as stream:
            pickle.dump((seconds, phases.finish(), value), stream)
        status = 0
    except BaseException:  # noqa: BLE001 (the child must not go on with the parent's work)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def command(*argv: str | Path) -> None:
    """Run a program to its end."""
    process.run(argv, timeout_s=COMMAND_TIMEOUT_S)


def fsync(path: Path) -> None:
    """Bring one file to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(folder: Path) -> None:
    """Bring a folder with all its files to disk (the whole file system it lies on)."""
    command("sync", "--file-system", folder)


def remove(*paths: Path) -> None:
    """Remove files and folders; none of them needs to be there."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def say(text: str) -> None:
    """Tell what goes on; results go to standard output, this does not."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
