"""What an agent knows of itself and its appliance: `agent.json` in its state folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from sekiso.agent.files import write_private
from sekiso.errors import DamagedInputError, NotFoundError

FILE = "agent.json"
#: Key and client certificate, one after the other.
CERTIFICATE = "agent.pem"
JOURNAL = "journal.db"


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """An agent that is registered.

    Attributes:
        appliance_url: `https://host:port` of the appliance's REST API.
        host: host name or address of the appliance, for link and transfers.
        link_port: TCP port of the link.
        pins: SHA-256 of the appliance's certificates that are accepted, hexadecimal.
        agent_id: the agent.
        name: its name.
        storage: folder where its hypervisor keeps machines that no connector configuration owns.
        hypervisor: which hypervisor it drives.
    """

    appliance_url: str
    host: str
    link_port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    pins: tuple[str, ...]
    agent_id: str
    name: str
    storage: str
    hypervisor: Literal["qemu"] = "qemu"


def load_settings(state: Path) -> AgentSettings:
    """Read `agent.json`.

    Raises:
        NotFoundError: the agent is not registered.
        DamagedInputError: the file is not as it was written.
    """
    path = state / FILE
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(
            what="The registration of this agent", name=path, remedy="Register it: sekiso agent register"
        ) from None
    try:
        return _decoded(raw)
    except msgspec.MsgspecError as error:
        raise DamagedInputError(path=path, offset=0, reason=f"It is no agent.json: {error}") from error


def _decoded(raw: bytes) -> AgentSettings:
    settings = msgspec.json.decode(raw, type=AgentSettings)
    # A name that is written wrongly would go unnoticed otherwise: some values may be left out.
    unknown = msgspec.json.decode(raw, type=dict[str, Any]).keys() - {f.name for f in fields(settings)}
    if unknown:
        raise msgspec.ValidationError(f"Object contains unknown field {min(unknown)!r}")
    return settings


def save_settings(state: Path, settings: AgentSettings) -> None:
    """Write `agent.json`, atomically, readable by the owner only."""
    write_private(state / FILE, msgspec.json.format(msgspec.json.encode(settings)) + b"\n")


def default_agent_state() -> Path:
    """Return where an agent keeps its state unless told otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/sekiso-agent")
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "sekiso-agent"
