"""`python -m tests.fuzz.wim [--seconds N] [--seed N]`: mutate WIM files until the time is over."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

from sekiso.wim.metadata import serialize_metadata

from .harness import Judge, mutate, mutate_structure, seed_tree, seed_wims, with_right_hashes


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.wim", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seeds = seed_wims(folder)
        metadata = serialize_metadata(seed_tree())
        judge = Judge(folder)
        end = time.monotonic() + options.seconds
        count = 0
        while time.monotonic() < end:
            rng = random.Random(options.seed + count)
            kind = rng.random()
            data = metadata if kind < 0.5 else rng.choice(seeds)
            try:
                if kind < 0.5:
                    data = mutate(data, rng)
                    judge.metadata(data)
                elif kind < 0.6:
                    data = with_right_hashes(seeds[0], rng)
                    judge.wim(data)
                else:
                    data = (mutate if kind < 0.85 else mutate_structure)(data, rng)
                    judge.wim(data, with_libwim=kind > 0.97)
            except Exception:  # noqa: BLE001 (this is what the fuzzer looks for)
                kept = Path(f"fuzz-wim-{options.seed + count}.bin")
                kept.write_bytes(data)
                traceback.print_exc()
                print(f"input kept in {kept} (seed {options.seed + count})", file=sys.stderr)
                return 1
            count += 1
    slowest = ", ".join(f"{kind} {seconds:.2f} s" for kind, seconds in judge.slowest_s.items())
    print(f"{count} inputs from seed {options.seed}, slowest: {slowest}")
    for outcome, times in judge.outcomes.most_common():
        print(f"{times:9} {outcome}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
