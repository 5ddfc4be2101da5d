"""Settings of an appliance."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

API_PORT = 8443
LINK_PORT = 8444
TRANSFER_HTTP_PORT = 8021
TRANSFER_HTTPS_PORT = 8022


@dataclass(frozen=True, slots=True)
class ApplianceSettings:
    """How an appliance runs. Ports of 0 are chosen by the system.

    Attributes:
        state: folder of all that it keeps.
        host: address that everything listens at; loopback unless told otherwise.
        names: host names and addresses in its own certificate.
        api_port: TCP port of REST API and console (HTTPS).
        link_port: TCP port that agents connect to (mutual TLS).
        transfer_http_port: TCP port for transfers without TLS (CC-8).
        transfer_https_port: TCP port for transfers with TLS.
        database_url: database; None = SQLite in the state folder. It may hold a password.
        worker: name of this worker; several with one database need names of their own.
        lane_tasks: how many tasks of one connector configuration run at once.
    """

    state: Path
    host: str = "127.0.0.1"
    names: tuple[str, ...] = ("localhost", "127.0.0.1")
    api_port: int = API_PORT
    link_port: int = LINK_PORT
    transfer_http_port: int = TRANSFER_HTTP_PORT
    transfer_https_port: int = TRANSFER_HTTPS_PORT
    database_url: str | None = field(default=None, repr=False)
    worker: str = "appliance"
    lane_tasks: int = 2

    @property
    def database(self) -> str:
        """Return the URL of the database."""
        return self.database_url or f"sqlite:///{self.state / 'sekiso.db'}"

    @property
    def log_folder(self) -> Path:
        """Return where its log files lie."""
        return self.state / "log"

    @property
    def task_database(self) -> str:
        """Return the URL of the task engine's own database."""
        if self.database_url is not None:
            return self.database_url
        return f"sqlite:///{self.state / 'tasks.db'}"


def default_state() -> Path:
    """Return where an appliance keeps its state unless told otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/sekiso")
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "sekiso"


def default_names(host: str) -> tuple[str, ...]:
    """Return the names that an appliance's own certificate has unless told otherwise."""
    own = [socket.gethostname(), socket.getfqdn()] if host not in ("127.0.0.1", "::1", "localhost") else []
    listened = [] if host in ("0.0.0.0", "::") else [host]  # noqa: S104 (compared, not listened at)
    return tuple(dict.fromkeys(["localhost", "127.0.0.1", *listened, *own]))
