"""Answers that take their time, over a real connection: tests row by row, waiting for tasks (CC-7, OP-1)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from sekiso.agent.pki import load_server_certificate
from sekiso.connectors.checks import CheckResult, CheckStatus
from sekiso.errors import ToolMissingError
from sekiso.model.library import Role
from sekiso.model.task import TaskState
from sekiso.web.app import create_app
from sekiso.web.server import serve
from sekiso.web.settings import WebSettings

from ...unit.web.world import ROOT, World, fill, make_world

HOST = "127.0.0.1"
NDJSON = "application/x-ndjson"
TEST = f"{ROOT}/connector-configurations/prod/test"
WAITING = 2


@dataclass
class Rows:
    """A test whose rows come when this side lets them."""

    count: int = 3
    failure: Exception | None = None
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    asked: int = 0
    closed: threading.Event = field(default_factory=threading.Event)

    def __call__(self, *_: object, **__: object) -> Iterator[CheckResult]:
        try:
            for number in range(self.count):
                self.asked = number + 1
                self.go.acquire()
                yield CheckResult(f"check-{number}", CheckStatus.PASSED, "There is room at the storage path.")
            if self.failure is not None:
                raise self.failure
        finally:
            self.closed.set()


@dataclass
class Live:
    world: World
    client: httpx.Client


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    world = make_world(tmp_path_factory.mktemp("live"))
    fill(world)
    certificate = load_server_certificate(world.state / "pki", (HOST,))
    app = create_app(world.services, settings=WebSettings(waiting=WAITING))
    server = serve(app, HOST, 0, certificate.certificate, certificate.key)
    try:
        with httpx.Client(
            base_url=f"https://{HOST}:{server.port}",
            verify=False,  # what is trusted is tested elsewhere
            headers={"Authorization": f"Bearer {world.token(Role.ADMINISTRATOR)}"},
            timeout=30,
            trust_env=False,
        ) as client:
            yield Live(world, client)
    finally:
        server.stop()
        world.close()


@pytest.fixture
def rows(live: Live, monkeypatch: pytest.MonkeyPatch) -> Rows:
    found = Rows()
    monkeypatch.setattr(live.world.services.configurations, "test_saved", found)
    return found


def eventually(holds: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


def test_each_row_comes_when_it_is_known(live: Live, rows: Rows) -> None:
    with live.client.stream("POST", TEST, headers={"Accept": NDJSON, "Accept-Language": "ja"}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] == NDJSON
        assert answer.headers["content-language"] == "ja"
        assert "content-length" not in answer.headers
        lines = answer.iter_lines()
        for number in range(rows.count):
            assert rows.asked <= number + 1
            rows.go.release()
            row = json.loads(next(lines))
            assert (row["code"], row["status"]) == (f"check-{number}", "passed")
            assert not row["detail"].isascii()
        assert list(lines) == []
    assert rows.closed.is_set()


def test_without_ndjson_all_rows_come_together(live: Live, rows: Rows) -> None:
    for _ in range(rows.count):
        rows.go.release()
    answer = live.client.post(TEST)
    assert answer.headers["content-type"] == "application/json"
    assert [row["code"] for row in answer.json()] == ["check-0", "check-1", "check-2"]


def test_the_test_stops_when_the_client_goes_away(live: Live, rows: Rows) -> None:
    rows.count = 1000
    with live.client.stream("POST", TEST, headers={"Accept": NDJSON}) as answer:
        rows.go.release()
        assert json.loads(next(answer.iter_lines()))["code"] == "check-0"
        assert eventually(lambda: rows.asked == 2)
    # The client is gone; the check under way ends, and no other begins.
    time.sleep(0.5)
    rows.go.release()
    assert rows.closed.wait(10)
    assert rows.asked == 2


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ToolMissingError(tool="qemu-img", package="qemu-utils"), "tool.missing"),
        (ZeroDivisionError("hidden"), "internal"),
    ],
)
def test_a_failure_in_the_middle_is_the_last_line(
    live: Live, rows: Rows, failure: Exception, code: str
) -> None:
    rows.failure, rows.count = failure, 1
    rows.go.release()
    with live.client.stream("POST", TEST, headers={"Accept": NDJSON}) as answer:
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert lines[0]["code"] == "check-0"
    assert lines[1]["code"] == code
    assert lines[1]["type"] == f"urn:sekiso:error:{code}"
    assert "hidden" not in json.dumps(lines)


def test_a_failure_without_ndjson_is_a_problem(live: Live, rows: Rows) -> None:
    rows.failure, rows.count = ToolMissingError(tool="qemu-img", package="qemu-utils"), 1
    rows.go.release()
    answer = live.client.post(TEST)
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_wait_ends_with_the_task(live: Live) -> None:
    live.world.add_task("t-ends")

    def end() -> None:
        time.sleep(0.5)
        with live.world.db.begin() as work:
            work.tasks.move("t-ends", TaskState.RUNNING)
            work.tasks.move("t-ends", TaskState.ACTION_REQUIRED, action="Do it.")

    ending = threading.Thread(target=end)
    ending.start()
    begun_s = time.monotonic()
    answer = live.client.get(f"{ROOT}/tasks/t-ends/wait?timeout_s=20")
    ending.join()
    assert answer.json()["state"] == "action-required"
    assert 0.4 < time.monotonic() - begun_s < 10


def test_a_wait_ends_with_its_time(live: Live) -> None:
    begun_s = time.monotonic()
    answer = live.client.get(f"{ROOT}/tasks/t-queued/wait?timeout_s=2.5")
    assert answer.json()["state"] == "queued"
    assert 2.4 < time.monotonic() - begun_s < 10
    assert live.client.get(f"{ROOT}/tasks/none/wait").status_code == 404


def test_waiting_takes_nothing_from_others(live: Live) -> None:
    """More requests wait than have a thread, and everything else still answers at once."""
    states: list[Any] = []

    def wait() -> None:
        with httpx.Client(
            base_url=live.client.base_url,
            verify=False,
            headers=live.client.headers,
            timeout=30,
            trust_env=False,
        ) as client:
            states.append(client.get(f"{ROOT}/tasks/t-queued/wait?timeout_s=3").json()["state"])

    waiting = [threading.Thread(target=wait) for _ in range(WAITING * 3)]
    for thread in waiting:
        thread.start()
    time.sleep(0.5)
    begun_s = time.monotonic()
    assert live.client.get(f"{ROOT}/tasks/t-queued").status_code == 200
    assert time.monotonic() - begun_s < 2
    for thread in waiting:
        thread.join()
    assert states == ["queued"] * len(waiting)
