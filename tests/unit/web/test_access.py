"""Who is let in: sessions, the CSRF header, API tokens, roles (OP-4)."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import pytest

from sekiso.model.library import Role
from sekiso.services.core import APPLIANCE
from sekiso.services.users import MAX_FAILURES, Session
from sekiso.web.auth import COOKIE, CSRF_HEADER
from sekiso.web.settings import WebSettings

from .world import PASSWORD, ROOT, World, problem

LOGIN = {"name": "administrator", "password": PASSWORD}


def test_the_session_cookie_is_for_our_pages_only(world: World) -> None:
    answer = world.client().post(f"{ROOT}/session", json=LOGIN)
    cookie = answer.headers["set-cookie"]
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert cookie.startswith(f"{COOKIE}=")
    assert attributes == {"httponly", "secure", "samesite=strict", "path=/"}
    assert answer.json()["role"] == "administrator"


def test_a_session_reads_and_with_its_header_changes(world: World) -> None:
    client = world.session()
    assert client.get(f"{ROOT}/session").json() == {
        "user": "administrator",
        "role": "administrator",
        "csrf": client.headers[CSRF_HEADER],
    }
    assert client.post(f"{ROOT}/connectors/hyperv/restart").status_code == 200


@pytest.mark.parametrize("value", [None, "", "0" * 32, "é"])
def test_a_change_by_cookie_needs_the_header(world: World, value: str | None) -> None:
    client = world.session()
    del client.headers[CSRF_HEADER]
    headers = {} if value is None else {CSRF_HEADER: value.encode()}
    for method, path in (("POST", "/connectors/hyperv/restart"), ("DELETE", "/session"), ("PUT", "/x")):
        answer = client.request(method, ROOT + path, headers=headers)
        if path == "/x":
            problem(answer, 404, "request.address")
        else:
            problem(answer, 403, "request.foreign")
    assert client.get(f"{ROOT}/session").status_code == 200


def test_the_header_of_another_session_does_not_do(world: World) -> None:
    one, other = world.session(), world.session(Role.PUBLISHER)
    headers = {CSRF_HEADER: other.headers[CSRF_HEADER]}
    problem(one.post(f"{ROOT}/connectors/hyperv/restart", headers=headers), 403, "request.foreign")


def test_a_session_ends_at_logout(world: World) -> None:
    client = world.session()
    secret = client.cookies[COOKIE]
    answer = client.delete(f"{ROOT}/session")
    assert answer.status_code == 204
    assert COOKIE not in client.cookies
    again = world.client().get(f"{ROOT}/session", headers={"Cookie": f"{COOKIE}={secret}"})
    problem(again, 401, "login.needed")


def test_a_token_needs_no_header_and_can_be_revoked(world: World) -> None:
    client = world.client(Role.ADMINISTRATOR)
    assert client.post(f"{ROOT}/connectors/hyperv/restart").status_code == 200
    assert client.get(f"{ROOT}/session").json()["csrf"] == ""
    for token in client.get(f"{ROOT}/tokens").json():
        assert "token" not in token
        assert client.delete(f"{ROOT}/tokens/{token['id']}").status_code == 204
    problem(client.get(f"{ROOT}/session"), 401, "login.needed")


def test_a_token_is_preferred_to_a_cookie(world: World) -> None:
    client = world.session()
    token = world.token(Role.READ_ONLY)
    answer = client.get(f"{ROOT}/session", headers={"Authorization": f"bearer {token}"})
    assert answer.json()["role"] == "read-only"


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer ", "token", "Bearer \xff"])
def test_other_credentials_are_none(world: World, header: str) -> None:
    answer = world.client().get(f"{ROOT}/session", headers={"Authorization": header.encode("latin-1")})
    problem(answer, 401, "login.needed")


def test_every_refused_login_looks_the_same(world: World) -> None:
    client = world.client()
    answers = [
        client.post(f"{ROOT}/session", json=login)
        for login in (
            {"name": "nobody", "password": PASSWORD},
            {**LOGIN, "password": "wrong"},
            {**LOGIN, "password": ""},
        )
    ]
    for answer in answers:
        problem(answer, 401, "login.failed")
        assert "set-cookie" not in answer.headers
    assert len({answer.text for answer in answers}) == 1


def test_many_failures_lock_and_say_nothing_more(world: World) -> None:
    client = world.client()
    wrong = [client.post(f"{ROOT}/session", json={**LOGIN, "password": "wrong"}) for _ in range(MAX_FAILURES)]
    right = client.post(f"{ROOT}/session", json=LOGIN)
    problem(right, 401, "login.failed")
    assert {answer.text for answer in wrong} == {right.text}


def test_a_disabled_user_is_out_at_once(world: World) -> None:
    client = world.session(Role.PUBLISHER)
    world.services.users.change(APPLIANCE, "publisher", disabled=True)
    problem(client.get(f"{ROOT}/session"), 401, "login.needed")


def test_a_new_password_keeps_this_session_and_ends_the_others(world: World) -> None:
    here, there = world.session(Role.PUBLISHER), world.session(Role.PUBLISHER)
    body = {"old": PASSWORD, "new": "another long one"}
    assert here.post(f"{ROOT}/users/me/password", json=body).status_code == 204
    assert here.get(f"{ROOT}/session").status_code == 200
    problem(there.get(f"{ROOT}/session"), 401, "login.needed")
    problem(here.post(f"{ROOT}/users/me/password", json=body), 401, "login.failed")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_of_another_page_is_no_login(world: World, kind: str) -> None:
    content = b'{"name": "administrator", "password": "a long password"}'
    answer = world.client().post(f"{ROOT}/session", content=content, headers={"Content-Type": kind})
    problem(answer, 422, "request.invalid")


def test_few_passwords_are_looked_at_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now, most, lock = 0, 0, threading.Lock()
    check = world.services.users.login

    def slow(name: str, password: str) -> Session:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        try:
            return check(name, password)
        finally:
            with lock:
                now -= 1

    monkeypatch.setattr(world.services.users, "login", slow)
    app = world.app(WebSettings(logins=2))

    async def many() -> list[int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="https://appliance.example") as client:
            answers = [client.post(f"{ROOT}/session", json=LOGIN) for _ in range(8)]
            return [answer.status_code for answer in await asyncio.gather(*answers)]

    assert asyncio.run(many()) == [200] * 8
    assert most == 2
