"""What changes something: not without login, not by another site, not with too low a role (OP-4)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from sekiso.console.app import create_console
from sekiso.model.library import Role

from ..web.world import PASSWORD, World
from .conftest import Browser, Make

#: An object of each kind that addresses name.
_IDS = {
    "agent_id": "a-2",
    "configuration_id": "prod",
    "image_id": "i-1",
    "layer_id": "l-os",
    "name": "prod",
    "reference": "prod",
    "task_id": "t-queued",
    "template_id": "web",
    "token_id": "none",
    "user_id": "publisher",
    "version_id": "v-edit",
    "other_id": "v-app",
    "connector": "hyperv",
}
#: What everybody who is logged in may do: to their own things, or asking without changing anything.
_OWN = re.compile(
    r"^/(logout|preferences|login|account(/.*)?|tasks/[^/]*/dismiss|layers/conflicts.*|.*/conflicts|.*/check|.*/preview)$"
)


def _routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    for route in _flat(app.routes):
        for method in sorted((route.methods or set()) - {"GET", "HEAD", "OPTIONS"}):
            path = re.sub(r"{(\w+)(?::\w+)?}", lambda found: _IDS.get(found[1], "none"), route.path)
            yield method, path


def _flat(routes: Any) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        inner = getattr(route, "original_router", None) or getattr(route, "routes", None)
        if inner is not None and not isinstance(route, APIRoute):
            yield from _flat(getattr(inner, "routes", inner))


def _audited(world: World) -> int:
    with world.db.read() as work:
        return sum(1 for _ in work.audit.list(limit=100_000))


@pytest.fixture
def changes(world: World) -> list[tuple[str, str]]:
    found = sorted(set(_routes(create_console(world.services))))
    assert len(found) > 15, found
    return found


def test_nothing_changes_without_login(browse: Make, changes: list[tuple[str, str]]) -> None:
    browser = browse(None)
    for method, path in changes:
        if path in ("/login", "/preferences"):
            continue
        answer = browser.client.request(method, path, headers={"Sec-Fetch-Mode": "navigate"})
        assert answer.status_code in (401, 303), (method, path, answer.status_code)


def test_nothing_changes_without_the_value_of_the_session(
    console: Browser, changes: list[tuple[str, str]]
) -> None:
    before = _audited(console.world)
    for method, path in changes:
        if path in ("/login", "/preferences"):
            continue
        for headers in ({"HX-Request": "true"}, {"X-Sekiso-CSRF": "0" * 32}):
            answer = console.client.request(method, path, data={"name": "x"}, headers=headers)
            assert answer.status_code == 403, (method, path, answer.status_code)
        own = {"X-Sekiso-CSRF": console.csrf}
        for foreign in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
            answer = console.client.request(method, path, data={"name": "x"}, headers={**own, **foreign})
            assert answer.status_code == 403, (method, path, answer.status_code)
    assert _audited(console.world) == before


def test_who_may_only_read_changes_nothing(browse: Make, changes: list[tuple[str, str]]) -> None:
    browser = browse(Role.READ_ONLY)
    before, answers = _audited(browser.world), {}
    for method, path in changes:
        if not _OWN.match(path):
            answers[f"{method} {path}"] = browser.send(path, method=method).status_code
    # 404: what the address names is not there for anybody; 422: a form that is refused before.
    assert {key: status for key, status in answers.items() if status not in (403, 404, 422)} == {}
    assert sum(status == 403 for status in answers.values()) > len(answers) * 0.6, answers
    assert _audited(browser.world) == before


@pytest.mark.parametrize(
    "path", ["/system/users", "/system/audit", "/system/certificate", "/system/settings", "/system/logs"]
)
def test_pages_for_administrators(browse: Make, path: str) -> None:
    assert browse().get(path).status_code == 200
    for role in (Role.LAYER_MANAGER, Role.PUBLISHER, Role.READ_ONLY):
        browser = browse(role)
        answer = browser.get(path)
        assert answer.status_code == 403, (role, path)
        assert f'href="{path}"' not in browser.get("/system").text


def test_ten_failures_lock_a_user(browse: Make) -> None:
    browser = browse(None)
    for _ in range(10):
        browser.client.post("/login", data={"name": "publisher", "password": "not my own"})
    answer = browser.client.post("/login", data={"name": "publisher", "password": PASSWORD})
    assert answer.status_code == 401
    answer = browser.client.post("/login", data={"name": "read-only", "password": PASSWORD})
    assert answer.status_code == 303


def test_a_session_that_only_refreshes_itself_ends(
    browse: Make, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = browse(Role.READ_ONLY)
    now_s = world.services.users._core.clock()  # pyright: ignore[reportPrivateUsage]
    elapsed = {"s": 0.0}
    object.__setattr__(world.services.users._core, "clock", lambda: now_s + elapsed["s"])  # pyright: ignore[reportPrivateUsage]
    for minutes in range(0, 59, 5):
        elapsed["s"] = minutes * 60.0
        answer = browser.client.get("/", headers={"HX-Request": "true", "X-Sekiso-Background": "1"})
        assert answer.status_code == 200
    elapsed["s"] = 61 * 60.0
    answer = browser.client.get("/", headers={"HX-Request": "true", "X-Sekiso-Background": "1"})
    assert answer.status_code == 401 and answer.headers["hx-redirect"].startswith("/login")
