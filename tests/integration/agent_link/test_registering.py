"""Registering over HTTPS with a one-time token (AG-1)."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sekiso.agent.pki import load_authority, load_server_certificate
from sekiso.agent.registration import RegistrationFailedError, TokenRefusedError, register
from sekiso.agent.service import AgentService
from sekiso.agent.settings import CERTIFICATE, FILE, load_settings
from sekiso.errors import RuleError

from ...contract.agent_port.rigs import new_token
from ...contract.agent_port.worker import QUICK, Worker, quick, until
from .conftest import Appliance

SECRET = "a-secret-that-is-long-enough"


def token(appliance: Appliance, secret: str = SECRET, *, name: str = "", pin: str = "", **more: float) -> str:
    with appliance.db.begin() as work:
        work.tokens.add(new_token(secret, name, **more))
    return f"{secret}.{pin or appliance.certificate.sha256}"


def test_registered_agent_can_connect(appliance: Appliance, tmp_path: Path) -> None:
    state = tmp_path / "agent"
    made = register(appliance.url, token(appliance), state, storage=tmp_path / "machines", name="host 1")
    assert made == load_settings(state)
    assert (made.name, made.host, made.pins) == ("host 1", "127.0.0.1", (appliance.certificate.sha256,))
    for name in (FILE, CERTIFICATE):
        assert stat.S_IMODE((state / name).stat().st_mode) == 0o600
    assert SECRET not in (state / FILE).read_text()
    service = AgentService(made, state, lambda _: Worker())
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        until(lambda: made.agent_id in appliance.hub.online(), "the connection")
        assert appliance.hub.call(made.agent_id, QUICK, quick()).account == "root"
    finally:
        service.stop()
        thread.join(10)


def test_registration_is_in_the_audit_history(appliance: Appliance, tmp_path: Path) -> None:
    made = register(appliance.url, token(appliance), tmp_path / "agent", storage=tmp_path)
    with appliance.db.read() as work:
        (entry,) = work.audit.list(action="agent.register")
    assert (entry.actor, entry.subject_id) == ("admin", made.agent_id)
    assert SECRET not in str(entry)


def test_token_is_used_once(appliance: Appliance, tmp_path: Path) -> None:
    text = token(appliance)
    register(appliance.url, text, tmp_path / "one", storage=tmp_path, name="one")
    with pytest.raises(TokenRefusedError):
        register(appliance.url, text, tmp_path / "two", storage=tmp_path, name="two")
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize("known", [True, False])
def test_token_that_has_expired_or_never_was(appliance: Appliance, tmp_path: Path, known: bool) -> None:
    text = token(appliance, expires_s=2.0) if known else f"{'x' * 30}.{appliance.certificate.sha256}"
    with pytest.raises(TokenRefusedError):
        register(appliance.url, text, tmp_path / "agent", storage=tmp_path)


def test_another_appliance_never_hears_the_token(appliance: Appliance, tmp_path: Path) -> None:
    text = token(appliance, pin="0" * 64)
    with pytest.raises(RegistrationFailedError, match="pinned"):
        register(appliance.url, text, tmp_path / "agent", storage=tmp_path)
    assert (appliance.heard, appliance.bodies) == ([], [])


def test_nobody_answers(appliance: Appliance, tmp_path: Path) -> None:
    text = token(appliance)
    appliance.close()
    with pytest.raises(RegistrationFailedError):
        register(appliance.url, text, tmp_path / "agent", storage=tmp_path)


def test_name_that_is_taken_leaves_the_token_valid(appliance: Appliance, tmp_path: Path) -> None:
    register(appliance.url, token(appliance), tmp_path / "one", storage=tmp_path, name="one")
    again = token(appliance, "another-secret-long-enough")
    with pytest.raises(RegistrationFailedError, match="exists already"):
        register(appliance.url, again, tmp_path / "two", storage=tmp_path, name="ONE")
    assert register(appliance.url, again, tmp_path / "two", storage=tmp_path, name="two").name == "two"


def test_token_made_for_an_agent_registers_it_anew(appliance: Appliance, tmp_path: Path) -> None:
    state = tmp_path / "agent"
    first = register(appliance.url, token(appliance, name="one"), state, storage=tmp_path)
    before = (state / CERTIFICATE).read_bytes()
    text = token(appliance, "another-secret-long-enough", name="one")
    anew = register(appliance.url, text, state, storage=tmp_path)
    assert anew.agent_id == first.agent_id
    assert (state / CERTIFICATE).read_bytes() != before


def test_revoked_agent_registers_anew(appliance: Appliance, tmp_path: Path) -> None:
    state = tmp_path / "agent"
    first = register(appliance.url, token(appliance), state, storage=tmp_path, name="one")
    with appliance.db.begin() as work:
        work.agents.replace(replace(work.agents.get(first.agent_id), revoked=True))
    text = token(appliance, "another-secret-long-enough")
    anew = register(appliance.url, text, state, storage=tmp_path, name="one")
    assert anew.agent_id == first.agent_id
    with appliance.db.read() as work:
        assert not work.agents.get(first.agent_id).revoked


@pytest.mark.parametrize("url", ["http://h", "h:1", "https://", "https://h:x", "https://[::1", "ftp://h"])
def test_address_that_is_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(RuleError, match="https://"):
        register(url, f"{'x' * 30}.{'0' * 64}", tmp_path, storage=tmp_path)


@pytest.mark.parametrize("text", ["", "x", f"{'x' * 30}", f"{'x' * 30}.{'0' * 63}", f"{'ß' * 30}.{'0' * 64}"])
def test_token_that_is_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(RuleError, match="token"):
        register("https://127.0.0.1:1", text, tmp_path, storage=tmp_path)


Answer = Callable[[str, bytes], tuple[int, object]]


@pytest.mark.parametrize(
    "answer",
    [
        lambda _p, _b: (200, {}),
        lambda _p, _b: (200, ["x"]),
        lambda _p, _b: (200, {"agent_id": "a", "name": "n", "certificate": "none", "link_port": 1}),
        lambda _p, _b: (500, "x"),
        lambda _p, _b: (404, {"title": 7}),
        lambda _p, _b: (400, ["x"]),
    ],
)
def test_answer_that_makes_no_sense(appliance: Appliance, tmp_path: Path, answer: Answer) -> None:
    appliance.answer = answer
    with pytest.raises(RegistrationFailedError):
        register(appliance.url, token(appliance), tmp_path / "agent", storage=tmp_path)
    assert not (tmp_path / "agent").exists()


def test_certificate_of_another_key_is_not_taken(appliance: Appliance, tmp_path: Path) -> None:
    real = appliance.answer
    other = load_server_certificate(tmp_path / "other", ["x"]).certificate.read_text()

    def swapped(path: str, body: bytes) -> tuple[int, object]:
        status, answer = real(path, body)
        return status, {**answer, "certificate": other}

    appliance.answer = swapped
    with pytest.raises(RegistrationFailedError):
        register(appliance.url, token(appliance), tmp_path / "agent", storage=tmp_path)


def test_failed_registration_leaves_the_one_before(appliance: Appliance, tmp_path: Path) -> None:
    state = tmp_path / "agent"
    made = register(appliance.url, token(appliance), state, storage=tmp_path)
    with pytest.raises(TokenRefusedError):
        register(appliance.url, f"{'x' * 30}.{appliance.certificate.sha256}", state, storage=tmp_path)
    assert load_settings(state) == made


def test_names_that_cannot_be_used(appliance: Appliance, tmp_path: Path) -> None:
    text = token(appliance)
    for name in (" x", "x\n", "x" * 65):
        with pytest.raises(RegistrationFailedError):
            register(appliance.url, text, tmp_path / "agent", storage=tmp_path, name=name)
    register(appliance.url, text, tmp_path / "agent", storage=tmp_path, name="x" * 64)


def test_authority_is_made_once(tmp_path: Path) -> None:
    assert load_authority(tmp_path).pem == load_authority(tmp_path).pem
