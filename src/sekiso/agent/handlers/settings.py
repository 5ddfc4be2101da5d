"""What the handlers of an agent are told once, when the agent starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sekiso.hypervisors.base import HypervisorDriver
from sekiso.transfer.client import Patience


@dataclass(frozen=True, slots=True)
class HandlerSettings:
    """Settings of `Handlers`.

    Attributes:
        driver: makes the driver of the host's hypervisor; called once, when it is first needed.
        transfer_host: host name or address of the appliance, for transfers.
        pins: tells the SHA-256 of the appliance's certificates that are pinned now, hexadecimal; may be none.
        agent_version: version of the agent.
        authorities: PEM file of authorities for verified transfers without a pin; None = those of the system.
        patience: how broken transfers are tried again.
    """

    driver: Callable[[], HypervisorDriver]
    transfer_host: str
    pins: Callable[[], Sequence[str]] = tuple
    agent_version: str = ""
    authorities: Path | None = None
    patience: Patience = field(default_factory=Patience)
