"""What only a live agent can tell of a connector configuration (CC-5, CC-7)."""

from __future__ import annotations

import secrets
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
from sekiso.transfer.manifest import Manifest, hash_file

_CONTENT_CHARS = 20_000


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
            granted = self._access.to_agent(self._agent_id, file.path, file.manifest(), policy)
            self._probe("transfer.probe-download", path, file, granted)

    def probe_transfer_from_agent(self, path: str, policy: TransferPolicy) -> None:
        """See `LiveProbes`."""
        with _ProbeFile(self._core.state) as file:
            file.write()
            manifest = file.manifest()
            file.path.unlink()
            granted = self._access.from_agent(self._agent_id, file.path, manifest, policy)
            self._probe("transfer.probe-upload", path, file, granted)
            if not file.arrived():
                raise VerificationError(
                    what="The probe file from the agent",
                    reason="Its content is another one.",
                    remedy="Check what lies between the appliance and the agent.",
                )

    def _probe(self, method: str, path: str, file: _ProbeFile, granted: Granted) -> None:
        try:
            params = ProbeTransferParams(
                storage_path=path,
                name=file.path.name,
                content=file.content,
                manifest=file.known.to_dict() if file.known is not None else {},
                ticket=granted.ticket,
            )
            self._call(method, params)
        finally:
            self._access.revoke(granted)

    def _call(self, method: str, params: object) -> Any:
        if not self._agent_id:
            raise AgentUnknownError(agent="")
        return self._core.agents.call(self._agent_id, method, params)


class _ProbeFile:
    """A small file that is gone afterwards, whatever happens."""

    def __init__(self, state: Path) -> None:
        folder = state / "scratch" / "probes"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = folder / f"probe-{secrets.token_hex(8)}.txt"
        self.content = secrets.token_urlsafe(_CONTENT_CHARS)[:_CONTENT_CHARS]
        self.known: Manifest | None = None

    def __enter__(self) -> _ProbeFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    def write(self) -> None:
        self.path.write_text(self.content, encoding="ascii")

    def manifest(self) -> Manifest:
        self.known = hash_file(self.path)
        return self.known

    def arrived(self) -> bool:
        return self.path.is_file() and self.path.read_text(encoding="ascii", errors="replace") == self.content
