"""config.json: written, taken up by a restart, never half (CC-8, CC-9)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sekiso.connectors.errors import ConfigFileError, ConfigKeyError
from sekiso.errors import NotFoundError
from sekiso.model.connector import TransferPolicy, TransferScheme
from sekiso.services.connector_settings import ConnectorSettingsService
from sekiso.services.core import Actor, NotAllowedError

from ...support.appliance import ADMIN, MANAGER, PUBLISHER, READER, Appliance

DEFAULTS = {"useHttpsFileTransfer": False, "ignoreCertificateErrors": True}
SECURE = {"useHttpsFileTransfer": True, "ignoreCertificateErrors": False}
PLAIN = TransferPolicy()
VERIFIED = TransferPolicy(TransferScheme.HTTPS, verify=True)


@pytest.fixture
def path(appliance: Appliance) -> Path:
    return appliance.state / "connectors" / "hyperv" / "config.json"


def test_made_with_its_defaults_at_the_first_start(appliance: Appliance, path: Path) -> None:
    assert json.loads(path.read_text()) == DEFAULTS
    view = appliance.settings.get("hyperv")
    assert (view.path, view.file, view.in_force) == (str(path), DEFAULTS, DEFAULTS)
    assert (view.problem, view.pending_restart) == ("", False)
    assert "HTTPS is off" in view.warnings[0]
    assert appliance.settings.policy() == PLAIN


def test_taken_up_by_a_restart(appliance: Appliance, path: Path) -> None:
    view = appliance.settings.set(ADMIN, "hyperv", SECURE)
    assert (view.file, view.in_force, view.pending_restart) == (SECURE, DEFAULTS, True)
    assert json.loads(path.read_text()) == SECURE
    assert appliance.settings.policy() == PLAIN
    view = appliance.settings.restart(ADMIN, "hyperv")
    assert (view.file, view.in_force, view.pending_restart) == (SECURE, SECURE, False)
    assert view.warnings == ()
    assert appliance.settings.policy() == VERIFIED
    assert appliance.actions() == ["connector.set", "connector.restart"]
    assert appliance.entries()[-1].details == SECURE


def test_what_is_left_out_keeps_its_value(appliance: Appliance) -> None:
    appliance.settings.set(ADMIN, "hyperv", {"ignoreCertificateErrors": False})
    view = appliance.settings.set(ADMIN, "hyperv", {"useHttpsFileTransfer": True})
    assert view.file == SECURE


def test_other_workers_go_by_it(appliance: Appliance) -> None:
    # Another worker of the appliance, as it was started before the restart of the connector.
    other = ConnectorSettingsService(appliance.core)
    appliance.settings.set(ADMIN, "hyperv", SECURE)
    appliance.settings.restart(ADMIN, "hyperv")
    assert other.policy() == VERIFIED
    with appliance.db.read() as work:
        assert other.warnings(work) == ()


def test_a_start_of_the_appliance_takes_it_up(appliance: Appliance) -> None:
    appliance.settings.set(ADMIN, "hyperv", SECURE)
    assert ConnectorSettingsService(appliance.core).policy() == VERIFIED


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"useHttps": True}, "useHttps"),
        ({"usehttpsfiletransfer": True}, "usehttpsfiletransfer"),
        ({"useHttpsFileTransfer": "true"}, "useHttpsFileTransfer"),
        ({"useHttpsFileTransfer": 1}, "useHttpsFileTransfer"),
        ({"ignoreCertificateErrors": None}, "ignoreCertificateErrors"),
        ({**SECURE, "port": 8022}, "port"),
    ],
)
def test_wrong_keys_and_types_are_refused(
    values: dict[str, Any], key: str, appliance: Appliance, path: Path
) -> None:
    before = path.read_bytes()
    with pytest.raises(ConfigKeyError) as caught:
        appliance.settings.set(ADMIN, "hyperv", values)
    assert (caught.value.params["path"], caught.value.params["key"]) == (path, key)
    assert path.read_bytes() == before
    assert appliance.actions() == []
    # The same in the file, at a restart.
    path.write_text(json.dumps({**DEFAULTS, **values}))
    with pytest.raises(ConfigKeyError) as caught:
        appliance.settings.restart(ADMIN, "hyperv")
    assert (caught.value.params["path"], caught.value.params["key"]) == (path, key)
    assert appliance.settings.policy() == PLAIN
    assert appliance.actions() == []
    view = appliance.settings.get("hyperv")
    assert view.file is None
    assert key in view.problem
    assert view.pending_restart


BROKEN = (b"", b"{", b"[]", b"\xff", b'{"useHttpsFileTransfer": true,}', b"[" * 5000, b" " * 70_000)


@pytest.mark.parametrize("content", BROKEN, ids=lambda c: repr(c[:12]))
def test_a_file_that_cannot_be_read(content: bytes, appliance: Appliance, path: Path) -> None:
    appliance.settings.set(ADMIN, "hyperv", SECURE)
    appliance.settings.restart(ADMIN, "hyperv")
    path.write_bytes(content)
    with pytest.raises(ConfigFileError) as caught:
        appliance.settings.restart(ADMIN, "hyperv")
    assert caught.value.params["path"] == path
    assert appliance.settings.policy() == VERIFIED
    assert appliance.settings.get("hyperv").problem
    with pytest.raises(ConfigFileError):
        ConnectorSettingsService(appliance.core)
    assert appliance.settings.policy() == VERIFIED


def test_a_broken_file_is_mended_by_setting(appliance: Appliance, path: Path) -> None:
    appliance.settings.set(ADMIN, "hyperv", SECURE)
    appliance.settings.restart(ADMIN, "hyperv")
    path.write_text("{")
    view = appliance.settings.set(ADMIN, "hyperv", {"useHttpsFileTransfer": True})
    # What is left out has the value that is in force: verification is not switched off without a word.
    assert (view.file, view.problem) == (SECURE, "")


def test_a_file_that_is_gone_is_made_again_by_a_restart(appliance: Appliance, path: Path) -> None:
    path.unlink()
    assert appliance.settings.get("hyperv").problem
    assert appliance.settings.restart(ADMIN, "hyperv").file == DEFAULTS


def test_nothing_is_written_down_that_did_not_happen(appliance: Appliance, path: Path) -> None:
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigFileError):
        appliance.settings.set(ADMIN, "hyperv", SECURE)
    assert appliance.actions() == []


def test_connectors_that_do_not_exist(appliance: Appliance) -> None:
    for try_it in (
        lambda: appliance.settings.get("../hyperv"),
        lambda: appliance.settings.set(ADMIN, "x", {}),
        lambda: appliance.settings.restart(ADMIN, "x"),
        lambda: appliance.settings.policy("x"),
    ):
        with pytest.raises(NotFoundError):
            try_it()


@pytest.mark.parametrize("actor", [MANAGER, PUBLISHER, READER], ids=lambda a: a.role.value)
def test_only_administrators_change_it(actor: Actor, appliance: Appliance, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(NotAllowedError):
        appliance.settings.set(actor, "hyperv", SECURE)
    with pytest.raises(NotAllowedError):
        appliance.settings.restart(actor, "hyperv")
    assert path.read_bytes() == before
