"""The appliance's side of transfers: grants as tickets for agents (TR-4)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sekiso.agent.contract import Ticket
from sekiso.model.connector import TransferPolicy, TransferScheme
from sekiso.transfer.grants import Direction, Grants
from sekiso.transfer.manifest import Manifest

#: A transfer may be under way for so long; the task that uses a grant ends it earlier.
GRANT_VALID_S = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Granted:
    """A grant that was issued.

    Attributes:
        ticket: what the agent gets.
        grant_id: for `TransferAccess.revoke`.
    """

    ticket: Ticket
    grant_id: str


@dataclass(frozen=True)
class TransferAccess:
    """Issues tickets for the appliance's own transfer servers.

    Attributes:
        grants: the grants that the servers read.
        http_port: TCP port of the server without TLS.
        https_port: TCP port of the server with TLS.
    """

    grants: Grants
    http_port: int
    https_port: int

    def to_agent(
        self,
        agent_id: str,
        path: Path,
        manifest: Manifest,
        policy: TransferPolicy,
        *,
        key: str | None = None,
        valid_s: float = GRANT_VALID_S,
    ) -> Granted:
        """Let an agent fetch a file.

        Args:
            agent_id: the agent.
            path: the file.
            manifest: what it holds.
            policy: HTTP or HTTPS, verified or not.
            key: see `Grants.issue`.
            valid_s: for how long, in seconds.
        """
        return self._issue(agent_id, Direction.DOWNLOAD, path, manifest, policy, key, valid_s)

    def from_agent(
        self,
        agent_id: str,
        path: Path,
        manifest: Manifest,
        policy: TransferPolicy,
        *,
        key: str | None = None,
        valid_s: float = GRANT_VALID_S,
    ) -> Granted:
        """Let an agent send a file; `path` is its final name here. Arguments as for `to_agent`."""
        return self._issue(agent_id, Direction.UPLOAD, path, manifest, policy, key, valid_s)

    def revoke(self, granted: Granted) -> None:
        """End a grant now."""
        self.grants.revoke(granted.grant_id)

    def _issue(
        self,
        agent_id: str,
        direction: Direction,
        path: Path,
        manifest: Manifest,
        policy: TransferPolicy,
        key: str | None,
        valid_s: float,
    ) -> Granted:
        issued = self.grants.issue(
            principal=agent_id,
            direction=direction,
            path=path,
            valid_s=valid_s,
            manifest=manifest,
            key=key,
        )
        https = policy.scheme is TransferScheme.HTTPS
        ticket = Ticket(
            path=issued.url_path(),
            port=self.https_port if https else self.http_port,
            https=https,
            verify=policy.verify,
            secret=issued.secret,
        )
        return Granted(ticket, issued.grant.id)
