"""Our client against the real server: both directions, broken at any byte, killed, tampered with."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sekiso.errors import AlreadyExistsError, CanceledError
from sekiso.model.progress import SilentProgress
from sekiso.transfer import client
from sekiso.transfer.client import Patience, cancel_upload, download_file, forget_download, upload_file
from sekiso.transfer.errors import (
    TransferContentError,
    TransferInterruptedError,
    TransferRefusedError,
)
from sekiso.transfer.manifest import LEAF_BYTES, Manifest, hash_file
from sekiso.transfer.packets import new_session_id
from sekiso.transfer.sessions import DiskSessionStore, SessionHead
from tests.integration.transfer.rig import CuttingProxy, Server, sparse_file

SIZE = 2 * LEAF_BYTES + 54321
QUICK = Patience(attempts=6, first_delay_s=0.05, longest_delay_s=0.1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "層 layer.wim"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture(scope="module")
def manifest(source: Path) -> Manifest:
    return hash_file(source)


class Watcher(SilentProgress):
    """Remembers what it was told; cancels at a given amount."""

    def __init__(self, cancel_at: int | None = None) -> None:
        self.amounts: list[int] = []
        self.totals: list[int | None] = []
        self._cancel_at = cancel_at

    def step(self, name: str, *, total: int | None = None) -> None:
        self.totals.append(total)

    def advance(self, done: int) -> None:
        self.amounts.append(done)

    def canceled(self) -> bool:
        return self._cancel_at is not None and bool(self.amounts) and self.amounts[-1] >= self._cancel_at


def remains(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".sekiso"))


def test_both_ways(shared_server: Server, source: Path, manifest: Manifest, tmp_path: Path) -> None:
    down, up, watcher = tmp_path / "down", tmp_path / "up", Watcher()
    download_file(shared_server.remote(shared_server.offer(source)), down, manifest, progress=watcher)
    assert down.read_bytes() == source.read_bytes()
    assert watcher.totals == [SIZE] and watcher.amounts == sorted(watcher.amounts)
    assert watcher.amounts[-1] == SIZE and len(watcher.amounts) > 10
    watcher = Watcher()
    ticket = shared_server.accept(up, manifest)
    upload_file(shared_server.remote(ticket), source, state=tmp_path / "state", progress=watcher)
    assert up.read_bytes() == source.read_bytes()
    assert watcher.totals == [SIZE] and watcher.amounts[-1] == SIZE
    assert remains(tmp_path) == [] and not (tmp_path / "state").exists()
    upload_file(shared_server.remote(ticket), source, state=tmp_path / "state")


def test_the_secret_may_be_in_the_url(
    shared_server: Server, source: Path, manifest: Manifest, tmp_path: Path
) -> None:
    ticket = shared_server.offer(source)
    download_file(client.RemoteFile(shared_server.url(ticket)), tmp_path / "down", manifest)
    assert ticket.secret not in repr(client.RemoteFile(shared_server.url(ticket), ticket.secret))


def test_empty_files(shared_server: Server, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    nothing = hash_file(empty)
    download_file(shared_server.remote(shared_server.offer(empty)), tmp_path / "down", nothing)
    upload_file(
        shared_server.remote(shared_server.accept(tmp_path / "up", nothing)), empty, state=tmp_path / "state"
    )
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes() == b""


def cuts(seed: int) -> Iterator[int]:
    """Byte counts at which connections break: in headers, in bodies, in answers."""
    chance = random.Random(seed)
    yield from [1, 40, 300, 700]
    for _ in range(6):
        yield chance.randrange(1, SIZE)
    yield from [SIZE // 2] * 4


@pytest.mark.parametrize("seed", [1, 2])
def test_connections_that_break_at_any_byte(
    shared_server: Server, source: Path, manifest: Manifest, tmp_path: Path, seed: int
) -> None:
    proxy = CuttingProxy(shared_server.port, cuts(seed))
    try:
        down, up = tmp_path / "down", tmp_path / "up"
        remote = shared_server.remote(shared_server.offer(source), port=proxy.port)
        download_file(remote, down, manifest, patience=QUICK)
        assert down.read_bytes() == source.read_bytes()
        assert proxy.connections > 5
        ticket = shared_server.accept(up, manifest)
    finally:
        proxy.close()
    proxy = CuttingProxy(shared_server.port, cuts(seed))
    try:
        remote = shared_server.remote(ticket, port=proxy.port)
        upload_file(remote, source, state=tmp_path / "state", patience=QUICK)
        assert up.read_bytes() == source.read_bytes()
        assert proxy.connections > 5
    finally:
        proxy.close()
    assert remains(tmp_path) == []


def test_a_client_that_is_started_again_goes_on(
    shared_server: Server, source: Path, manifest: Manifest, tmp_path: Path
) -> None:
    down, up, state = tmp_path / "down", tmp_path / "up", tmp_path / "state"
    remote = shared_server.remote(shared_server.offer(source))
    with pytest.raises(CanceledError):
        download_file(remote, down, manifest, progress=Watcher(cancel_at=5 << 20))
    assert not down.exists() and len(remains(tmp_path)) == 2
    watcher = Watcher()
    download_file(remote, down, manifest, progress=watcher)
    assert down.read_bytes() == source.read_bytes()
    assert watcher.amounts[0] >= 5 << 20
    ticket = shared_server.accept(up, manifest)
    with pytest.raises(CanceledError):
        upload_file(shared_server.remote(ticket), source, state=state, progress=Watcher(cancel_at=16 << 20))
    watcher = Watcher()
    upload_file(shared_server.remote(ticket), source, state=state, progress=watcher)
    assert up.read_bytes() == source.read_bytes()
    assert watcher.amounts[0] > 16 << 20
    assert remains(tmp_path) == []


def test_canceling_leaves_nothing(
    shared_server: Server, source: Path, manifest: Manifest, tmp_path: Path
) -> None:
    down, up, state = tmp_path / "down", tmp_path / "up", tmp_path / "state"
    with pytest.raises(CanceledError):
        download_file(
            shared_server.remote(shared_server.offer(source)), down, manifest, progress=Watcher(cancel_at=1)
        )
    forget_download(down)
    remote = shared_server.remote(shared_server.accept(up, manifest))
    with pytest.raises(CanceledError):
        upload_file(remote, source, state=state, progress=Watcher(cancel_at=1))
    assert len(remains(tmp_path)) == 1
    cancel_upload(remote, source, state=state)
    assert list(tmp_path.iterdir()) == []


def test_the_server_killed_in_the_middle_of_an_upload(
    server: Server, source: Path, manifest: Manifest, tmp_path: Path
) -> None:
    up = tmp_path / "up"
    ticket = server.accept(up, manifest)
    errors: list[BaseException] = []

    def send() -> None:
        try:
            upload_file(
                server.remote(ticket),
                source,
                state=tmp_path / "up-state",
                patience=Patience(attempts=100, first_delay_s=0.05, longest_delay_s=0.1),
            )
        except BaseException as exc:  # noqa: BLE001 (looked at below)
            errors.append(exc)

    sender = threading.Thread(target=send)
    for number in range(3):
        if number == 0:
            sender.start()
        part = _wait_for_part(tmp_path, number, up)
        server.kill()
        assert part is None or part.exists() or up.exists()
        server.start()
    sender.join(60)
    assert not sender.is_alive() and errors == []
    assert up.read_bytes() == source.read_bytes()
    assert remains(tmp_path) == []


def _wait_for_part(folder: Path, number: int, final: Path) -> Path | None:
    """Wait until some more of the upload is on the disk."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not final.exists():
        for path in folder.glob(".sekiso-*.part"):
            if path.stat().st_size > number * (1 << 20):
                return path
        time.sleep(0.001)
    return None


def test_tampered_content_is_refused(
    shared_server: Server, source: Path, manifest: Manifest, tmp_path: Path
) -> None:
    evil = tmp_path / "evil"
    data = bytearray(source.read_bytes())
    data[LEAF_BYTES + 5] ^= 1
    evil.write_bytes(data)
    down, up = tmp_path / "down", tmp_path / "up"
    with pytest.raises(TransferContentError) as caught:
        download_file(
            shared_server.remote(shared_server.offer(evil, manifest)), down, manifest, patience=QUICK
        )
    assert caught.value.params["leaf"] == 1, "the bad leaf is named"
    assert caught.value.params["offset"] == LEAF_BYTES
    with pytest.raises(TransferContentError):
        remote = shared_server.remote(shared_server.accept(up, manifest))
        upload_file(remote, evil, state=tmp_path / "state", patience=QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["evil"], "no half file, no remains"


def test_another_version_is_refused(
    shared_server: Server, source: Path, manifest: Manifest, tmp_path: Path
) -> None:
    other = Manifest(manifest.size_bytes, manifest.leaves[::-1])
    with pytest.raises(TransferRefusedError) as caught:
        download_file(shared_server.remote(shared_server.offer(source)), tmp_path / "down", other)
    assert caught.value.params["status"] == 412


def test_a_name_that_is_taken(
    shared_server: Server, source: Path, manifest: Manifest, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.write_bytes(b"precious")
    with pytest.raises(AlreadyExistsError):
        download_file(shared_server.remote(shared_server.offer(source)), taken, manifest)
    with pytest.raises(TransferRefusedError):
        remote = shared_server.remote(shared_server.accept(taken, manifest))
        upload_file(remote, source, state=tmp_path / "state")
    assert taken.read_bytes() == b"precious"


def test_an_expired_grant_is_refused(
    shared_server: Server, source: Path, manifest: Manifest, tmp_path: Path
) -> None:
    with pytest.raises(TransferRefusedError) as caught:
        download_file(shared_server.remote(shared_server.offer(source, valid_s=0)), tmp_path / "d", manifest)
    assert caught.value.params["status"] == 403


def test_nobody_there(source: Path, manifest: Manifest, tmp_path: Path) -> None:
    remote = client.RemoteFile("http://127.0.0.1:9/transfer/x/y")
    patience = Patience(attempts=3, first_delay_s=0.01, longest_delay_s=0.02)
    with pytest.raises(TransferInterruptedError) as caught:
        download_file(remote, tmp_path / "down", manifest, patience=patience)
    assert caught.value.params["attempts"] == 3 and caught.value.retryable
    with pytest.raises(TransferInterruptedError):
        upload_file(remote, source, state=tmp_path / "state", patience=patience)


def test_killed_just_before_the_end(
    shared_server: Server, source: Path, manifest: Manifest, tmp_path: Path
) -> None:
    """The file has its name, the journal is still there: the next call only tidies up."""
    down = tmp_path / "down"
    remote = shared_server.remote(shared_server.offer(source))
    download_file(remote, down, manifest)
    part = client._open_part(down)
    part.restart({"root": manifest.root})
    part.record({"state": "publishing"})
    (data,) = tmp_path.glob("*.part")
    data.unlink()
    part.close()
    download_file(remote, down, manifest)
    assert down.read_bytes() == source.read_bytes() and remains(tmp_path) == []


@pytest.mark.parametrize("edge", [1 << 31, 1 << 32])
def test_uploads_past_the_edges_of_32_bits(server: Server, tmp_path: Path, edge: int) -> None:
    """All but the last bytes are there already, as holes; the upload goes on across the edge."""
    large, up = tmp_path / "large", tmp_path / "up"
    manifest = sparse_file(large, edge + (3 << 20) + 5, {edge - 7: b"across the edge"})
    ticket = server.accept(up, manifest)
    begun = edge - LEAF_BYTES - 100
    whole = begun // LEAF_BYTES
    key = new_session_id()
    head = SessionHead(key, ticket.grant.id, f"/{ticket.grant.id}/up", "agent", up, time.time())
    part = DiskSessionStore(tmp_path / "state" / "sessions").create(head)
    part.cut(begun)
    part.record({"total": manifest.size_bytes})
    part.record({"next": begun, "first_leaf": 0, "leaves": b"".join(manifest.leaves[:whole]).hex()})
    part.close()
    watcher = Watcher()
    upload_file(server.remote(ticket), large, state=tmp_path / "up-state", progress=watcher)
    assert next(amount for amount in watcher.amounts if amount) == begun
    assert up.stat().st_size == manifest.size_bytes
    with up.open("rb") as stream:
        stream.seek(edge - 8)
        assert stream.read(17) == b"\0across the edge\0"


def test_many_at_once(shared_server: Server, source: Path, manifest: Manifest, tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            ticket = shared_server.offer(source)
            download_file(shared_server.remote(ticket), tmp_path / f"down-{number}", manifest)
            ticket = shared_server.accept(tmp_path / f"up-{number}", manifest)
            upload_file(shared_server.remote(ticket), source, state=tmp_path / f"state-{number}")
        except BaseException as exc:  # noqa: BLE001 (looked at below)
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    for kind, number in itertools.product(("down", "up"), range(4)):
        assert (tmp_path / f"{kind}-{number}").read_bytes() == source.read_bytes()
