"""Users and roles, and one's own account (OP-4)."""

from __future__ import annotations

import json
import re
import time

import pytest

from sekiso.model.library import Role
from sekiso.services.core import APPLIANCE

from ..web.world import PASSWORD
from .conftest import Browser, Make, text_of

NEW = "another long password"
USERS = "/system/users"


def _id(console: Browser, name: str) -> str:
    return console.world.services.users.get(name).id


def _notice(answer: object) -> str:
    return json.loads(answer.headers["hx-trigger"])["sekiso:notice"]["text"]  # type: ignore[attr-defined]


def test_the_list_shows_roles_in_words(console: Browser) -> None:
    page = text_of(console.get(USERS))
    assert "administrator (you) Administrator Active" in page and "layer-manager Layer manager" in page
    assert "Looks at layers, images, tasks, connectors and agents, and changes nothing." in page


@pytest.mark.parametrize("role", [Role.LAYER_MANAGER, Role.PUBLISHER, Role.READ_ONLY])
def test_only_administrators(browse: Make, role: Role) -> None:
    browser = browse(role)
    answer = browser.get(USERS)
    assert answer.status_code == 403 and f"{role.value} may not do this." in text_of(answer)
    assert USERS not in browser.get("/system/agents").text
    identifier = _id(browser, "publisher")
    sent = (
        USERS,
        f"{USERS}/{identifier}/role",
        f"{USERS}/{identifier}/password",
        f"{USERS}/{identifier}/unlock",
    )
    assert {browser.send(path).status_code for path in sent} == {403}
    assert browser.send(f"{USERS}/{identifier}", method="DELETE").status_code == 403


def test_adding(console: Browser) -> None:
    form = {"name": "eve", "password": NEW, "password-again": NEW, "role": "publisher"}
    answer = console.send(USERS, form)
    assert answer.headers["hx-redirect"] == USERS and _notice(answer) == "The user eve was created."
    assert console.world.services.users.login("eve", NEW).actor.role is Role.PUBLISHER


@pytest.mark.parametrize(
    ("changes", "said", "said_ja"),
    [
        ({"password": "short", "password-again": "short"}, "10 to 1000 characters", "10から1000文字"),
        (
            {"password-again": "something else"},
            "The passwords are not the same.",
            "パスワードが一致しません。",
        ),
        ({"name": "Publisher"}, "Choose another name.", "別の名前"),
        ({"name": ""}, "Correct the fields that are marked.", "印の付いたフィールドを修正してください。"),
        ({"role": "king"}, "Correct the fields that are marked.", "印の付いたフィールドを修正してください。"),
    ],
)
def test_what_cannot_be_added_is_said_and_what_was_typed_stays(
    browse: Make, changes: dict[str, str], said: str, said_ja: str
) -> None:
    form = {"name": "eve", "password": NEW, "password-again": NEW, "role": "publisher", **changes}
    for language, words in (("en", said), ("ja", said_ja)):
        answer = browse(language=language).send(USERS, form)
        assert answer.status_code == 422 and words in text_of(answer)
        assert f'value="{form["name"]}"' in answer.text and NEW not in answer.text
        assert form["role"] == "king" or '<option value="publisher" selected' in answer.text


def test_changing_role_and_disabling(console: Browser) -> None:
    identifier = _id(console, "publisher")
    assert '<option value="publisher" selected' in console.part(f"{USERS}/{identifier}/role").text
    console.send(f"{USERS}/{identifier}/role", {"role": "layer-manager", "disabled": "on"})
    found = console.world.services.users.get(identifier)
    assert (found.role, found.disabled) == (Role.LAYER_MANAGER, True)
    assert "publisher Layer manager Disabled" in text_of(console.get(USERS))
    console.send(f"{USERS}/{identifier}/role", {"role": "layer-manager"})
    assert not console.world.services.users.get(identifier).disabled


def test_the_last_administrator_stays(console: Browser) -> None:
    identifier = _id(console, "administrator")
    for form in ({"role": "publisher"}, {"role": "administrator", "disabled": "on"}):
        answer = console.send(f"{USERS}/{identifier}/role", form)
        assert answer.status_code == 422 and "No administrator would be left." in text_of(answer)
        assert f'<option value="{form["role"]}" selected' in answer.text
    answer = console.send(f"{USERS}/{identifier}", method="DELETE")
    assert "No administrator would be left." in answer.headers["hx-trigger"]
    assert console.world.services.users.get(identifier).role is Role.ADMINISTRATOR


def test_setting_a_password_and_deleting(console: Browser) -> None:
    identifier = _id(console, "publisher")
    path = f"{USERS}/{identifier}/password"
    assert console.send(path, {"password": NEW, "password-again": "other"}).status_code == 422
    assert console.send(path, {"password": NEW, "password-again": NEW}).headers["hx-redirect"] == USERS
    assert console.world.services.users.login("publisher", NEW)
    assert console.send(f"{USERS}/{identifier}", method="DELETE").headers["hx-redirect"] == USERS
    assert "publisher" not in [user.name for user in console.world.services.users.list()]


def test_unlocking(console: Browser, browse: Make) -> None:
    stranger = browse(None)
    for _ in range(10):
        stranger.client.post("/login", data={"name": "publisher", "password": "not my own"})
    identifier = _id(console, "publisher")
    page = console.get(USERS)
    assert "publisher Publisher Locked" in text_of(page) and page.text.count("/unlock") == 1
    assert _notice(console.send(f"{USERS}/{identifier}/unlock")) == "The user publisher was unlocked."
    assert console.world.services.users.login("publisher", PASSWORD)


def test_names_are_escaped(console: Browser) -> None:
    console.world.services.users.add(APPLIANCE, "<i>\"'&", NEW, Role.READ_ONLY)
    page = console.get(USERS).text
    assert "<i>" not in page and "&lt;i&gt;&#34;&#39;&amp;" in page


@pytest.mark.parametrize("role", list(Role))
def test_everyone_has_an_account(browse: Make, role: Role) -> None:
    page = browse(role).get("/account")
    assert page.status_code == 200 and role.value in text_of(page)


def test_changing_ones_own_password(browse: Make) -> None:
    browser, elsewhere = browse(Role.READ_ONLY), browse(Role.READ_ONLY)
    form = {"old": PASSWORD, "password": NEW, "password-again": NEW}
    for wrong in (
        {"old": "not my own"},
        {"password-again": "x"},
        {"password": "short", "password-again": "short"},
    ):
        answer = browser.send("/account/password", {**form, **wrong})
        assert answer.status_code == 422 and NEW not in answer.text
    assert browser.send("/account/password", form).headers["hx-redirect"] == "/account"
    assert browser.get("/account").status_code == 200
    assert elsewhere.get("/account").status_code == 303
    assert browser.world.services.users.login("read-only", NEW)


def test_api_tokens_are_shown_once(browse: Make) -> None:
    browser = browse(Role.PUBLISHER)
    answer = browser.send("/account/tokens", {"name": "ci", "days": "30"})
    token = re.search(r"Authorization: Bearer ([\w-]+)", text_of(answer))
    assert token and "sekiso:api-tokens" in answer.headers["hx-trigger"]
    authorization = {"Authorization": f"Bearer {token[1]}"}
    assert browser.client.get("/api/v1/agents", headers=authorization).status_code == 200
    page = browser.get("/account")
    assert "ci" in text_of(page) and token[1] not in page.text
    who = browser.world.services.users.login("publisher", PASSWORD).actor
    (found,) = browser.world.services.users.tokens(who)
    assert found.expires_s is not None and abs(found.expires_s - time.time() - 30 * 86400) < 600
    answer = browser.send(f"/account/tokens/{found.id}", method="DELETE")
    assert "sekiso:api-tokens" in answer.headers["hx-trigger"]
    assert "You have no API token." in text_of(browser.part("/account/tokens"))


@pytest.mark.parametrize(
    "form", [{"name": "", "days": "30"}, {"name": "ci", "days": "x"}, {"name": "ci", "days": "9999"}]
)
def test_api_tokens_that_cannot_be_made(console: Browser, form: dict[str, str]) -> None:
    answer = console.send("/account/tokens", form)
    assert answer.status_code == 422 and f'value="{form["name"]}"' in answer.text
    assert "invalid-feedback" in answer.text


def test_a_token_without_an_end(console: Browser) -> None:
    assert console.send("/account/tokens", {"name": "ci", "days": "0"}).status_code == 200
    assert "until it is revoked" in text_of(console.get("/account"))


def test_nobody_revokes_the_token_of_another(browse: Make) -> None:
    browser = browse(Role.PUBLISHER)
    users = browser.world.services.users
    token = users.create_token(users.login("read-only", PASSWORD).actor, "mine")
    answer = browser.send(f"/account/tokens/{token.id}", method="DELETE")
    assert answer.status_code == 404
