"""config.json: taken as it is or refused with file and key (CC-8)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso.connectors.errors import ConfigFileError, ConfigKeyError
from sekiso.connectors.hyperv.config_file import (
    MAX_BYTES,
    HyperVConfig,
    load_config,
    load_or_create_config,
    parse_config,
    save_config,
)
from sekiso.errors import NotFoundError, SekisoError
from sekiso.model.connector import TransferPolicy, TransferScheme

HTTP = TransferPolicy(TransferScheme.HTTP, verify=False)


@pytest.mark.parametrize(
    ("text", "config"),
    [
        (b"{}", HyperVConfig()),
        (b'{"useHttpsFileTransfer": true}', HyperVConfig(useHttpsFileTransfer=True)),
        (b' {"ignoreCertificateErrors":false}\n', HyperVConfig(ignoreCertificateErrors=False)),
    ],
)
def test_taken(text: bytes, config: HyperVConfig) -> None:
    assert parse_config(text, Path("config.json")) == config


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (b'{"useHttpsFileTransfer": "true"}', "useHttpsFileTransfer"),
        (b'{"useHttpsFileTransfer": 1}', "useHttpsFileTransfer"),
        (b'{"ignoreCertificateErrors": null}', "ignoreCertificateErrors"),
        (b'{"ignoreCertificateErrors": {"a": []}}', "ignoreCertificateErrors"),
        (b'{"usehttpsfiletransfer": true}', "usehttpsfiletransfer"),
        (b'{"x\\u001b": {"a": 1, "a": 2}}', "a"),
        (b'{"useHttpsFileTransfer": true, "useHttpsFileTransfer": false}', "useHttpsFileTransfer"),
    ],
)
def test_wrong_keys_are_named(text: bytes, key: str) -> None:
    with pytest.raises(ConfigKeyError) as caught:
        parse_config(text, Path("config.json"))
    assert caught.value.params["key"] == key
    assert "config.json" in caught.value.render()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "not written in JSON at line 1"),
        (b"{", "not written in JSON at line 1"),
        (b"[]", "one JSON object"),
        (b"true", "one JSON object"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"\xff\xfe{\x00}\x00", "byte order mark"),
        (b'{"a": "\xff"}', "Byte 7 is not UTF-8"),
        ("{\n“useHttpsFileTransfer”: true}".encode(), "Line 2 has typographic"),
        (b'{"a": NaN}', "no value NaN"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not written in JSON"),
        (b"[" * 60_000, "not written in JSON"),
        (b" " * (MAX_BYTES + 1), "larger than 65536 bytes"),
        (b"{} {}", "column 4"),
        (b'{"a": 1} // no', "not written in JSON"),
    ],
)
def test_files_that_are_refused(text: bytes, reason: str) -> None:
    with pytest.raises(ConfigFileError) as caught:
        parse_config(text, Path("config.json"))
    assert reason in str(caught.value.params["reason"])


@given(st.binary(max_size=60) | st.text('{}[]":,truefals0 "', max_size=40).map(str.encode))
def test_any_content_gets_an_answer(data: bytes) -> None:
    try:
        parse_config(data, Path("config.json"))
    except SekisoError as error:
        assert error.render()


def test_made_with_defaults_and_saved(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(NotFoundError):
        load_config(path)
    assert load_or_create_config(path) == HyperVConfig()
    assert json.loads(path.read_text()) == {"useHttpsFileTransfer": False, "ignoreCertificateErrors": True}
    path.chmod(0o640)
    changed = HyperVConfig(useHttpsFileTransfer=True, ignoreCertificateErrors=False)
    save_config(path, changed)
    assert load_or_create_config(path) == changed
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to("real.json")
    save_config(link, HyperVConfig())
    assert link.is_symlink()
    assert load_config(tmp_path / "real.json") == HyperVConfig()


def test_a_failed_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    save_config(path, HyperVConfig())

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigFileError, match="No space left"):
        save_config(path, HyperVConfig(useHttpsFileTransfer=True))
    assert load_config(path) == HyperVConfig()
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
    with pytest.raises(ConfigFileError):
        save_config(tmp_path / "no" / "config.json", HyperVConfig())


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError):
        load_config(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigFileError, match="no ordinary file"):
        load_config(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(ConfigFileError, match="larger"):
        load_config(tmp_path / "large")


def test_policy_and_warning() -> None:
    https, verified = (HyperVConfig(True, ignoring) for ignoring in (True, False))
    assert HyperVConfig().transfer_policy == HyperVConfig(False, False).transfer_policy == HTTP
    assert https.transfer_policy == TransferPolicy(TransferScheme.HTTPS, verify=False)
    assert verified.transfer_policy == TransferPolicy(TransferScheme.HTTPS, verify=True)
    assert "HTTPS is off" in HyperVConfig().warnings[0]
    assert "ignored" in https.warnings[0]
    assert verified.warnings == ()
