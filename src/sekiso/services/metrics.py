"""Figures of the appliance in the text format of Prometheus (OP-4).

Source: "Exposition formats", section "Text-based format", version 0.0.4. Everything that is counted from the
database is a gauge: what is forgotten after some time would make a counter go down.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sekiso import __version__
from sekiso.services.core import Core
from sekiso.services.vitals import Vitals, process_facts
from sekiso.store.database.api import TaskStatistic, UnitOfWork

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Facts of published images that are bytes over the wire.
_WIRE = {"layer_wire_bytes": "layers", "disk_wire_bytes": "disks"}

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric with its samples.

    Attributes:
        name: its name, without the prefix `sekiso_` that all have.
        kind: `gauge` or `counter`.
        help: what it is.
        samples: labels and value of each sample.
    """

    name: str
    kind: str
    help: str
    samples: Sequence[tuple[Labels, float]]


class MetricsService:
    """Figures of the appliance."""

    def __init__(self, core: Core, vitals: Vitals) -> None:
        """Count at an appliance.

        Args:
            core: what every service works with.
            vitals: asks its running parts.
        """
        self._core, self._vitals = core, vitals

    def text(self) -> str:
        """Return all figures as they are now.

        Raises:
            DatabaseUnavailableError: the database does not answer.
        """
        with self._core.db.read() as work:
            metrics = [*_tasks(work.tasks.statistics()), *self._agents(work), *_library(work)]
        metrics += [*self._appliance(), *_process()]
        return "".join(_lines(metric) for metric in metrics)

    def _agents(self, work: UnitOfWork) -> Iterator[Metric]:
        registered = {agent.id for agent in work.agents.all() if not agent.revoked}
        online = registered & set(self._core.agents.online())
        yield _gauge("agents_registered", "Agents that are registered and not revoked", len(registered))
        yield _gauge("agents_online", "Agents that are connected", len(online))

    def _appliance(self) -> Iterator[Metric]:
        facts = self._vitals.database()
        yield Metric("info", "gauge", "Version of Sekiso", [({"version": __version__}, 1)])
        yield _gauge("start_time_seconds", "When the appliance was started", self._vitals.started_s)
        yield _gauge("store_bytes", "Bytes in the layer store", _bytes_in(self._core.state / "layers"))
        yield _gauge("database_bytes", "Size of the database", facts.size_bytes)
        connections = [
            ({"state": "used"}, float(facts.connections_used)),
            ({"state": "idle"}, float(facts.connections_idle)),
        ]
        yield Metric("database_connections", "gauge", "Connections to the database", connections)
        works = 1 if self._vitals.engine_works() else 0
        yield _gauge("task_engine_up", "Whether the task engine is at work", works)
        servers = [({"port": str(p)}, float(up)) for p, up in self._vitals.transfer_servers().items()]
        yield Metric("transfer_server_up", "gauge", "Whether a transfer server can be reached", servers)


def _gauge(name: str, help_: str, value: float) -> Metric:
    return Metric(name, "gauge", help_, [({}, value)])


def _tasks(statistics: Sequence[TaskStatistic]) -> Iterator[Metric]:
    counts = [({"kind": s.kind.value, "state": s.state.value}, float(s.count)) for s in statistics]
    yield Metric("tasks", "gauge", "Tasks that are kept, by kind and state", counts)
    timed = [s for s in statistics if s.timed]
    means = [({"kind": s.kind.value, "state": s.state.value}, s.total_s / s.timed) for s in timed]
    longest = [({"kind": s.kind.value, "state": s.state.value}, s.longest_s) for s in timed]
    yield Metric("task_duration_mean_seconds", "gauge", "How long tasks took that have ended", means)
    yield Metric("task_duration_longest_seconds", "gauge", "How long the longest of them took", longest)


def _library(work: UnitOfWork) -> Iterator[Metric]:
    images = work.images.all()
    moved: dict[str, float] = defaultdict(float)
    for image in images:
        facts: Mapping[str, Any] = image.facts or {}
        for name, what in _WIRE.items():
            moved[what] += float(facts.get(name) or 0)
    samples = [({"what": what}, moved[what]) for what in sorted(_WIRE.values())]
    help_ = "Bytes over the wire for the published images that there are"
    yield Metric("image_transferred_bytes", "gauge", help_, samples)
    yield _gauge("images", "Published images", len(images))


def _process() -> Iterator[Metric]:
    facts = process_facts()
    yield Metric("process_cpu_seconds_total", "counter", "Processor time used", [({}, facts.cpu_s)])
    yield _gauge("process_memory_bytes", "Memory in RAM", facts.memory_bytes)
    yield _gauge("process_open_files", "Open files and connections", facts.open_files)


def _bytes_in(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(place, name)).st_size  # noqa: PTH116, PTH118 (many files)
            except FileNotFoundError:
                continue  # it was deleted just now
    return total


def _lines(metric: Metric) -> str:
    name = f"sekiso_{metric.name}"
    lines = [f"# HELP {name} {_escaped(metric.help)}", f"# TYPE {name} {metric.kind}"]
    lines += [f"{name}{_label_text(labels)} {_number(value)}" for labels, value in metric.samples]
    return "\n".join(lines) + "\n"


def _label_text(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = (f'{key}="{_escaped(value, quotes=True)}"' for key, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
