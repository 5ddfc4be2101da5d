"""What the running parts of an appliance tell of themselves, for health and metrics (OP-4)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sekiso.store.database.database import DatabaseFacts


@dataclass(frozen=True)
class Vitals:
    """Asks the running parts of an appliance.

    Attributes:
        database: looks at the database; raises SekisoError if it does not answer.
        engine_works: tells whether the task engine is at work.
        transfer_servers: tells by TCP port which transfer servers can be reached.
        skews_s: tells how far the clocks of connected agents are ahead, by identifier, seconds.
        started_s: when the appliance was started, Unix seconds.
    """

    database: Callable[[], DatabaseFacts]
    engine_works: Callable[[], bool]
    transfer_servers: Callable[[], Mapping[int, bool]]
    skews_s: Callable[[], Mapping[str, float]]
    started_s: float


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """What the process of the appliance uses.

    Attributes:
        cpu_s: processor time, of all its threads.
        memory_bytes: memory that is in RAM.
        open_files: open files and connections.
    """

    cpu_s: float
    memory_bytes: int
    open_files: int


def process_facts() -> ProcessFacts:
    """Look at this process.

    Source: proc_pid_statm(5): its second number is the resident set size in pages.
    """
    with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123 (no file of ours)
        pages = int(stream.read().split()[1])
    memory_bytes = pages * os.sysconf("SC_PAGE_SIZE")
    return ProcessFacts(time.process_time(), memory_bytes, len(os.listdir("/proc/self/fd")))  # noqa: PTH208
