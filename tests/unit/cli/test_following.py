"""Following tasks: progress, ends, errors, Ctrl-C, lost connections."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sekiso.cli.follow_view import BarView, Rate, amount_text
from sekiso.cli.following import InterruptedFollowing
from sekiso.errors import ToolMissingError
from sekiso.model.task import TaskKind, TaskState

from .conftest import Run
from .fake_appliance import FakeAppliance, record

DONE = {"state": TaskState.COMPLETE, "percent": 100.0}


def begin(appliance: FakeAppliance, *steps: dict[str, Any], **more: Any) -> str:
    """Begin a task; the first look, which finds it, changes nothing."""
    return appliance.begin(record(TaskKind.PUBLISH_IMAGE, "web", id="t1", **more), {}, *steps).id


def test_progress_in_a_log(sekiso: Run, appliance: FakeAppliance) -> None:
    begin(
        appliance,
        {"step": "Composing", "percent": 12.0},
        {"step": "Composing", "percent": 13.0},
        {"step": "Sending", "percent": 55.5, "done": 1 << 20, "total": 3 << 20, "unit": "bytes"},
        DONE,
        state=TaskState.QUEUED,
    )
    code, out, err = sekiso("task", "wait", "t1")
    assert (code, out) == (0, "Publish an image: web is done.\n")
    assert err.splitlines() == [
        "web: Queued 0 %",
        "web: Queued 12 %",
        "web: Queued 56 % (1.0 MiB / 3.0 MiB)",
        "web: Complete 100 %",
    ]
    assert sekiso("task", "wait", "t1", "--quiet")[2] == ""


def test_failure_has_the_exit_code_of_its_family(sekiso: Run, appliance: FakeAppliance) -> None:
    error = ToolMissingError(tool="qemu-img", package="qemu-utils").to_dict()
    begin(appliance, {"state": TaskState.FAILED, "error": error})
    code, _, err = sekiso("task", "wait", "t1", "--quiet")
    assert code == 7
    assert err == (
        "Error: The program qemu-img is not installed.\n"
        "  Sekiso needs it for this step.\n"
        "  Install it: sudo apt-get install qemu-utils\n"
        "Its log: sekiso task log t1\n"
    )
    code, _, err = sekiso("task", "wait", "t1", "--quiet", lang="ja")
    assert code == 7 and err.startswith("エラー: ")
    code, out, err = sekiso("task", "wait", "t1", "--json")
    assert (code, err, json.loads(out)["state"]) == (7, "", "failed")


def test_errors_of_tasks_are_known_here(sekiso: Run, appliance: FakeAppliance) -> None:
    error = {
        "code": "packaging.pending",
        "family": "guest",
        "params": {"machine": "nginx", "reason": "pending-reboot: kernel"},
    }
    begin(appliance, {"state": TaskState.FAILED, "error": error})
    code, _, err = sekiso("task", "wait", "t1", "--quiet")
    assert code == 10
    assert err.startswith(
        "Error: Something is unfinished in the packaging machine of nginx.\n  pending-reboot: kernel\n"
    )


def test_texts_of_the_appliance_are_preferred(sekiso: Run, appliance: FakeAppliance) -> None:
    error = {"code": "x.y", "family": "guest", "brief": "ゲスト", "why": "理由", "resolution": "対処"}
    begin(appliance, {"state": TaskState.FAILED, "error": error})
    code, _, err = sekiso("task", "wait", "t1", "--quiet", lang="ja")
    assert code == 10 and err.startswith("エラー: ゲスト\n  理由\n  対処\n")
    begin(
        appliance,
        {"error": {"code": "un.known", "family": "tool", "params": {"a": 1}}},
        state=TaskState.FAILED,
    )
    code, _, err = sekiso("task", "retry", "t1", "--no-wait")
    assert code == 0
    appliance.tasks["t1"] = record(
        TaskKind.BOOT_TEST, "web", TaskState.FAILED, id="t1", error={"code": "un.known", "family": "tool"}
    )
    assert "un.known" in sekiso("task", "show", "t1")[2]


def test_action_required_says_what_to_do(sekiso: Run, appliance: FakeAppliance) -> None:
    begin(appliance, {"state": TaskState.ACTION_REQUIRED, "action": "Install it, then shut it down."})
    code, out, err = sekiso("task", "wait", "t1", "--quiet")
    assert (code, out) == (0, "Install it, then shut it down.\n")
    assert err == "The task waits: sekiso task show t1\n"
    appliance.scripts["t1"] = [{"percent": 90.0}, DONE]
    assert sekiso("task", "wait", "t1", "--ended")[0] == 0


def test_canceled(sekiso: Run, appliance: FakeAppliance) -> None:
    begin(appliance, {"state": TaskState.CANCELED})
    assert sekiso("task", "wait", "t1")[0] == 130
    begin(appliance)
    code, out, _ = sekiso("task", "cancel", "t1")
    assert (code, out) == (0, "The task t1 is: Canceled.\n")


def test_no_wait(sekiso: Run, appliance: FakeAppliance) -> None:
    code, out, err = sekiso("image", "publish", "web", "--no-wait", "--json")
    assert code == 0 and err == "" and [t["id"] for t in json.loads(out)["tasks"]] == ["task-web"]
    code, out, err = sekiso("image", "publish", "web", "--no-wait")
    assert out == "Publish an image: web is task task-web.\n"
    assert err == "Follow it: sekiso task wait task-web\n"


def test_several_at_once(sekiso: Run, appliance: FakeAppliance) -> None:
    appliance.scripts["api"] = [{"state": TaskState.FAILED, "error": {"code": "x", "family": "no-such"}}]
    code, out, err = sekiso("image", "publish", "web", "api")
    assert code == 1 and "web is done." in out and "Error:" in err
    assert appliance.changes()[-1][2] == {"templates": ["web", "api"], "count": 1}


def test_ctrl_c_leaves_the_task_running_without_a_terminal(sekiso: Run, appliance: FakeAppliance) -> None:
    begin(appliance, {"raise": InterruptedFollowing()})
    code, out, err = sekiso("task", "wait", "t1")
    assert code == 130 and out == "Publish an image: web is task t1.\n"
    assert "Follow it: sekiso task wait t1" in err
    assert appliance.changes() == []


@pytest.mark.parametrize(("answer", "cancels"), [(True, True), (False, False)])
def test_ctrl_c_asks_on_a_terminal(
    sekiso: Run, appliance: FakeAppliance, monkeypatch: pytest.MonkeyPatch, answer: bool, cancels: bool
) -> None:
    monkeypatch.setattr("sekiso.cli.following._on_terminal", lambda: True)
    monkeypatch.setattr("click.confirm", lambda *_, **__: answer)
    begin(appliance, {"raise": InterruptedFollowing()})
    code, _, _ = sekiso("task", "wait", "t1", "--quiet")
    assert code == 130
    assert [r[1] for r in appliance.changes()] == (["/tasks/t1/cancel"] if cancels else [])
    assert appliance.tasks["t1"].state is (TaskState.CANCELED if cancels else TaskState.RUNNING)


def test_a_restart_of_the_appliance_is_waited_for(
    sekiso: Run, appliance: FakeAppliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose() -> None:
        appliance.lost = 5

    begin(appliance, {"percent": 10.0, "then": lose}, {"percent": 20.0}, DONE)
    code, out, _ = sekiso("task", "wait", "t1")
    assert (code, out) == (0, "Publish an image: web is done.\n")


def test_reading_is_tried_again_but_changing_is_not(
    sekiso: Run, appliance: FakeAppliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    appliance.lost = 2
    assert sekiso("agent", "list")[0] == 0
    appliance.lost = 1
    code, _, err = sekiso("agent", "rename", "hv01", "hv02")
    assert code == 7 and "The connection was lost." in err
    assert appliance.changes() == []


def test_log_is_followed(sekiso: Run, appliance: FakeAppliance) -> None:
    begin(appliance, {"percent": 50.0}, DONE)
    code, out, _ = sekiso("task", "log", "t1", "--follow")
    assert code == 0 and len(out.splitlines()) == 2
    assert len(json.loads(sekiso("task", "log", "t1", "--json")[1])["lines"]) == 2


@pytest.fixture
def made(appliance: FakeAppliance) -> Callable[..., None]:
    """Prepare `layer create`: the machine works, shuts down, and a task finalizes."""

    def prepare(outcome: dict[str, Any]) -> None:
        finalizing = record(TaskKind.FINALIZE_LAYER, "nginx 1", id="t-final")

        def shut_down() -> None:
            appliance.begin(finalizing, {"percent": 50.0}, {**outcome, "then": settle})

        def settle() -> None:
            if outcome["state"] is TaskState.COMPLETE:
                appliance.scripts["task-create-layer"].append(DONE)

        waiting = {"state": TaskState.ACTION_REQUIRED, "action": "The script runs."}
        appliance.scripts["task-create-layer"] = []
        appliance.begin(
            record(TaskKind.CREATE_LAYER, "nginx 1"),
            {"percent": 50.0},
            waiting,
            {},
            {"then": shut_down},
        )

    return prepare


CREATE = ("layer", "create", "x", "--kind", "app", "--version", "1", "--os", "Debian", "--connector", "prod")


def test_wait_until_deployable(sekiso: Run, appliance: FakeAppliance, made: Callable[..., None]) -> None:
    made(DONE)
    code, out, err = sekiso(*CREATE, "--wait")
    assert (code, out) == (0, "Finalize a layer version: nginx 1 is done.\n")
    assert "The script runs." in err and "The machine has shut down; the version is finalized." in err


def test_wait_ends_when_finalizing_fails(
    sekiso: Run, appliance: FakeAppliance, made: Callable[..., None]
) -> None:
    made({"state": TaskState.FAILED, "error": {"code": "packaging.pending", "family": "guest"}})
    assert sekiso(*CREATE, "--wait")[0] == 10


def test_wait_ends_when_something_is_unfinished(
    sekiso: Run, appliance: FakeAppliance, made: Callable[..., None]
) -> None:
    made(DONE)
    appliance.packaging = {"shut_down": True, "gate": ["run-once: setup failed"]}
    code, _, err = sekiso(*CREATE, "--wait", "--quiet")
    assert code == 10
    assert err.startswith("Error: The version nginx 1 was not finalized by itself.\n  The script runs.\n")


def test_a_script_that_installs_is_waited_for(
    sekiso: Run, appliance: FakeAppliance, made: Callable[..., None]
) -> None:
    made(DONE)
    made_task = appliance.tasks["task-create-layer"]
    appliance.tasks["task-create-layer"] = replace(
        made_task, params={"run_once": "up-1", "auto_finalize": True}
    )
    code, out, _ = sekiso(*CREATE)
    assert (code, out) == (0, "Finalize a layer version: nginx 1 is done.\n")


def test_without_wait_it_ends_when_a_person_is_needed(
    sekiso: Run, appliance: FakeAppliance, made: Callable[..., None]
) -> None:
    made(DONE)
    code, out, _ = sekiso(*CREATE)
    assert (code, out) == (0, "The script runs.\n")


def test_discarding_cancels_what_made_it(sekiso: Run, appliance: FakeAppliance) -> None:
    appliance.begin(
        record(TaskKind.CREATE_LAYER, "nginx 1.23", TaskState.CANCELING, id="task-discard-packaging"),
        {"state": TaskState.CANCELED},
    )
    code, out, _ = sekiso("layer", "discard", "nginx", "--yes", "--quiet")
    assert (code, out) == (0, "The version was discarded.\n")


def test_rate() -> None:
    rate, task = Rate(), record(TaskKind.PUBLISH_IMAGE, "web", step="a", unit="bytes", total=100 << 20)
    assert rate.per_second(replace(task, done=0), 0.0) is None
    assert rate.per_second(replace(task, done=10 << 20), 2.0) == 5 << 20
    assert amount_text(replace(task, done=10 << 20), 5 << 20) == "10.0 MiB / 100.0 MiB, 5.0 MiB/s"
    assert rate.per_second(replace(task, done=30 << 20), 14.0) is None
    assert rate.per_second(replace(task, step="b", done=0), 15.0) is None


def test_bars(capsys: pytest.CaptureFixture[str]) -> None:
    with BarView() as view:
        view.show(record(TaskKind.PUBLISH_IMAGE, "web [bold]", step="Sending", percent=40.0))
        view.show(record(TaskKind.PUBLISH_IMAGE, "web [bold]", TaskState.COMPLETE, percent=100.0))
    shown = capsys.readouterr().err
    assert "web [bold]: Complete" in shown and "100 %" in shown
