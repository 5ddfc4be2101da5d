"""Form of answers: problem documents, headers, limits, languages (OP-2, OP-3)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso.errors import DamagedInputError, Family, SekisoError
from sekiso.i18n import translate
from sekiso.model.library import Role
from sekiso.services.core import NotAllowedError
from sekiso.web.languages import preferred
from sekiso.web.problems import problem_of, status_of
from sekiso.web.settings import WebSettings

from .world import ROOT, World, problem, settings


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("ja", "ja"),
        ("JA-jp", "ja"),
        ("en", "en"),
        ("fr", "en"),
        ("fr, *", "en"),
        ("ja;q=0.4, en;q=0.5", "en"),
        ("ja;q=0.5, en;q=0.4", "ja"),
        ("en;q=0.1,ja;q=0.2", "ja"),
        ("ja, en", "ja"),
        ("en, ja", "en"),
        ("fr;q=1, ja;q=0.1", "ja"),
        ("en;q=0, *", "ja"),
        ("*, en;q=0", "ja"),
        ("ja;q=0", "en"),
        ("*;q=0, ja", "ja"),
        ("*;q=0.5, ja;q=0.9", "ja"),
        ("*;q=0.9, ja;q=0.5", "en"),
        ("ja ; q=0.8 , en;q=0.9", "en"),
        ("ja;q=1.5, en;q=0.1", "en"),
        ("ja;q=x", "en"),
        ("ja;level=1", "en"),
        (",,;;q=,ja", "ja"),
        ("x" * 10_000, "en"),
        (",".join(["fr"] * 500 + ["ja"]), "en"),
    ],
)
def test_accept_language(header: str, language: str) -> None:
    assert preferred(header) == language


@given(st.text(max_size=100))
def test_accept_language_takes_anything(header: str) -> None:
    assert preferred(header) in ("en", "ja")


@pytest.mark.parametrize(("header", "language"), [("ja, en;q=0.5", "ja"), ("en", "en"), (None, "en")])
def test_a_problem_is_in_the_readers_language(quiet_world: World, header: str | None, language: str) -> None:
    headers = {} if header is None else {"Accept-Language": header}
    answer = quiet_world.client().get(f"{ROOT}/session", headers=headers)
    found = problem(answer, 401, "login.needed")
    assert answer.headers["content-language"] == language
    for key, text in (
        ("title", "You are not logged in."),
        ("detail", "There is no session, or it has ended, or the API token is not valid (any more)."),
        ("resolution", "Log in again."),
    ):
        assert found[key] == translate(text, language)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_broken_rule_is_named_in_the_readers_language(world: World, language: str) -> None:
    client = world.client(Role.ADMINISTRATOR)
    before = client.get(f"{ROOT}/connector-configurations").json()
    body = {"values": settings(generation=2, disk_format="vhd", offload=False, network="None such", cpus=0)}
    answer = client.post(f"{ROOT}/connector-configurations", json=body, headers={"Accept-Language": language})
    found = problem(answer, 422, "configuration.invalid")
    assert {e["field"] for e in found["errors"]} >= {"network", "cpus"}
    for error in found["errors"]:
        assert set(error) == {"field", "code", "reason", "remedy"}
        assert error["code"] and error["reason"]
        assert (error["reason"].isascii()) == (language == "en"), error
    assert client.get(f"{ROOT}/connector-configurations").json() == before


def test_a_role_is_said_in_words(quiet_world: World, quiet_tokens: dict[Role, str]) -> None:
    error = NotAllowedError(user="eve", role="read-only", needed="layer-manager")
    found = problem_of(error, "en")
    assert found["detail"] == "It needs the role layer manager; the role of eve is read-only."
    assert found["params"] == {"user": "eve", "role": "read-only", "needed": "layer-manager"}


@pytest.mark.parametrize("family", list(Family))
def test_every_family_has_a_status(family: Family) -> None:
    kind = type("Kind", (SekisoError,), {"family": family, "__module__": "tests"})
    expected = {"USAGE": 422, "INPUT": 400, "NOT_FOUND": 404, "CONFLICT": 409, "UNSUPPORTED": 422}
    expected |= {"ENVIRONMENT": 503, "TOOL": 502, "VERIFICATION": 422, "GUEST": 409, "CANCELED": 409}
    assert status_of(kind()) == {**expected, "INTERNAL": 500}[family.name]
    assert status_of(DamagedInputError()) == 400


INVALID: list[tuple[str, str, Any, dict[str, str]]] = [
    ("POST", "/tokens", {}, {"name": "It is missing."}),
    ("POST", "/tokens", {"name": ""}, {"name": "It has fewer than 1 characters."}),
    ("POST", "/tokens", {"name": "x" * 201}, {"name": "It has more than 200 characters."}),
    (
        "POST",
        "/tokens",
        {"name": 3, "valid_s": "60"},
        {"name": "It is no text.", "valid_s": "It is no number."},
    ),
    ("POST", "/tokens", {"name": "a\nb"}, {"name": "It holds characters that are not allowed."}),
    ("POST", "/tokens", {"name": "a", "extra": 1}, {"extra": "There is no such field."}),
    ("POST", "/tokens", [], {"/": "It is no object with named fields."}),
    ("POST", "/tokens", b"{", {"/": "It is not written in JSON."}),
    ("POST", "/tokens", b'{"name": "\xff"}', {"/": "The body of the request cannot be read."}),
    ("POST", "/tokens", b'{"name": "\\ud800"}', {"name": "It holds characters that are not allowed."}),
    ("POST", "/tokens", b'{"name": "a", "valid_s": NaN}', {"valid_s": "It is no number that can be used."}),
    (
        "POST",
        "/users",
        {"name": "a", "password": "b", "role": "king"},
        {"role": "It is not one of 'administrator', 'layer-manager', 'publisher' or 'read-only'."},
    ),
    ("PATCH", "/users/a", {"disabled": "yes"}, {"disabled": "It is neither true nor false."}),
    ("POST", "/image-templates/publish", {"templates": "web"}, {"templates": "It is no list."}),
    ("POST", "/image-templates/publish", {"templates": []}, {"templates": "It has fewer than 1 items."}),
    (
        "POST",
        "/image-templates/publish",
        {"templates": ["a", ""], "count": 51},
        {"templates.1": "It has fewer than 1 characters.", "count": "It is more than 50."},
    ),
    (
        "POST",
        "/image-templates/publish",
        {"templates": ["a"], "count": "2"},
        {"count": "It is no whole number."},
    ),
    ("PATCH", "/layers/nginx", {"priority": -1}, {"priority": "It is less than 0."}),
    ("PATCH", "/layers/nginx", {"priority": 1.5}, {"priority": "It is no whole number."}),
    (
        "POST",
        "/connector-configurations",
        {"values": {"name": "\0"}},
        {"values": "It holds characters that are not allowed."},
    ),
    (
        "POST",
        "/connector-configurations",
        {"values": {"cpus": 1 << 70}},
        {"values": "A number in it is too large."},
    ),
    ("GET", "/tasks?limit=0&state=odd", None, {"limit": "It is less than 1.", "state.0": "It is not one of"}),
    ("GET", "/tasks?before=nan", None, {"before": "It is"}),
    ("GET", "/agents/a%00b", None, {"reference": "It holds characters that are not allowed."}),
    (
        "POST",
        "/layers",
        {"run_once_upload_id": "../x"},
        {"run_once_upload_id": "It holds characters that are not allowed."},
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "errors"), INVALID, ids=lambda v: str(v)[:40])
def test_invalid_requests_name_every_field(
    quiet_world: World,
    quiet_tokens: dict[Role, str],
    method: str,
    path: str,
    body: Any,
    errors: dict[str, str],
) -> None:
    headers = {
        "Authorization": f"Bearer {quiet_tokens[Role.ADMINISTRATOR]}",
        "Content-Type": "application/json",
    }
    sent: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
    answer = quiet_world.client().request(
        method, ROOT + path, headers=headers, **(sent if body is not None else {})
    )
    found = problem(answer, 422, "request.invalid")
    named = {e["field"]: e["reason"] for e in found["errors"]}
    for field, reason in errors.items():
        assert named[field].startswith(reason), named
    assert found["detail"] == found["errors"][0]["reason"]


@pytest.mark.parametrize(("method", "path", "body", "errors"), INVALID, ids=lambda v: str(v)[:40])
def test_invalid_requests_are_explained_in_japanese(
    quiet_world: World,
    quiet_tokens: dict[Role, str],
    method: str,
    path: str,
    body: Any,
    errors: dict[str, str],
) -> None:
    headers = {
        "Authorization": f"Bearer {quiet_tokens[Role.ADMINISTRATOR]}",
        "Content-Type": "application/json",
        "Accept-Language": "ja",
    }
    content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    answer = quiet_world.client().request(method, ROOT + path, headers=headers, content=content)
    found = problem(answer, 422, "request.invalid")
    texts = [found["title"], found["detail"], found["resolution"]]
    texts += [e[key] for e in found["errors"] for key in ("reason", "remedy")]
    assert [text for text in texts if text and text.isascii()] == []
    assert set(errors) <= {e["field"] for e in found["errors"]}


def test_what_nobody_expected_tells_a_number_only(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> Any:
        raise ZeroDivisionError("secret detail")

    client = world.client(Role.READ_ONLY)
    monkeypatch.setattr(world.services.images, "page", fail)
    with caplog.at_level(logging.ERROR, "sekiso.web"):
        answer = client.get(f"{ROOT}/images")
    found = problem(answer, 500, "internal")
    assert "secret" not in answer.text and "Traceback" not in answer.text
    reference = found["detail"].removesuffix(".").rpartition(" ")[2]
    assert len(reference) == 8
    assert reference in caplog.text and "secret detail" in caplog.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_addresses_and_methods(quiet_world: World) -> None:
    client = quiet_world.client()
    problem(client.get("/"), 404, "request.address")
    problem(client.get(f"{ROOT}/nothing"), 404, "request.address")
    problem(client.get(f"{ROOT}/images/"), 404, "request.address")
    answer = client.put(f"{ROOT}/health")
    problem(answer, 405, "request.method")
    assert answer.headers["allow"] == "GET"
    long = problem(client.get("/" + "x" * 5000), 404, "request.address")
    assert len(long["params"]["path"]) == 200


def test_headers_of_every_answer(quiet_world: World) -> None:
    client = quiet_world.client()
    for path in (f"{ROOT}/health", f"{ROOT}/openapi.json", f"{ROOT}/session", "/nothing"):
        headers = client.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["strict-transport-security"].startswith("max-age=")
        assert headers["content-language"] == "en"
        assert "Accept-Language" in headers["vary"]
        assert "server" not in headers
    plain = client.get(f"http://appliance.example{ROOT}/health")
    assert "strict-transport-security" not in plain.headers


def test_a_large_body_is_refused_whatever_its_headers_say(world: World) -> None:
    client = world.client(Role.ADMINISTRATOR, WebSettings(body_limit_bytes=1000))

    def pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 100

    for path in ("/tokens", "/connector-configurations/apply"):
        for content in (b" " * 1001, pieces()):
            answer = client.post(ROOT + path, content=content, headers={"Content-Type": "application/json"})
            found = problem(answer, 413, "request.too-large")
            assert found["detail"] == "At most 1000 bytes are taken here."
            assert answer.headers["connection"] == "close"
    assert client.post(f"{ROOT}/tokens", json={"name": "x" * 50}).status_code == 201


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("appliance.example", True),
        ("APPLIANCE.example:8443", True),
        ("[::1]:8443", True),
        ("evil.example", False),
        ("", False),
    ],
)
def test_hosts(world: World, host: str, known: bool) -> None:
    client = world.client(settings=WebSettings(hosts=("Appliance.example", "::1")))
    answer = client.get(f"{ROOT}/health", headers={"Host": host})
    if known:
        assert answer.status_code == 200
    else:
        problem(answer, 400, "request.host")


def test_an_agent_that_is_away_can_be_tried_again(world: World) -> None:
    world.agents.connected.clear()
    answer = world.client(Role.READ_ONLY).get(f"{ROOT}/agents/hv01/inventory?refresh=true")
    found = problem(answer, 503, "agent.offline")
    assert found["retryable"] is True
    assert answer.headers["retry-after"]


def test_a_failed_task_has_its_error_in_words(world: World) -> None:
    client = world.client(Role.READ_ONLY)
    error = client.get(f"{ROOT}/tasks/t-failed").json()["error"]
    assert error["code"] == "busy"
    assert error["title"] == "The image web is busy."
    assert error["detail"] == "The task t works on it: test whether an image starts."
    japanese = client.get(f"{ROOT}/tasks/t-failed", headers={"Accept-Language": "ja"}).json()
    assert japanese["error"]["code"] == "busy"
    assert japanese["error"]["title"] == translate("{what} {name} is busy.", "ja").format(
        what=translate("The image", "ja"), name="web"
    )
    assert japanese["state"] == "failed" and japanese["kind"] == "publish-image"
