"""Agents: list, page, registration, renaming, revoking (AG-1, AG-3)."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace

import pytest

from sekiso.agent.pki import certificate_request, new_key
from sekiso.agent.registration import RegistrationRequest
from sekiso.model.library import AgentRecord, Role

from .conftest import Browser, Make, text_of

TOKENS = "/system/agent-tokens"


def test_the_list_shows_each_agent_with_what_uses_it(console: Browser) -> None:
    page = text_of(console.get("/system/agents"))
    assert "hv01 Online hv01.example Hyper-V" in page and "spare Offline" in page
    assert 'href="/connectors/' in console.get("/system/agents").text


@pytest.mark.parametrize(("ends_in_days", "said"), [(30, ""), (3, "ends soon"), (-1, "expired")])
def test_certificates_that_end_are_marked(console: Browser, ends_in_days: float, said: str) -> None:
    with console.world.db.begin() as work:
        agent = replace(work.agents.get("a-1"), certificate_expires_s=time.time() + ends_in_days * 86400)
        work.agents.replace(agent)
    page = text_of(console.get("/system/agents"))
    assert (said in page) if said else ("ends soon" not in page and "expired" not in page)


def test_agents_are_searched_and_listed_by_pages(console: Browser) -> None:
    assert "spare" not in text_of(console.part("/system/agents/rows", text="HV01"))
    assert "No agent of this name" in text_of(console.get("/system/agents", text="nothing of the kind"))
    with console.world.db.begin() as work:
        for number in range(60):
            work.agents.add(AgentRecord(f"n-{number}", f"node{number:02}", f"{number:064x}"))
    assert "1–50 of 62" in text_of(console.get("/system/agents"))
    assert "51–62 of 62" in text_of(console.get("/system/agents", offset=50))


def test_without_an_agent_the_page_says_what_to_do(console: Browser, browse: Make) -> None:
    with console.world.db.begin() as work:
        for agent in ("a-1", "a-2"):
            work.agents.remove(agent)
    page = console.get("/system/agents")
    assert "No agent yet" in text_of(page) and page.text.count("/system/agent-tokens/dialog") == 2
    assert "An administrator has to register one." in text_of(browse(Role.READ_ONLY).get("/system/agents"))


def test_an_agent_shows_its_host(console: Browser) -> None:
    page = text_of(console.get("/system/agents/a-1"))
    for said in (r"NT AUTHORITY\SYSTEM", "64 GB", "External", "template 2 UEFI 4 8 GB usable", "512 GB 1 TB"):
        assert said in page
    assert "No inventory yet" in text_of(console.get("/system/agents/spare"))
    assert console.get("/system/agents/nobody").status_code == 404


def test_the_inventory_is_asked_for_anew(console: Browser) -> None:
    answer = console.send("/system/agents/a-1/inventory")
    assert "sekiso:agents" in answer.headers["hx-trigger"]
    assert console.world.agents.calls[-1][:1] == ("host.inventory",)
    answer = console.send("/system/agents/a-2/inventory")
    assert "sekiso:failure" in answer.headers["hx-trigger"] and answer.status_code >= 400


def _made_token(console: Browser, **form: str) -> tuple[str, str]:
    """Make a token; return its text and its identifier."""
    answer = console.send(TOKENS, {"name": "", "hours": "1", **form})
    assert answer.status_code == 200, answer.text
    token = re.search(
        r"'([\w-]+\.[0-9a-f]{64})' \| sudo sekiso agent register", answer.text.replace("&#39;", "'")
    )
    identifier = re.search(rf"{TOKENS}/([\w-]+)/state", answer.text)
    assert token and identifier
    return token[1], identifier[1]


def _register(console: Browser, token: str) -> str:
    request = RegistrationRequest(
        token.partition(".")[0], certificate_request(new_key()).decode(), "hv09.example"
    )
    return console.world.services.register(request).agent_id


def test_the_commands_have_token_address_and_fingerprint(console: Browser) -> None:
    answer = console.send(TOKENS, {"name": "hv09", "hours": "8"})
    page = text_of(answer)
    assert "| sekiso agent register --appliance https://testserver" in page
    assert "| sudo sekiso agent register --appliance https://testserver" in page and "ab" * 32 in page
    assert "sekiso:agent-tokens" in answer.headers["hx-trigger"]
    (token,) = console.world.services.agents.tokens()
    assert (token.agent_name, round(token.expires_s - token.created_s)) == ("hv09", 8 * 3600)


def test_a_host_that_is_none_is_not_put_into_a_command(console: Browser) -> None:
    headers = {"HX-Request": "true", "X-Sekiso-CSRF": console.csrf, "Host": "a;reboot"}
    answer = console.client.post(TOKENS, data={"hours": "1"}, headers=headers)
    assert "reboot" not in answer.text


def test_the_page_notices_the_agent(console: Browser) -> None:
    token, identifier = _made_token(console)
    state = f"{TOKENS}/{identifier}/state"
    waiting = console.part(state)
    assert "Waiting for the agent." in text_of(waiting) and "every 2s" in waiting.text
    agent_id = _register(console, token)
    registered = console.part(state)
    assert "The agent hv09.example is registered, but not connected yet." in text_of(registered)
    console.world.agents.connected.append(agent_id)
    online = console.part(state)
    assert "is registered and connected." in text_of(online) and "hx-get" not in online.text
    assert (
        f'href="/system/agents/{agent_id}"' in online.text and online.headers["hx-trigger"] == "sekiso:agents"
    )
    assert "hv09.example Online" in text_of(console.part("/system/agents/rows"))


def test_open_tokens_are_listed_until_they_are_used_or_revoked(console: Browser) -> None:
    used, _ = _made_token(console, name="first")
    _, identifier = _made_token(console, name="second")
    _register(console, used)
    listed = text_of(console.part(TOKENS))
    assert "second" in listed and "first" not in listed
    answer = console.send(f"{TOKENS}/{identifier}", method="DELETE")
    assert "sekiso:agent-tokens" in answer.headers["hx-trigger"] and console.part(TOKENS).text.strip() == ""
    answer = console.part(f"{TOKENS}/{identifier}/state")
    assert answer.status_code == 404 and "sekiso:failure" in answer.headers["hx-trigger"]


@pytest.mark.parametrize("hours", ["0", "169", "x", "", "1e9"])
def test_a_token_that_is_valid_too_long_is_refused_and_the_name_stays(console: Browser, hours: str) -> None:
    answer = console.send(TOKENS, {"name": "hv09", "hours": hours})
    assert answer.status_code == 422 and 'value="hv09"' in answer.text and "invalid-feedback" in answer.text
    assert not console.world.services.agents.tokens()


def test_renaming(console: Browser) -> None:
    answer = console.send("/system/agents/a-1/name", {"name": "spare"})
    assert answer.status_code == 422 and 'value="spare"' in answer.text
    answer = console.send("/system/agents/a-1/name", {"name": " "})
    assert answer.status_code == 422 and "invalid-feedback" in answer.text
    answer = console.send("/system/agents/a-1/name", {"name": "<b>&'"})
    assert answer.headers["hx-redirect"] == "/system/agents/a-1"
    page = console.get("/system/agents/a-1")
    assert "<b>" not in page.text and "&lt;b&gt;" in page.text


def test_an_agent_that_is_used_is_revoked_only_on_purpose(console: Browser) -> None:
    dialog = console.part("/system/agents/a-1/revoke")
    assert "prod" in text_of(dialog) and 'name="force"' in dialog.text
    answer = console.send("/system/agents/a-1/revoke")
    assert answer.status_code == 422 and "prod" in text_of(answer)
    answer = console.send("/system/agents/a-1/revoke", {"force": "on"})
    assert answer.headers["hx-redirect"] == "/system/agents/a-1"
    page = console.get("/system/agents/a-1")
    assert "Revoked" in text_of(page) and "/system/agents/a-1/revoke" not in page.text


def test_removing(console: Browser) -> None:
    answer = console.send("/system/agents/a-1", method="DELETE")
    shown = json.loads(answer.headers["hx-trigger"])["sekiso:failure"]
    assert "prod" in " ".join(shown.values())
    assert console.send("/system/agents/a-2", method="DELETE").headers["hx-redirect"] == "/system/agents"
    assert console.get("/system/agents/a-2").status_code == 404


@pytest.mark.parametrize("role", [Role.LAYER_MANAGER, Role.PUBLISHER, Role.READ_ONLY])
def test_others_look_only(browse: Make, role: Role) -> None:
    browser = browse(role)
    for path in ("/system/agents", "/system/agents/a-1"):
        page = browser.get(path)
        assert page.status_code == 200
        assert not re.search(r"agent-tokens|hx-(post|delete)=\"/system", page.text)
    asked = ("/system/agents/a-1/name", "/system/agents/a-1/revoke", TOKENS, f"{TOKENS}/dialog")
    assert {browser.get(path).status_code for path in asked} == {403}
    sent = ("/system/agents/a-1/name", "/system/agents/a-1/revoke", "/system/agents/a-1/inventory", TOKENS)
    assert {browser.send(path).status_code for path in sent} == {403}
    assert browser.send("/system/agents/a-2", method="DELETE").status_code == 403


def test_in_japanese(browse: Make) -> None:
    browser = browse(language="ja")
    assert "エージェント" in text_of(browser.get("/system/agents"))
    answer = browser.send("/system/agents/a-1/name", {"name": " "})
    assert answer.status_code == 422 and "入力内容の一部を受け付けられません。" in text_of(answer)
