"""A command line that speaks to an appliance in memory."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sekiso.cli import client
from sekiso.cli.main import main

from .fake_appliance import TOKEN, FakeAppliance

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def appliance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeAppliance:
    """An appliance that the command line reaches, logged in by token; its pauses do not take time."""
    fake = FakeAppliance()
    monkeypatch.setattr(client, "make_transport", lambda profile: fake)
    monkeypatch.setattr("sekiso.cli.following.time.sleep", lambda seconds: None)
    monkeypatch.setenv("SEKISO_URL", "https://appliance.example:8443")
    monkeypatch.setenv("SEKISO_TOKEN", TOKEN)
    monkeypatch.setenv("SEKISO_PROFILE", str(tmp_path / "profile.json"))
    monkeypatch.delenv("SEKISO_FINGERPRINT", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    return fake


@pytest.fixture
def sekiso(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in English; return exit code, output and errors."""
    monkeypatch.setattr("sekiso.cli.main.signal.signal", lambda *_: None)  # pyright: ignore[reportUnknownLambdaType]

    monkeypatch.setattr("sys.stdin", io.StringIO())

    def run(*words: str, lang: str = "en") -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--lang", lang, *words])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run
