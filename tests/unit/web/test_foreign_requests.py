"""What another site, or somebody at the same browser before, can bring about: nothing (OP-4)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import pytest

from sekiso.model.library import Role
from sekiso.web.app import create_app
from sekiso.web.auth import COOKIE, CSRF_HEADER

from .world import PASSWORD, ROOT, World, problem

LOGIN = {"name": "publisher", "password": PASSWORD}


def changing() -> list[tuple[str, str]]:
    """Method and address of every route that changes something and needs a login."""
    described: dict[str, Any] = create_app(cast("Any", None)).openapi()["paths"]
    return [
        (method.upper(), re.sub(r"\{\w+\}", "x", path))
        for path, item in described.items()
        for method, operation in item.items()
        if method != "get" and operation["security"]
    ]


@pytest.fixture(scope="module")
def client(quiet_world: World) -> Iterator[Any]:
    found = quiet_world.session(Role.ADMINISTRATOR)
    del found.headers[CSRF_HEADER]
    yield found
    found.close()


def test_there_are_such_routes() -> None:
    assert len(changing()) > 40


@pytest.mark.parametrize(("method", "path"), changing())
def test_a_change_by_cookie_alone_is_refused_whatever_its_body(method: str, path: str, client: Any) -> None:
    for body in (b"", b"{}", b"\xff{"):
        found = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
        problem(found, 403, "request.foreign")


def test_a_login_takes_up_no_session_that_was_put_into_the_browser(world: World) -> None:
    known = world.session(Role.READ_ONLY).cookies[COOKIE]
    for planted in (known, "chosen-by-somebody-else"):
        victim = world.client()
        victim.cookies.set(COOKIE, planted, domain="appliance.example")
        answer = victim.post(f"{ROOT}/session", json=LOGIN)
        assert answer.status_code == 200
        secret = answer.cookies[COOKIE]
        assert secret not in (known, planted)
        assert planted not in answer.text
        thief = world.client()
        thief.cookies.set(COOKIE, planted, domain="appliance.example")
        shown = thief.get(f"{ROOT}/session")
        assert shown.status_code == 401 or shown.json()["user"] != "publisher"


def test_two_logins_have_nothing_in_common(world: World) -> None:
    one, two = world.session(Role.PUBLISHER), world.session(Role.PUBLISHER)
    assert one.cookies[COOKIE] != two.cookies[COOKIE]
    assert one.headers[CSRF_HEADER] != two.headers[CSRF_HEADER]
    assert one.cookies[COOKIE] not in one.get(f"{ROOT}/session").text
    assert one.delete(f"{ROOT}/session").status_code == 204
    assert two.get(f"{ROOT}/session").status_code == 200
