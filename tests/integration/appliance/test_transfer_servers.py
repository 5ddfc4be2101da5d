"""A transfer server is started again with another certificate (TR-1, OP-4)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from sekiso.appliance.transfer_servers import (
    TransferServer,
    TransferServerError,
    TransferServerSettings,
    free_port,
)

from ...support.certificates import Made, make
from .test_system import shown


def write(folder: Path, made: Made) -> None:
    (folder / "server.pem").write_text(made.pem)
    (folder / "server.key").write_text(made.key_pem())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TransferServer]:
    settings = TransferServerSettings(
        *(tmp_path / "state", tmp_path / "sessions", "127.0.0.1", free_port("127.0.0.1")),
        certificate=tmp_path / "server.pem",
        key=tmp_path / "server.key",
    )
    running = TransferServer(settings)
    yield running
    running.stop()


def test_restart_takes_up_another_certificate(
    server: TransferServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = make(), make()
    write(tmp_path, first)
    assert server.secure and not server.listens()
    server.restart()  # before it was started: nothing happens
    with caplog.at_level(logging.INFO):
        server.start()
        assert server.listens() and shown(server.port) == first.sha256
        write(tmp_path, second)
        server.restart()
        assert server.listens() and shown(server.port) == second.sha256
    assert "it is started again" not in caplog.text
    # What it says itself is in the log of the appliance.
    assert any(record.name == "sekiso.transfer.server" for record in caplog.records)
    server.stop()
    assert not server.listens()


def test_one_that_does_not_start_is_told_and_tried_again(server: TransferServer, tmp_path: Path) -> None:
    made = make()
    write(tmp_path, made)
    server.start()
    (tmp_path / "server.key").write_text(make().key_pem())
    with pytest.raises(TransferServerError):
        server.restart()
    write(tmp_path, made)
    server.restart()
    assert shown(server.port) == made.sha256
