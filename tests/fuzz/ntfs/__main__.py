"""Loop over damaged volumes: `python -m tests.fuzz.ntfs [SECONDS] [SEED]` (as root, mounts a volume)."""

from __future__ import annotations

import collections
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.ntfs.harness import exercise, exercise_lznt1, mutate, mutate_lznt1, places
from tests.integration.disks.ntfs.volumes import fill_small, make_volume, mounted


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    with tempfile.TemporaryDirectory() as scratch:
        volume = make_volume(Path(scratch) / "v.img", 8)
        with mounted(volume, Path(scratch) / "mnt") as m:
            fill_small(m)
        data = volume.read_bytes()
    spots = places(data)
    assert exercise(data) == "data"
    ends: collections.Counter[str] = collections.Counter()
    slowest = 0.0
    started = time.monotonic()
    count = 0
    while time.monotonic() - started < seconds:
        noise = random.Random(seed * 1_000_003 + count)
        damaged = mutate(data, spots, noise)
        begun = time.monotonic()
        try:
            ends[exercise(damaged, data if count % 3 == 0 else None)] += 1
            for _ in range(3):
                ends["lznt1 " + exercise_lznt1(mutate_lznt1(noise), noise.choice((1, 4096, 65536)))] += 1
        except BaseException:
            print(f"seed {seed} run {count} fails")
            raise
        slowest = max(slowest, time.monotonic() - begun)
        count += 1
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"seed {seed}: {count} volumes, slowest {slowest:.2f} s, peak memory {memory} MiB, {dict(ends)}")


if __name__ == "__main__":
    main()
