"""A configuration tested with a real agent's handlers and real transfer servers (CC-5, CC-7 … CC-9)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sekiso import __version__
from sekiso.agent.handlers.dispatcher import Handlers
from sekiso.agent.handlers.settings import HandlerSettings
from sekiso.connectors.checks import CheckResult, CheckStatus
from sekiso.hypervisors.memory import MemoryDriver
from sekiso.i18n import translate
from sekiso.transfer.client import Patience
from sekiso.transfer.grants import FolderGrantStore
from sekiso.transfer.trust import certificate_sha256

from ...support.appliance import ADMIN, Appliance, open_appliance
from ..transfer.rig import CuttingProxy, Server, make_certificate

PASSED, FAILED, SKIPPED = CheckStatus
TRANSFERS = ("transfer-to-agent", "transfer-from-agent")
QUICK = Patience(attempts=2, first_delay_s=0.05, longest_delay_s=0.1)


@dataclass
class Servers:
    """Transfer servers without and with TLS over the same grants."""

    folder: Path
    http: Server
    https: Server
    pin: str


@contextmanager
def serving(folder: Path, **certificate: Any) -> Iterator[Servers]:
    chain, key, _ = make_certificate(folder, "appliance", **certificate)
    places = [folder / name for name in ("http", "https")]
    for place in places:
        (place / "state").mkdir(parents=True)
    grants = places[0] / "state" / "grants"
    grants.mkdir(mode=0o700)
    (places[1] / "state" / "grants").symlink_to(grants)
    with ExitStack() as stack:
        http, https = Server(places[0]), Server(places[1], chain, key)
        for server in (http, https):
            stack.callback(server.stop)
            server.start()
        yield Servers(grants, http, https, certificate_sha256(chain.read_bytes()))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with serving(tmp_path_factory.mktemp("servers")) as found:
        yield found


@dataclass
class Site:
    """An appliance with one agent that is at work."""

    appliance: Appliance
    storage: Path

    def rows(self, **changed: Any) -> dict[str, CheckResult]:
        values = {
            "name": "Production",
            "agent": "qemu01",
            "storage_path": str(self.storage),
            "network": "Isolated",
            **changed,
        }
        return {row.code: row for row in self.appliance.configurations.test(ADMIN, "hyperv", values)}

    def use_https(self, *, ignore: bool) -> None:
        values = {"useHttpsFileTransfer": True, "ignoreCertificateErrors": ignore}
        self.appliance.settings.set(ADMIN, "hyperv", values)
        self.appliance.settings.restart(ADMIN, "hyperv")

    def left_behind(self) -> list[str]:
        """What a test has left on either side."""
        probes = self.appliance.state / "scratch" / "probes"
        found = [*self.storage.rglob("*"), *probes.rglob("*")]
        return [*self.appliance.grant_store.ids(), *(str(p) for p in found if not p.is_dir())]


@contextmanager
def site(
    folder: Path, servers: Servers, *, pins: tuple[str, ...] = (), http_port: int | None = None
) -> Iterator[Site]:
    settings = HandlerSettings(
        MemoryDriver, "127.0.0.1", pins=lambda: pins, agent_version=__version__, patience=QUICK
    )
    ports = {"http_port": http_port or servers.http.port, "https_port": servers.https.port}
    with open_appliance(folder / "state", store=FolderGrantStore(servers.folder), **ports) as appliance:
        appliance.add_agent("qemu01", inventory=None, dispatcher=Handlers(settings))
        yield Site(appliance, folder / "storage")


def test_over_http(tmp_path: Path, servers: Servers) -> None:
    with site(tmp_path, servers) as found:
        rows = found.rows()
        assert {rows[code].status for code in (*TRANSFERS, "storage-probe", "agent-version")} == {PASSED}
        assert rows["transfer-to-agent"].detail == "The file arrived over HTTP, which does not encrypt it."
        assert found.left_behind() == []
        # The folder was made, and belongs to the agent.
        assert found.storage.is_dir()


def test_over_https_with_certificate_errors_ignored(tmp_path: Path, servers: Servers) -> None:
    with site(tmp_path, servers) as found:
        found.use_https(ignore=True)
        rows = found.rows()
        assert [rows[code].detail for code in TRANSFERS] == [
            "The file arrived over HTTPS; certificate errors are ignored."
        ] * 2
        assert found.left_behind() == []


def test_over_https_with_the_pinned_certificate_verified(tmp_path: Path, servers: Servers) -> None:
    with site(tmp_path, servers, pins=(servers.pin,)) as found:
        found.use_https(ignore=False)
        rows = found.rows()
        assert [rows[code].detail for code in TRANSFERS] == [
            "The file arrived over HTTPS, and the certificate was verified."
        ] * 2
        assert found.left_behind() == []


def check_refused(found: Site, reason: str) -> None:
    rows = found.rows()
    for code in TRANSFERS:
        row = rows[code]
        assert row.status is FAILED
        assert "The certificate authority is invalid or incorrect." in row.detail
        assert "An error occurred while processing the remote file." in row.detail
        assert reason in row.detail
        assert "ignoreCertificateErrors" in row.what_to_do
    assert rows["storage-probe"].status is PASSED
    assert found.left_behind() == []


def test_a_certificate_that_is_not_trusted_fails_both_ways(tmp_path: Path, servers: Servers) -> None:
    with site(tmp_path, servers) as found:
        found.use_https(ignore=False)
        check_refused(found, "")


def test_a_certificate_that_has_expired_fails_both_ways(tmp_path: Path) -> None:
    with (
        serving(tmp_path, valid_from_days=-9, valid_days=3) as old,
        site(tmp_path, old, pins=(old.pin,)) as found,
    ):
        found.use_https(ignore=False)
        check_refused(found, "expired")
        # The same certificate does no harm where errors are ignored.
        found.use_https(ignore=True)
        assert {found.rows()[code].status for code in TRANSFERS} == {PASSED}


def test_a_refused_certificate_is_said_in_japanese_too(tmp_path: Path, servers: Servers) -> None:
    with site(tmp_path, servers) as found:
        found.use_https(ignore=False)
        detail = found.rows()["transfer-to-agent"].detail
    shown = "\n".join(translate(line, "ja") for line in detail.split("\n"))
    assert "証明" in shown


def test_servers_that_are_not_there(tmp_path: Path, servers: Servers) -> None:
    with site(tmp_path, servers, http_port=1) as found:
        rows = found.rows()
        for code in TRANSFERS:
            assert rows[code].status is FAILED
            assert rows[code].detail
            assert rows[code].what_to_do
        assert found.left_behind() == []


def test_a_connection_that_keeps_breaking_leaves_nothing(tmp_path: Path, servers: Servers) -> None:
    proxy = CuttingProxy(servers.http.port, iter([60] * 1000))
    try:
        with site(tmp_path, servers, http_port=proxy.port) as found:
            rows = found.rows()
            assert {rows[code].status for code in TRANSFERS} == {FAILED}
            assert found.left_behind() == []
    finally:
        proxy.close()


def test_two_paths_of_one_folder_and_of_two(tmp_path: Path, servers: Servers) -> None:
    with site(tmp_path, servers) as found:
        # A POSIX host has no UNC paths: the rules say so before anything is probed.
        row = found.rows(storage_unc_path=r"\\hv01\vms")
        assert row["storage-path"].status is FAILED
        assert row["storage-probe"].status is SKIPPED
        assert found.left_behind() == []


def test_a_storage_path_that_cannot_be_used(tmp_path: Path, servers: Servers) -> None:
    (tmp_path / "file").write_text("in the way")
    with site(tmp_path, servers) as found:
        rows = found.rows(storage_path=str(tmp_path / "file" / "vms"))
        assert rows["storage-probe"].status is FAILED
        assert rows["storage-probe"].what_to_do
        assert {rows[code].status for code in TRANSFERS} == {SKIPPED}
        assert found.left_behind() == []
    assert (tmp_path / "file").read_text() == "in the way"


def test_saved_with_what_the_host_reports(tmp_path: Path, servers: Servers) -> None:
    with site(tmp_path, servers) as found:
        view = found.appliance.configurations.create(
            ADMIN,
            "hyperv",
            {
                "name": "Local",
                "agent": "qemu01",
                "storage_path": str(found.storage),
                "network": "isolated",
                "cpus": 1,
                "memory_mb": 512,
                "offload": True,
                "generation": 2,
                "disk_format": "vhdx",
            },
        )
        assert (view.firmware, view.violations) == ("uefi", ())
        inventory = found.appliance.agents.inventory("qemu01")
        assert inventory is not None
        assert inventory.agent_version == __version__
        assert found.appliance.cache.show("Local").disks == ()
        assert found.appliance.cache.clear(ADMIN, "Local").file_bytes == 0
