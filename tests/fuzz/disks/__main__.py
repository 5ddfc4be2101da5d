"""Endless mutants for the disk readers: `python -m tests.fuzz.disks [--seconds N] [--seed N] [--only NAME]`.

Every mutant must give data or a SekisoError, quickly and in bounded memory.
"""

from __future__ import annotations

import argparse
import collections
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from sekiso.errors import SekisoError
from tests.fuzz.disks.seeds import make_seeds, mutate

_SLOW_S = 5.0
_MEMORY_BYTES = 3 << 30


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    counts: collections.Counter[str] = collections.Counter()
    findings = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seeds = [s for s in make_seeds(folder) if options.only in (None, s.name)]
        for seed in seeds:
            check_seed_is_valid(seed.name, seed.data, seed.exercise, folder)
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        end = time.monotonic() + options.seconds
        while time.monotonic() < end:
            seed = rng.choice(seeds)
            data = mutate(seed, rng)
            start = time.monotonic()
            outcome = "data"
            try:
                seed.exercise(data, folder)
            except SekisoError as exc:
                outcome = type(exc).__name__
            except Exception as exc:  # noqa: BLE001 (that is what is looked for)
                outcome = f"FINDING {type(exc).__name__}: {exc}"
            took = time.monotonic() - start
            if took > _SLOW_S:
                outcome = f"FINDING slow: {took:.1f} s"
            if outcome.startswith("FINDING"):
                findings += 1
                keep = Path(tempfile.gettempdir()) / f"finding-{seed.name}-{findings}"
                keep.write_bytes(data)
                print(f"{seed.name}: {outcome} ({keep})", flush=True)
            counts[f"{seed.name}: {outcome.split(':')[0]}"] += 1
    for key, count in sorted(counts.items()):
        print(f"{count:8} {key}")
    print(f"{sum(counts.values())} mutants, {findings} findings, seed {options.seed}")
    return 1 if findings else 0


def check_seed_is_valid(name: str, data: bytes, exercise: object, folder: Path) -> None:
    try:
        exercise(data, folder)  # type: ignore[operator]
    except SekisoError as exc:
        if not name.endswith("-child"):  # a child's parent is not beside a mutant
            raise SystemExit(f"the seed {name} itself is refused: {exc}") from exc


if __name__ == "__main__":
    sys.exit(main())
