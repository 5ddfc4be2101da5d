"""Figures in the text format of Prometheus (OP-4)."""

from __future__ import annotations

import re

from sekiso import __version__
from sekiso.model.task import TaskState
from sekiso.services.metrics import MetricsService

from ...support.appliance import Appliance
from ...support.system import memory_vitals
from .test_health import new_task

SAMPLE = re.compile(r'sekiso_[a-z_]+(?:\{[a-z_]+="[^"]*"(?:,[a-z_]+="[^"]*")*\})? -?[0-9][0-9.e+-]*')


def figures(appliance: Appliance) -> dict[str, float]:
    text = MetricsService(appliance.core, memory_vitals(appliance.db)).text()
    assert text.endswith("\n")
    found: dict[str, float] = {}
    named: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# "):
            word, name, rest = line[2:].split(" ", 2)
            assert word in ("HELP", "TYPE") and rest
            named.add(name)
        else:
            assert SAMPLE.fullmatch(line), line
            name, _, value = line.rpartition(" ")
            assert name.partition("{")[0] in named and name not in found
            found[name] = float(value)
    return found


def test_figures(appliance: Appliance) -> None:
    appliance.add_agent("hv01")
    appliance.add_agent("hv02", online=False)
    store = appliance.state / "layers" / "ab"
    store.mkdir(parents=True)
    (store / "x.wim").write_bytes(b"12345")
    for number, seconds in enumerate((10.0, 30.0)):
        task = new_task(appliance, f"t{number}")
        with appliance.db.begin() as work:
            work.tasks.move(task.id, TaskState.RUNNING, started_s=1000.0)
            work.tasks.move(task.id, TaskState.FAILED, ended_s=1000.0 + seconds)
    new_task(appliance, "waiting")
    found = figures(appliance)
    assert found["sekiso_agents_registered"] == 2 and found["sekiso_agents_online"] == 1
    assert found["sekiso_store_bytes"] == 5
    failed = '{kind="import-os",state="failed"}'
    assert found[f"sekiso_tasks{failed}"] == 2
    assert found['sekiso_tasks{kind="import-os",state="queued"}'] == 1
    assert found[f"sekiso_task_duration_mean_seconds{failed}"] == 20
    assert found[f"sekiso_task_duration_longest_seconds{failed}"] == 30
    assert found[f'sekiso_info{{version="{__version__}"}}'] == 1
    assert found['sekiso_transfer_server_up{port="8021"}'] == 1
    assert found["sekiso_task_engine_up"] == 1
    assert found["sekiso_database_bytes"] > 4096
    assert found["sekiso_process_memory_bytes"] > 1 << 20 and found["sekiso_process_cpu_seconds_total"] > 0
    assert found['sekiso_image_transferred_bytes{what="disks"}'] == 0


def test_values_of_labels_are_escaped() -> None:
    from sekiso.services.metrics import _label_text  # pyright: ignore[reportPrivateUsage]

    assert _label_text({"a": 'x"\\\n'}) == '{a="x\\"\\\\\\n"}'
