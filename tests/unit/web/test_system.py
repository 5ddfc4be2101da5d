"""The appliance's own routes: certificate, settings, health, figures, bundle; which hosts it has (OP-4)."""

from __future__ import annotations

import base64
import io
import tarfile

import pytest

from sekiso.model.library import Role
from sekiso.services.core import APPLIANCE
from sekiso.web.settings import WebSettings

from ...support.certificates import authority, make
from .world import ROOT, World, problem

ADMIN = Role.ADMINISTRATOR
JAPANESE = {"Accept-Language": "ja"}


def test_certificates_by_pem_and_pkcs12(world: World) -> None:
    client = world.client(ADMIN)
    root = authority()
    leaf, other = make(issuer=root), make()
    body = {"certificate": leaf.pem + root.pem, "key": leaf.key_pem("pw"), "passphrase": "pw"}
    answer = client.post(f"{ROOT}/certificate/upload", json=body)
    assert answer.status_code == 200 and answer.json()["sha256"] == leaf.sha256
    packed = base64.b64encode(other.pkcs12("pw")).decode()
    body = {"pkcs12": packed, "passphrase": "pw", "forget_former": True}
    assert client.post(f"{ROOT}/certificate/upload", json=body).json()["sha256"] == other.sha256
    assert client.get(f"{ROOT}/certificate").json()["sha256"] == other.sha256
    problem(client.post(f"{ROOT}/certificate/upload", json={"pkcs12": "é"}), 422, "certificate.refused")


def test_no_answer_has_a_key_in_it(world: World) -> None:
    client = world.client(ADMIN)
    leaf = make()
    wrong = client.post(f"{ROOT}/certificate/upload", json={"certificate": make().pem, "key": leaf.key_pem()})
    mistyped = client.post(f"{ROOT}/certificate/upload", json={"certificate": "", "key": [leaf.key_pem()]})
    for answer in (
        wrong,
        mistyped,
        client.post(f"{ROOT}/certificate/request"),
        client.post(f"{ROOT}/certificate/generate"),
        client.get(f"{ROOT}/certificate"),
    ):
        assert "PRIVATE" not in answer.text and leaf.key_pem().splitlines()[1] not in answer.text
    found = problem(wrong, 422, "certificate.refused")
    assert [(e["field"], e["code"]) for e in found["errors"]] == [("key", "certificate.refused")]


def test_a_refusal_in_japanese(world: World) -> None:
    answer = world.client(ADMIN).post(f"{ROOT}/certificate/generate", json={"days": 0}, headers=JAPANESE)
    found = problem(answer, 422, "certificate.refused")
    assert found["params"]["field"] == "days" and not found["detail"].isascii()


def test_settings_that_are_refused_name_their_fields(world: World) -> None:
    body = {"values": {"session_hours": 0, "host_names": ["a b"], "x": 1}}
    found = problem(world.client(ADMIN).patch(f"{ROOT}/settings", json=body), 422, "appliance.settings")
    assert [e["field"] for e in found["errors"]] == ["session_hours", "host_names", "x"]
    japanese = world.client(ADMIN).patch(f"{ROOT}/settings", json=body, headers=JAPANESE).json()
    assert all(not e["reason"].isascii() and not e["remedy"].isascii() for e in japanese["errors"])


def test_texts_are_in_the_readers_language(quiet_world: World) -> None:
    client = quiet_world.client(Role.READ_ONLY)
    for path, texts in (
        ("/settings", lambda a: [t for f in a["fields"] for t in (f["label"], f["help"])]),
        ("/health/details", lambda a: [t for c in a["checks"] for t in (c["title"], c["text"])]),
    ):
        english = texts(client.get(ROOT + path).json())
        japanese = texts(client.get(ROOT + path, headers=JAPANESE).json())
        assert len(english) == len(japanese)
        assert [t for t in japanese if t.isascii()] == []


def test_the_default_language(world: World) -> None:
    client = world.client(Role.READ_ONLY)
    client.headers.pop("accept-language", None)
    missing = f"{ROOT}/layers/none"
    request = client.build_request("GET", missing)
    request.headers.pop("accept-language", None)
    assert client.send(request).headers["content-language"] == "en"
    world.services.appliance_settings.set(APPLIANCE, {"default_language": "ja"})
    request = client.build_request("GET", missing)
    request.headers.pop("accept-language", None)
    assert client.send(request).headers["content-language"] == "ja"
    # Whoever names a language that there is not gets English still.
    assert client.get(missing, headers={"Accept-Language": "fr"}).headers["content-language"] == "en"


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("appliance.example", True),
        ("APPLIANCE.example.:8443", True),
        ("127.0.0.1:8443", True),
        ("[::1]:8443", True),
        ("192.0.2.77", True),
        ("localhost", True),
        ("sekiso.example", False),
        ("evil.example:8443", False),
    ],
)
def test_hosts(world: World, host: str, known: bool) -> None:
    client = world.client(settings=WebSettings(is_own_host=world.services.appliance_settings.is_own_host))
    answer = client.get(f"{ROOT}/health", headers={"Host": host})
    if known:
        assert answer.status_code == 200
    else:
        problem(answer, 400, "request.host")


def test_a_host_that_is_added_is_known_at_once(world: World) -> None:
    service = world.services.appliance_settings
    client = world.client(ADMIN, settings=WebSettings(is_own_host=service.is_own_host))
    headers = {"Host": "sekiso.example"}
    problem(client.get(f"{ROOT}/health", headers=headers), 400, "request.host")
    answer = client.patch(
        f"{ROOT}/settings",
        json={"values": {"host_names": ["sekiso.example"]}},
        headers={"Host": "127.0.0.1"},
    )
    assert answer.status_code == 200
    assert client.get(f"{ROOT}/health", headers=headers).status_code == 200


def test_figures_are_text(quiet_world: World) -> None:
    answer = quiet_world.client(Role.READ_ONLY).get(f"{ROOT}/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "sekiso_agents_online 1\n" in answer.text
    problem(quiet_world.client().get(f"{ROOT}/metrics"), 401, "login.needed")


def test_the_bundle_is_an_archive(world: World) -> None:
    answer = world.client(ADMIN).get(f"{ROOT}/logs/bundle")
    assert answer.headers["content-type"] == "application/gzip"
    assert answer.headers["content-disposition"].startswith('attachment; filename="sekiso-support-')
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        assert "sekiso-support/health.json" in archive.getnames()
    for role in (Role.LAYER_MANAGER, Role.PUBLISHER, Role.READ_ONLY):
        problem(world.client(role).get(f"{ROOT}/logs/bundle"), 403, "not-allowed")
    problem(world.client(ADMIN).get(f"{ROOT}/logs/bundle?days=0"), 422, "request.invalid")
