"""What only a live agent can tell of a connector configuration (CC-5, CC-7)."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sekiso.agent.contract import (
    ProbeTransferParams,
    SamePlaceParams,
    StorageProbeParams,
)
from sekiso.agent.granting import Granted, TransferAccess
from sekiso.agent.link.errors import AgentUnknownError
from sekiso.connectors.checks import StorageProbe
from sekiso.errors import VerificationError
from sekiso.model.connector import AgentInventory, TransferPolicy
from sekiso.model.storage_path import SamePlaceQuestion
from sekiso.services.agents import AgentService
from sekiso.services.core import Core
from sekiso.transfer.manifest import LeafHasher

_CONTENT_CHARS = 20_000
#: A probe is over in seconds; its grant is revoked then.
_GRANT_VALID_S = 600.0
_OLD_S = 24 * 3600.0


class Probes:
    """Makes the probes of one test; a fresh object for each."""

    def __init__(self, core: Core, agents: AgentService, access: Callable[[], TransferAccess]) -> None:
        """Prepare.

        Args:
            core: what every service works with.
            agents: the agents.
            access: grants for transfers.
        """
        self._core, self._agents, self._access = core, agents, access

    def for_test(self) -> LiveTest:
        """Return the probes of one test."""
        return LiveTest(self._core, self._agents, self._access())


class LiveTest:
    """`connectors.checks.LiveProbes` over the link to agents."""

    def __init__(self, core: Core, agents: AgentService, access: TransferAccess) -> None:
        self._core, self._agents, self._access = core, agents, access
        self._agent_id = ""

    def reach_agent(self, reference: str) -> AgentInventory:
        """See `LiveProbes`; later probes go to this agent."""
        with self._core.db.begin() as work:
            record = work.agents.by_reference(reference)
        self._agent_id = record.id
        return self._agents.ask_inventory(record.id)

    def probe_storage(self, path: str) -> StorageProbe:
        """See `LiveProbes`."""
        found = self._call("storage.probe", StorageProbeParams(path))
        return StorageProbe(found.account, found.free_bytes)

    def probe_same_place(self, question: SamePlaceQuestion) -> bool:
        """See `LiveProbes`."""
        return bool(self._call("storage.probe-same-place", SamePlaceParams(question)).same)

    def probe_transfer_to_agent(self, path: str, policy: TransferPolicy) -> None:
        """See `LiveProbes`."""
        with _ProbeFile(self._core.state) as file:
            file.write()
            granted = self._access.to_agent(
                self._agent_id, file.path, file.manifest, policy, valid_s=_GRANT_VALID_S
            )
            self._probe("transfer.probe-download", path, file, granted)

    def probe_transfer_from_agent(self, path: str, policy: TransferPolicy) -> None:
        """See `LiveProbes`."""
        with _ProbeFile(self._core.state) as file:
            granted = self._access.from_agent(
                self._agent_id, file.path, file.manifest, policy, valid_s=_GRANT_VALID_S
            )
            self._probe("transfer.probe-upload", path, file, granted)
            if not file.arrived():
                raise VerificationError(
                    what="The probe file from the agent",
                    reason="Its content is another one.",
                    remedy="Check what lies between the appliance and the agent.",
                )

    def _probe(self, method: str, path: str, file: _ProbeFile, granted: Granted) -> None:
        params = ProbeTransferParams(
            storage_path=path,
            name=file.path.name,
            content=file.content,
            manifest=file.manifest.to_dict(),
            ticket=granted.ticket,
        )
        try:
            self._call(method, params)
        finally:
            self._access.revoke(granted)

    def _call(self, method: str, params: object) -> Any:
        if not self._agent_id:
            raise AgentUnknownError(agent="")
        return self._core.agents.call(self._agent_id, method, params)


class _ProbeFile:
    """A small file in a folder of its own; both are gone afterwards, whatever happens."""

    def __init__(self, state: Path) -> None:
        folder = state / "scratch" / "probes"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _clear_old(folder)
        self._folder = folder / secrets.token_hex(8)
        self.path = self._folder / f"probe-{self._folder.name}.txt"
        self.content = secrets.token_urlsafe(_CONTENT_CHARS)[:_CONTENT_CHARS]
        hasher = LeafHasher()
        hasher.update(self.content.encode("ascii"))
        self.manifest = hasher.manifest()

    def __enter__(self) -> _ProbeFile:
        self._folder.mkdir(mode=0o700)
        return self

    def __exit__(self, *_: object) -> None:
        # What an upload that was cut off has left lies there too.
        shutil.rmtree(self._folder, ignore_errors=True)

    def write(self) -> None:
        self.path.write_text(self.content, encoding="ascii")

    def arrived(self) -> bool:
        return self.path.is_file() and self.path.read_text(encoding="ascii", errors="replace") == self.content


def _clear_old(folder: Path) -> None:
    """Remove what an appliance has left that was killed in the middle of a probe."""
    for place in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - place.stat().st_mtime > _OLD_S:
                shutil.rmtree(place, ignore_errors=True)
