"""The frame: login, roles, languages, headers, errors (CC-6, OP-3, OP-4)."""

from __future__ import annotations

import pytest

from sekiso.model.library import Role

from ..web.world import PASSWORD
from .conftest import Browser, Make, text_of


def test_who_is_not_logged_in_is_led_to_the_login_page_and_back(browse: Make) -> None:
    browser = browse(None)
    answer = browser.client.get("/?a=1", headers={"Sec-Fetch-Mode": "navigate"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2F%3Fa%3D1")
    sent = {"name": "administrator", "password": PASSWORD, "next": "/?a=1"}
    answer = browser.client.post("/login", data=sent)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?a=1")
    cookie = answer.headers["set-cookie"]
    assert all(flag in cookie for flag in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"))


@pytest.mark.parametrize(("language", "said"), [("en", "Log in"), ("ja", "ログイン")])
def test_a_wrong_password_is_said_and_the_name_stays(browse: Make, language: str, said: str) -> None:
    browser = browse(None, language=language)
    answer = browser.client.post("/login", data={"name": "administrator", "password": "not my own"})
    assert answer.status_code == 401
    assert (
        'value="administrator"' in answer.text and said in text_of(answer) and "not my own" not in answer.text
    )


@pytest.mark.parametrize(
    "target", ["//evil", "https://evil", "/\\evil", "javascript:alert(1)", "/login", "\t//e"]
)
def test_no_open_redirect(browse: Make, target: str) -> None:
    browser = browse(None)
    sent = {"name": "administrator", "password": PASSWORD, "next": target}
    assert browser.client.post("/login", data=sent).headers["location"] == "/"


def test_a_login_ends_the_session_before(console: Browser) -> None:
    before = console.client.cookies["sekiso_session"]
    console.log_in()
    assert console.client.cookies["sekiso_session"] != before
    console.client.cookies.set("sekiso_session", before)
    assert console.get("/").status_code == 401 or console.get("/").headers["location"].startswith("/login")


def test_a_change_needs_the_value_of_the_session(console: Browser) -> None:
    console.csrf = "0" * 32
    answer = console.send("/logout")
    assert answer.status_code == 403 and "sekiso:failure" in answer.headers["hx-trigger"]
    console.get("/")
    answer = console.send("/logout")
    assert answer.headers["hx-redirect"] == "/login"
    assert console.client.get("/").status_code in (303, 401)


def test_another_site_cannot_log_in_or_change_preferences(browse: Make) -> None:
    browser = browse(None)
    for headers in ({"Origin": "https://evil"}, {"Sec-Fetch-Site": "cross-site"}):
        sent = {"name": "administrator", "password": PASSWORD}
        assert browser.client.post("/login", data=sent, headers=headers).status_code == 403
        assert browser.client.post("/preferences", data={"theme": "dark"}, headers=headers).status_code == 403


def test_language_and_theme_by_switch(console: Browser) -> None:
    assert '<html lang="en"' in console.get("/").text
    console.client.post("/preferences?back=/", data={"language": "ja"})
    console.client.post("/preferences?back=/", data={"theme": "dark"})
    assert '<html lang="ja" data-theme="dark">' in console.get("/").text


def test_pages_run_no_script_but_their_own(console: Browser) -> None:
    answer = console.get("/")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy and "unsafe" not in policy and "default-src 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_is_not_there_and_what_nobody_expected(
    console: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = console.get("/nothing")
    assert answer.status_code == 404 and "There is no page at /nothing." in text_of(answer)
    assert (
        console.client.get("/api/v1/nothing").headers["content-type"].startswith("application/problem+json")
    )

    def fail(*_: object) -> None:
        raise RuntimeError("a secret of the appliance")

    monkeypatch.setattr(console.world.services.users, "authenticate", fail)
    answer = console.get("/")
    assert answer.status_code == 500 and "a secret" not in answer.text and "number" in text_of(answer)


def test_assets_are_kept_by_browsers_and_nothing_else_is_served(console: Browser) -> None:
    page = console.get("/").text
    address = next(part for part in page.split('"') if part.endswith("console.css"))
    answer = console.client.get(address)
    assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
    assert console.client.get("/static/x/../app.py").status_code == 404
    assert console.client.get(f"{address}.map").status_code == 404


@pytest.mark.parametrize("role", list(Role))
def test_every_role_has_a_start_page(browse: Make, role: Role) -> None:
    assert browse(role).get("/").status_code == 200
