"""The appliance's log file: private, of a limited size, without secrets (OP-4)."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from sekiso.appliance import log_file as module
from sekiso.appliance.log_file import log_file, without_secrets

log = logging.getLogger("sekiso.test.log-file")


def test_it_is_private_and_ends_with_its_block(tmp_path: Path) -> None:
    record = log.makeRecord(log.name, logging.WARNING, "", 0, "inside, 日本語 \ud800", (), None)
    with log_file(tmp_path / "log") as path:
        # To this handler alone: pytest's own passes what it has caught to another process, as UTF-8.
        logging.getLogger().handlers[-1].handle(record)
    log.warning("outside")
    text = path.read_text()
    assert "WARNING sekiso.test.log-file: inside, 日本語" in text and "outside" not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_it_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 2000)
    monkeypatch.setattr(module, "KEPT_FILES", 2)
    with log_file(tmp_path):
        for number in range(200):
            log.warning("line %s", number)
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["appliance.log", "appliance.log.1", "appliance.log.2"]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.iterdir())
    assert "line 199" in (tmp_path / "appliance.log").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nSECRET",
        "postgresql://user:SECRET@host/db",
        "postgresql://user:SEC:RET@SECRET@host/db",
        "authorization: bearer SECRET",
        "sekiso_session=SECRET",
        '{"passphrase": "SECRET"}',
        "token=SECRET",
        "SECRETSECRETSECRETSECRET." + "ab" * 32,
        "/transfer/" + "ab" * 16 + "." + "SECRET_" * 6 + "a/file",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    found = without_secrets(f"before {text} after")
    assert "SECRET" not in found and "before" in found and "(hidden)" in found


@pytest.mark.parametrize(
    "text",
    [
        "agent hv01 is connected",
        "https://appliance.example:8443/api/v1/agents",
        "the certificate " + "ab" * 32 + " is in force",
        "run: qemu-img create -f qcow2 /var/lib/sekiso/" + "ab" * 32 + ".wim",
        "layer 0f8fad5b-d9cb-469f-a165-70867728950e",
    ],
)
def test_the_rest_stays(text: str) -> None:
    assert without_secrets(text) == text
