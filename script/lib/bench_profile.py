"""Profiles composing and capturing: cProfile's 25 most expensive functions by cumulative time.

A profile slows Python down by half or more, so its runs are no measurements.
"""

from __future__ import annotations

import cProfile
import pstats
import sys

from .bench_measure import Phases, Step, Work, in_child, say, settle

_TOP = 25


def profile(steps: list[Step], *, cold: bool) -> None:
    """Run each step once under the profiler and print what it found."""
    for step in steps:
        say(f"profiling: {step.name}")
        step.cleanup()
        step.prepare()
        try:
            settle(cold=cold)
            print(f"\nProfile: {step.name}\n", flush=True)
            in_child(_profiled(step.work))
        finally:
            step.cleanup()


def _profiled(work: Work) -> Work:
    def run(phases: Phases) -> None:
        profiler = cProfile.Profile()
        profiler.runcall(work, phases)
        stats = pstats.Stats(profiler, stream=sys.stdout)
        stats.sort_stats("cumulative").print_stats(_TOP)
        stats.sort_stats("tottime").print_stats(_TOP)

    return run
