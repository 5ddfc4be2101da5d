"""Files between an agent and the real transfer server: resumed, counted, cleaned up, trusted."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sekiso.agent.contract import (
    CleanUpParams,
    DescribeFileParams,
    DownloadFileParams,
    FetchLayerParams,
    MissingLayersParams,
    Moved,
    ProbeTransferParams,
    Ticket,
    UploadFileParams,
)
from sekiso.agent.handlers.dispatcher import Handlers
from sekiso.agent.handlers.settings import HandlerSettings
from sekiso.errors import CanceledError, NotFoundError, RuleError, VerificationError
from sekiso.hypervisors.memory import MemoryDriver
from sekiso.model.progress import SilentProgress
from sekiso.transfer.client import Patience
from sekiso.transfer.errors import TransferCertificateError, TransferInterruptedError, TransferRefusedError
from sekiso.transfer.grants import Ticket as Grant
from sekiso.transfer.manifest import LEAF_BYTES, Manifest, hash_file
from sekiso.transfer.trust import certificate_sha256

from ...unit.agent.handlers.bench import OTHER_TASK, TASK, write_layer
from ..transfer.rig import CuttingProxy, Server, make_certificate

QUICK = Patience(attempts=2, first_delay_s=0.05, longest_delay_s=0.1)
SIZE = 2 * LEAF_BYTES + 12345


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server")).start()
    yield running
    running.stop()


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    folder = tmp_path / "storage"
    folder.mkdir()
    return folder


@pytest.fixture
def appliance(tmp_path: Path) -> Path:
    folder = tmp_path / "appliance"
    folder.mkdir()
    return folder


def handlers(**more: object) -> Handlers:
    settings = HandlerSettings(MemoryDriver, "127.0.0.1", patience=QUICK)
    return Handlers(replace(settings, **more))  # type: ignore[arg-type]


def run(who: Handlers, method: str, params: object, *, task: str = TASK, progress: object = None):  # type: ignore[no-untyped-def]
    watched = progress or SilentProgress()
    return who.run(method, params, command_id=f"{task}:1:{method}", progress=watched)  # type: ignore[arg-type]


def ticket(server: Server, grant: Grant, *, verify: bool = False, port: int | None = None) -> Ticket:
    https = server.certificate is not None
    return Ticket(grant.url_path(), port or server.port, https, verify, grant.secret)


def random_file(path: Path, size: int = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


class Watched(SilentProgress):
    """Notes amounts; cancels after a number of bytes."""

    def __init__(self, cancel_at: int = 1 << 60) -> None:
        self.amounts: list[int] = []
        self._cancel_at = cancel_at

    def advance(self, done: int) -> None:
        self.amounts.append(done)

    def canceled(self) -> bool:
        return bool(self.amounts) and self.amounts[-1] >= self._cancel_at


def upload(server: Server, storage: Path, source: Path, target: Path, **more: object) -> UploadFileParams:
    granted = ticket(server, server.accept(target, hash_file(source)), **more)  # type: ignore[arg-type]
    return UploadFileParams(str(storage), str(source), granted)


def download(server: Server, storage: Path, source: Path, **more: object) -> DownloadFileParams:
    granted = ticket(server, server.offer(source), **more)  # type: ignore[arg-type]
    return DownloadFileParams(str(storage), TASK, "disk.vhd", hash_file(source).to_dict(), granted)


def test_a_file_is_described_and_sent(server: Server, storage: Path, appliance: Path) -> None:
    source, target = random_file(storage / "Layers" / "x.wim"), appliance / "x.wim"
    agent, progress = handlers(), Watched()
    facts = run(agent, "file.describe", DescribeFileParams(str(storage), str(source)))
    assert Manifest.from_dict(facts.manifest) == hash_file(source)
    moved = run(agent, "file.upload", upload(server, storage, source, target), progress=progress)
    assert moved == Moved(SIZE) and progress.amounts[-1] == SIZE
    assert target.read_bytes() == source.read_bytes()
    assert list((storage / "Tasks" / TASK).iterdir()) == []


def test_only_files_below_the_storage_path_travel(server: Server, storage: Path, appliance: Path) -> None:
    outside = random_file(appliance / "secret", 100)
    params = upload(server, storage, outside, appliance / "copy")
    for method, asked in (
        ("file.upload", params),
        ("file.describe", DescribeFileParams(str(storage), str(outside))),
    ):
        with pytest.raises(RuleError):
            run(handlers(), method, asked)
    with pytest.raises(NotFoundError):
        run(handlers(), "file.upload", replace(params, path=str(storage / "absent")))


def test_a_file_is_fetched_into_the_scratch_and_kept(server: Server, storage: Path, appliance: Path) -> None:
    source = random_file(appliance / "disk.vhd")
    params = download(server, storage, source)
    facts = run(handlers(), "file.download", params)
    path = storage / "Tasks" / TASK / "disk.vhd"
    assert facts.path == str(path) and path.read_bytes() == source.read_bytes()
    inode = path.stat().st_ino
    assert run(handlers(), "file.download", params) == facts
    assert path.stat().st_ino == inode
    path.write_bytes(b"damaged")
    assert run(handlers(), "file.download", params) == facts
    assert path.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("name", ["../x", ".hidden", "a/b"])
def test_a_name_does_not_lead_out_of_the_scratch(
    server: Server, storage: Path, appliance: Path, name: str
) -> None:
    params = download(server, storage, random_file(appliance / "x", 100))
    with pytest.raises(RuleError):
        run(handlers(), "file.download", replace(params, name=name))


def test_a_cut_download_goes_on_and_counts_what_crossed(
    server: Server, storage: Path, appliance: Path
) -> None:
    source = random_file(appliance / "layer.wim")
    identity = write_layer(appliance / "real.wim")
    layer = appliance / "real.wim"
    cuts = CuttingProxy(server.port, itertools.repeat(LEAF_BYTES + 100_000))
    try:
        params = download(server, storage, source, port=cuts.port)
        with pytest.raises(CanceledError):
            run(handlers(), "file.download", params, progress=Watched(cancel_at=LEAF_BYTES))
        parts = {p.suffix for p in (storage / "Tasks" / TASK).iterdir()}
        assert parts == {".part", ".journal"}
        again = Watched()
        run(handlers(), "file.download", params, progress=again)
        assert again.amounts[0] >= LEAF_BYTES - (1 << 20)
    finally:
        cuts.close()
    granted = ticket(server, server.offer(layer))
    fetch = FetchLayerParams(str(storage), identity, hash_file(layer).to_dict(), granted)
    assert run(handlers(), "layers.fetch", fetch).wire_bytes == layer.stat().st_size
    assert run(handlers(), "layers.fetch", fetch) == Moved(0)
    missing = run(handlers(), "layers.missing", MissingLayersParams(str(storage), (identity,)))
    assert missing.missing == ()


def test_a_cut_upload_goes_on_after_a_restart_of_the_agent(
    server: Server, storage: Path, appliance: Path
) -> None:
    source, target = random_file(storage / "x", 5 * LEAF_BYTES), appliance / "x"
    params = upload(server, storage, source, target)
    with pytest.raises(CanceledError):
        run(handlers(), "file.upload", params, progress=Watched(cancel_at=2 * LEAF_BYTES))
    assert len(list((storage / "Tasks" / TASK).glob("upload-*.state"))) == 1
    moved = run(handlers(), "file.upload", params)
    assert moved.wire_bytes <= 3 * LEAF_BYTES
    assert target.read_bytes() == source.read_bytes()


def test_clean_up_gives_an_upload_up_at_both_ends(server: Server, storage: Path, appliance: Path) -> None:
    source, target = random_file(storage / "x", 5 * LEAF_BYTES), appliance / "x"
    agent = handlers()
    with pytest.raises(CanceledError):
        run(
            agent,
            "file.upload",
            upload(server, storage, source, target),
            progress=Watched(cancel_at=LEAF_BYTES),
        )
    assert any(appliance.iterdir())
    run(agent, "task.clean-up", CleanUpParams(str(storage), TASK))
    assert list(appliance.iterdir()) == []
    assert not (storage / "Tasks" / TASK).exists()


def test_clean_up_does_not_need_the_appliance(storage: Path, appliance: Path, server: Server) -> None:
    source = random_file(storage / "x", 3 * LEAF_BYTES)
    agent = handlers()
    cuts = CuttingProxy(server.port, itertools.chain([LEAF_BYTES * 3], itertools.repeat(10)))
    try:
        params = upload(server, storage, source, appliance / "x", port=cuts.port)
        with pytest.raises(TransferInterruptedError):
            run(agent, "file.upload", params)
    finally:
        cuts.close()
    run(agent, "task.clean-up", CleanUpParams(str(storage), TASK))
    assert not (storage / "Tasks" / TASK).exists()


def test_a_layer_that_is_another_is_not_kept(server: Server, storage: Path, appliance: Path) -> None:
    layer = appliance / "layer.wim"
    write_layer(layer)
    params = FetchLayerParams(
        str(storage), "0" * 64, hash_file(layer).to_dict(), ticket(server, server.offer(layer))
    )
    with pytest.raises(VerificationError):
        run(handlers(), "layers.fetch", params)
    assert [p.name for p in (storage / "Layers").iterdir() if not p.name.startswith(".")] == []


def test_a_wrong_secret_is_refused(server: Server, storage: Path, appliance: Path) -> None:
    params = download(server, storage, random_file(appliance / "x", 100))
    bad = replace(params, ticket=replace(params.ticket, secret="f" * 43))
    with pytest.raises(TransferRefusedError):
        run(handlers(), "file.download", bad)
    assert "f" * 43 not in repr(bad)


# Probes and certificates


def probe(
    server: Server, storage: Path, appliance: Path, way: str, *, verify: bool = False
) -> ProbeTransferParams:
    content = "sekiso probe " * 100
    file = appliance / f"probe-{way}.txt"
    file.write_text(content)
    manifest = hash_file(file)
    if way == "upload":
        file.unlink()
        granted = server.accept(file, manifest)
    else:
        granted = server.offer(file)
    return ProbeTransferParams(
        str(storage), "probe.txt", content, manifest.to_dict(), ticket(server, granted, verify=verify)
    )


@pytest.mark.parametrize("way", ["upload", "download"])
def test_probes_copy_and_leave_nothing(server: Server, storage: Path, appliance: Path, way: str) -> None:
    run(handlers(), f"transfer.probe-{way}", probe(server, storage, appliance, way))
    assert list(storage.iterdir()) == []
    assert (appliance / f"probe-{way}.txt").read_text() == "sekiso probe " * 100


def test_a_probe_compares_the_content(server: Server, storage: Path, appliance: Path) -> None:
    params = replace(probe(server, storage, appliance, "download"), content="something else")
    with pytest.raises(VerificationError):
        run(handlers(), "transfer.probe-download", params)
    assert list(storage.iterdir()) == []


@pytest.mark.parametrize("way", ["upload", "download"])
def test_a_probe_that_fails_leaves_nothing(server: Server, storage: Path, appliance: Path, way: str) -> None:
    params = probe(server, storage, appliance, way)
    with pytest.raises(TransferRefusedError):
        run(handlers(), f"transfer.probe-{way}", replace(params, ticket=replace(params.ticket, secret="x")))
    assert list(storage.iterdir()) == []


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("secure")
    certificate, key, _ = make_certificate(folder, "appliance")
    running = Server(folder, certificate, key).start()
    yield running
    running.stop()


@pytest.mark.parametrize("way", ["upload", "download"])
@pytest.mark.parametrize(
    ("pinned", "verify", "works"),
    [
        ("right", True, True),
        ("several", True, True),
        ("wrong", True, False),
        ("none", True, False),
        ("none", False, True),
    ],
)
def test_which_certificate_is_accepted(
    secure: Server, storage: Path, appliance: Path, way: str, pinned: str, verify: bool, works: bool
) -> None:
    assert secure.certificate is not None
    pin = certificate_sha256(secure.certificate.read_bytes())
    pins = {"right": (pin,), "wrong": ("0" * 64,), "none": (), "several": ("0" * 64, pin)}[pinned]
    params = probe(secure, storage, appliance, way, verify=verify)
    if works:
        run(handlers(pins=lambda: pins), f"transfer.probe-{way}", params)
    else:
        with pytest.raises(TransferCertificateError):
            run(handlers(pins=lambda: pins), f"transfer.probe-{way}", params)
    assert list(storage.iterdir()) == []


def test_an_authority_that_is_trusted_vouches_without_a_pin(
    secure: Server, storage: Path, appliance: Path
) -> None:
    params = probe(secure, storage, appliance, "download", verify=True)
    agent = handlers(authorities=secure.certificate, pins=lambda: ("0" * 64,))
    run(agent, "transfer.probe-download", params, task=OTHER_TASK)


def test_an_expired_certificate_is_called_expired(tmp_path: Path, storage: Path, appliance: Path) -> None:
    certificate, key, _ = make_certificate(tmp_path, "old", valid_from_days=-9, valid_days=3)
    running = Server(tmp_path, certificate, key).start()
    try:
        params = probe(running, storage, appliance, "download", verify=True)
        pins = (certificate_sha256(certificate.read_bytes()),)
        agent = handlers(pins=lambda: pins)
        with pytest.raises(TransferCertificateError) as caught:
            run(agent, "transfer.probe-download", params)
        assert "expired" in caught.value.render()
    finally:
        running.stop()


def test_a_pin_that_comes_while_a_transfer_is_under_way(
    secure: Server, storage: Path, appliance: Path
) -> None:
    """The appliance exchanges its certificate: what is pinned then is looked at again."""
    assert secure.certificate is not None
    former, present = "0" * 64, certificate_sha256(secure.certificate.read_bytes())
    looks: list[int] = []

    def pins() -> tuple[str, ...]:
        looks.append(1)
        return (former,) if len(looks) == 1 else (former, present)

    run(
        handlers(pins=pins),
        "transfer.probe-download",
        probe(secure, storage, appliance, "download", verify=True),
    )
    assert len(looks) == 2
