"""`sekiso agent register` and `sekiso agent run` on the agent's host (AG-1, AG-2)."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sekiso.agent import assembly, registration
from sekiso.agent.settings import AgentSettings
from sekiso.cli.agent_service import register_command, run_command
from sekiso.errors import NotFoundError

from ....conftest import REPOSITORY

UNIT = REPOSITORY / "packaging/systemd/sekiso-agent.service"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the appliance would be asked."""
    calls: list[tuple[Any, ...]] = []

    def register(url: str, token: str, state: Path, *, storage: Path, name: str = "") -> AgentSettings:
        calls.append((url, token, state, storage, name))
        return AgentSettings(url, "a", 1, ("ab",), "the-id", name or "host", str(storage))

    monkeypatch.setattr(registration, "register", register)
    return calls


def run(*arguments: str, stdin: str | None = None) -> str:
    result = CliRunner().invoke(register_command, arguments, input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_token_comes_from_standard_input(asked: list[tuple[Any, ...]], tmp_path: Path) -> None:
    run("--appliance", "https://a:1", "--state", str(tmp_path), stdin="secret.pin\n")
    assert asked == [("https://a:1", "secret.pin", tmp_path, tmp_path / "machines", "")]


def test_token_comes_from_a_file(asked: list[tuple[Any, ...]], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret.pin\n")
    common = ("--appliance", "https://a:1", "--state", str(tmp_path), "--name", "n", "--json")
    said = run(*common, "--storage", str(tmp_path / "m"), "--token-file", str(tmp_path / "token"))
    assert asked == [("https://a:1", "secret.pin", tmp_path, tmp_path / "m", "n")]
    assert json.loads(said) == {"agent_id": "the-id", "name": "n", "appliance": "https://a:1"}
    run(*common, "--token-file", "-", stdin="other.pin")
    assert asked[-1][1] == "other.pin"


def test_token_is_no_argument() -> None:
    assert not any("--token" in p.opts for p in register_command.params)
    result = CliRunner().invoke(register_command, ["--appliance", "https://a:1", "secret.pin"])
    assert result.exit_code == 2


def test_agent_that_is_not_registered_does_not_run(tmp_path: Path) -> None:
    level = logging.getLogger("sekiso").level
    try:
        with pytest.raises(NotFoundError):
            CliRunner().invoke(run_command, ["--state", str(tmp_path)], catch_exceptions=False)
    finally:
        logging.getLogger("sekiso").setLevel(level)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_the_agent_in_an_orderly_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    stopped = threading.Event()

    class Service:
        stop: Callable[[], None] = staticmethod(stopped.set)

        def run(self) -> None:
            os.kill(os.getpid(), number)
            assert stopped.wait(5)

    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    level = logging.getLogger("sekiso").level
    monkeypatch.setattr(assembly, "make_service", lambda _: Service())
    try:
        result = CliRunner().invoke(run_command, ["--state", str(tmp_path)], catch_exceptions=False)
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)
        logging.getLogger("sekiso").setLevel(level)
    assert result.exit_code == 0


def test_systemd_unit() -> None:
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    assert any(line.endswith("sekiso agent run --state /var/lib/sekiso-agent") for line in lines)
    assert {"Restart=always", "NoNewPrivileges=yes", "UMask=0077"} <= set(lines)
    # Machines outlive the agent, and lie at storage paths anywhere.
    assert {"KillMode=process", "ProtectSystem=true"} <= set(lines)
