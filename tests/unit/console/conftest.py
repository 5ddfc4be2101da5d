"""A browser without scripts over a small world: logs in, opens pages, sends what they would send by htmx."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from sekiso.console.app import Site, create_console
from sekiso.console.live import Live
from sekiso.model.library import Role
from sekiso.web.auth import CSRF_HEADER

from ..web.world import PASSWORD, World, fill, make_world

with warnings.catch_warnings():
    # It prefers a library that is not among the dependencies.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

_CSRF = re.compile(r'<meta name="sekiso-csrf" content="([^"]*)"')
BASE = "https://testserver"


_apps: list[FastAPI] = []


def _console(world: World) -> FastAPI:
    """Return the console of a world: making one takes longer than most tests; the services differ."""
    if not _apps:
        _apps.append(create_console(world.services))
    app = _apps[0]
    app.state.services, app.state.live = world.services, Live(world.services)
    return app


class Browser:
    """Someone at the console.

    Attributes:
        client: the HTTP client; its cookies are the browser's.
        csrf: the value that the last page had for changes.
    """

    def __init__(self, world: World, language: str = "en") -> None:
        api = world.client().app
        self.world = world
        self.app = _console(world)
        self.client = TestClient(
            Site(api, self.app),
            base_url=BASE,
            raise_server_exceptions=False,
            follow_redirects=False,
            headers={"Accept-Language": language},
        )
        self.csrf = ""

    def log_in(self, role: Role = Role.ADMINISTRATOR) -> httpx.Response:
        """Log in as the user of a role."""
        answer = self.client.post("/login", data={"name": role.value, "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        self.get("/")
        return answer

    def get(self, path: str, **query: Any) -> httpx.Response:
        """Open a page."""
        answer = self.client.get(path, params=query or None)
        if found := _CSRF.search(answer.text):
            self.csrf = found[1]
        return answer

    def part(self, path: str, **query: Any) -> httpx.Response:
        """Ask for a part of a page, as htmx does."""
        return self.client.get(path, params=query or None, headers={"HX-Request": "true"})

    def send(
        self,
        path: str,
        data: Mapping[str, Any] | None = None,
        *,
        method: str = "POST",
        files: Any = None,
        **more: Any,
    ) -> httpx.Response:
        """Send a form, as htmx does."""
        headers = {"HX-Request": "true", CSRF_HEADER: self.csrf}
        return self.client.request(method, path, data={**(data or {}), **more}, files=files, headers=headers)


def text_of(answer: httpx.Response) -> str:
    """Return what a page says, without its tags, white space reduced."""
    body = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", answer.text, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


Make = Callable[..., Browser]


@pytest.fixture(scope="session")
def original_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("console") / "state"
    folder.mkdir()
    first = make_world(folder)
    fill(first)
    first.close()
    return folder


@pytest.fixture
def world(original_world: Path, tmp_path: Path) -> Iterator[World]:
    """A world for one test."""
    made = make_world(shutil.copytree(original_world, tmp_path / "state"))
    yield made
    made.close()


@pytest.fixture
def browse(world: World) -> Make:
    """Open a browser: `browse()`, `browse(role, language="ja")`; role None = not logged in."""

    def make(role: Role | None = Role.ADMINISTRATOR, *, language: str = "en") -> Browser:
        browser = Browser(world, language)
        if role is not None:
            browser.log_in(role)
        return browser

    return make


@pytest.fixture
def console(browse: Make) -> Browser:
    """An administrator's browser, in English."""
    return browse()
