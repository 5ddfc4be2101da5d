"""Commands for the appliance itself: what they ask for, and what they keep (OP-2, OP-4)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from sekiso.cli.profile import Profile, load_profile, save_profile

from .conftest import Run
from .fake_appliance import HEALTH, FakeAppliance

CHAIN = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "chain.pem").write_text(CHAIN)
    (tmp_path / "key.pem").write_text(KEY)
    (tmp_path / "both.PFX").write_bytes(b"\x30\x00")
    (tmp_path / "passphrase").write_text("open sesame\n")
    return tmp_path


def sent(appliance: FakeAppliance) -> tuple[str, Any]:
    (_, path, body), *_ = appliance.changes()
    return path, body


def test_generate(sekiso: Run, appliance: FakeAppliance) -> None:
    code, out, _ = sekiso("certificate", "generate", "--name", "a", "--name", "b", "--days", "30", "--yes")
    assert code == 0 and "CD:CD" in out
    assert sent(appliance) == (
        "/certificate/generate",
        {"names": ["a", "b"], "days": 30, "forget_former": False},
    )


def test_nothing_is_exchanged_without_a_yes(sekiso: Run, appliance: FakeAppliance) -> None:
    assert sekiso("certificate", "generate")[0] == 130
    assert appliance.changes() == []


def test_upload_pem(sekiso: Run, appliance: FakeAppliance, files: Path) -> None:
    words = [str(files / "chain.pem"), "--key", str(files / "key.pem")]
    more = ["--passphrase-file", str(files / "passphrase"), "--forget-former", "--yes"]
    code, out, err = sekiso("certificate", "upload", *words, *more)
    assert code == 0
    body = {"certificate": CHAIN, "key": KEY, "passphrase": "open sesame", "forget_former": True}
    assert sent(appliance) == ("/certificate/upload", body)
    assert "sesame" not in out + err and "PRIVATE" not in out + err


def test_upload_without_key_is_that_of_the_request(
    sekiso: Run, appliance: FakeAppliance, files: Path
) -> None:
    assert sekiso("certificate", "upload", str(files / "chain.pem"), "--yes")[0] == 0
    assert sent(appliance)[1] == {"certificate": CHAIN, "forget_former": False}


def test_upload_pkcs12(sekiso: Run, appliance: FakeAppliance, files: Path) -> None:
    assert sekiso("certificate", "upload", str(files / "both.PFX"), "--yes")[0] == 0
    assert base64.b64decode(sent(appliance)[1]["pkcs12"]) == b"\x30\x00"
    refused = sekiso(
        "certificate", "upload", str(files / "both.PFX"), "--key", str(files / "key.pem"), "--yes"
    )
    assert refused[0] == 2


def test_a_request_is_written_to_a_file_once(sekiso: Run, appliance: FakeAppliance, tmp_path: Path) -> None:
    out = tmp_path / "a.csr"
    words = ("certificate", "request", "--key", "rsa-3072", "--organization", "Example", "--out", str(out))
    assert sekiso(*words)[0] == 0
    assert sent(appliance)[1] == {"names": None, "key": "rsa-3072", "organization": "Example"}
    assert out.read_text().startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert sekiso(*words)[0] == 5


def test_the_profile_follows_an_exchange(
    sekiso: Run, appliance: FakeAppliance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "profile.json"
    save_profile(
        path, Profile("https://appliance.example:8443", "ab" * 32, "admin", session="s3cret", csrf="csrf")
    )
    # What stands in the environment comes before the file, and is not ours to change.
    assert sekiso("certificate", "generate", "--yes")[0] == 0
    assert load_profile(path).fingerprint == "ab" * 32
    monkeypatch.delenv("SEKISO_TOKEN")
    assert sekiso("certificate", "generate", "--yes")[0] == 0
    assert load_profile(path).fingerprint == "cd" * 32


def test_settings(sekiso: Run, appliance: FakeAppliance) -> None:
    words = ("session_hours=8", "host_names=a.example, b.example", "default_language=ja")
    assert sekiso("settings", "set", *words)[0] == 0
    assert sent(appliance) == (
        "/settings",
        {"values": {"session_hours": 8, "host_names": ["a.example", "b.example"], "default_language": "ja"}},
    )
    assert sekiso("settings", "set", "host_names=")[0] == 0
    assert appliance.changes()[-1][2] == {"values": {"host_names": []}}
    assert sekiso("settings", "set", "session_hours")[0] == 2


def test_health_has_an_exit_code(
    sekiso: Run, appliance: FakeAppliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sekiso("health")[0] == 0
    monkeypatch.setitem(HEALTH, "state", "problem")
    code, out, _ = sekiso("health", "--json")
    assert code == 3 and json.loads(out)["state"] == "problem"


def test_log_download(sekiso: Run, appliance: FakeAppliance, tmp_path: Path) -> None:
    out = tmp_path / "support.tar.gz"
    assert sekiso("log", "download", "--out", str(out), "--days", "3")[0] == 0
    assert out.read_bytes() == b"\x1f\x8b bundle"
    assert sekiso("log", "download", "--out", str(out))[0] == 5
