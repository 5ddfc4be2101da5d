"""Measures Sekiso against named references in the same run; the ratios count, the seconds only orient.

usage: script/bench [all|compose|capture|…] [--quick] [--files N] [--bytes N] [--runs R] …

Nothing here passes or fails: goals are printed beside the ratios. What each line means, and results, are in
docs/benchmarks.md. The full size needs about 31 GB in the work folder; it is emptied at the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from lib.bench_capture import measure_capture
from lib.bench_compose import Inputs, measure_compose
from lib.bench_console import measure_console
from lib.bench_convert import measure_convert
from lib.bench_measure import Settings, Table, can_drop_caches, say
from lib.bench_publish import measure_publish
from lib.bench_report import describe_machine, print_machine, print_table, write_json
from lib.bench_transfer import measure_transfer
from lib.bench_tree import TreeSpec

from sekiso.model.layer import GuestFamily

FILES, BYTES, RUNS = 100_000, 5_000_000_000, 3
QUICK_FILES, QUICK_BYTES, QUICK_RUNS = 3_000, 100_000_000, 1
#: Per file, beside its content: clusters that are not full, MFT records, inodes.
_OVERHEAD_BYTES = 8192
_FIXED_BYTES = 2 << 30


def main() -> None:
    # Ended from outside, mounts and the work folder still have to go.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    options = parse_arguments()
    cold = can_drop_caches() and not options.warm
    settings = Settings(runs=options.runs, cold=cold)
    with work_folder(options.work) as work:
        check_space(work, options.files, options.bytes)
        machine = describe_machine(work, cold=cold, privileged=can_drop_caches())
        print_machine(machine)
        inputs = Inputs(work, TreeSpec(options.files, options.bytes))
        tables = run(options.what, inputs, settings, profiled=options.profile)
    if options.json:
        shown = {"files": options.files, "bytes": options.bytes, "runs": options.runs, "cold": cold}
        write_json(options.json, machine, shown, tables)


def run(what: str, inputs: Inputs, settings: Settings, *, profiled: bool) -> list[Table]:
    """Measure what was asked for, printing each table as soon as it is there."""
    tables: list[Table] = []

    def done(table: Table) -> None:
        tables.append(table)
        print_table(table, phases=True)
        sys.stdout.flush()

    print(
        f"tree: {inputs.spec.files} files, {inputs.spec.content_bytes} bytes; median of {settings.runs} runs"
    )
    if what in ("all", "compose"):
        done(measure_compose(inputs, settings, profiled=profiled))
    if what in ("all", "capture"):
        if os.geteuid() != 0:
            say("capture is left out: only root can mount the volumes to change files in them")
        else:
            for family in (GuestFamily.LINUX, GuestFamily.WINDOWS):
                done(measure_capture(inputs, family, settings, profiled=profiled))
    if what in ("all", "convert"):
        done(measure_convert(inputs.work, inputs.spec.content_bytes, settings))
    if what in ("all", "transfer"):
        for table in measure_transfer(inputs.work, inputs.spec.content_bytes, settings):
            done(table)
    if what in ("all", "publish"):
        if os.geteuid() != 0:
            say("publish is left out: only root can make the guest")
        else:
            done(measure_publish(inputs.work, settings))
    if what in ("all", "console"):
        measure_console(inputs.work / "console", settings.runs)
    return tables


@contextmanager
def work_folder(parent: Path | None) -> Generator[Path]:
    """Make a folder to work in and empty it at the end, whatever happens."""
    place = parent or Path("/var/tmp")
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sekiso-bench-", dir=place) as folder:
        yield Path(folder).resolve()


def check_space(work: Path, files: int, content_bytes: int) -> None:
    """Refuse to begin what cannot be finished."""
    needed = 5 * (content_bytes + files * _OVERHEAD_BYTES) + _FIXED_BYTES
    free = shutil.disk_usage(work).free
    if free < needed:
        raise SystemExit(
            f"{work} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed; "
            "choose another folder with --work, or a smaller tree with --files and --bytes"
        )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="script/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what",
        nargs="?",
        default="all",
        choices=("all", "compose", "capture", "convert", "transfer", "publish", "console"),
    )
    parser.add_argument("--files", type=int, help=f"files in the tree (default: {FILES})")
    parser.add_argument("--bytes", type=int, help=f"bytes of content (default: {BYTES})")
    parser.add_argument("--runs", type=int, help=f"rounds of runs (default: {RUNS})")
    parser.add_argument("--work", type=Path, help="where to work (default: a folder in /var/tmp)")
    parser.add_argument("--json", type=Path, help="write all numbers there too")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"try it out: {QUICK_FILES} files, {QUICK_BYTES // 10**6} MB, one run",
    )
    parser.add_argument("--warm", action="store_true", help="keep the page cache, even as root")
    parser.add_argument("--profile", action="store_true", help="add profiles of composing and capturing")
    options = parser.parse_args()
    defaults = (QUICK_FILES, QUICK_BYTES, QUICK_RUNS) if options.quick else (FILES, BYTES, RUNS)
    for name, value in zip(("files", "bytes", "runs"), defaults, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.files < 1000 or options.bytes < 10_000_000 or options.runs < 1:
        parser.error("at least 1000 files, 10000000 bytes and one run are needed")
    return options


if __name__ == "__main__":
    main()
