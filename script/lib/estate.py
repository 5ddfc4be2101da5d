"""An appliance and a QEMU agent as processes of their own on this machine, driven by `sekiso` alone.

The demonstration and the acceptance tests use it. Everything lies in one folder and listens on loopback.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_START_S = 90.0
_COMMAND = (sys.executable, "-c", "from sekiso.cli.main import main; main()")


class EstateError(Exception):
    """A command failed, or a process did not start."""


@dataclass
class Estate:
    """An appliance, an agent, and a user who is logged in.

    Attributes:
        folder: where everything lies.
        say: is told each command.
        environment: more variables for both processes.
        appliance_options: more options of the appliance.
    """

    folder: Path
    say: Callable[[str], None] = lambda _: None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    appliance_options: Sequence[object] = ()
    ports: dict[str, int] = field(default_factory=dict[str, int])
    processes: dict[str, subprocess.Popen[bytes]] = field(
        default_factory=dict[str, "subprocess.Popen[bytes]"]
    )

    @property
    def appliance_state(self) -> Path:
        return self.folder / "appliance"

    @property
    def machines(self) -> Path:
        """Where the agent's hypervisor keeps machines that no connector configuration owns."""
        return self.folder / "machines"

    @property
    def storage(self) -> Path:
        """A storage path for connector configurations."""
        return self.folder / "storage"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.ports['api']}"

    def password(self) -> str:
        return (self.folder / "password").read_text().strip()

    def variables(self) -> dict[str, str]:
        own = {"SEKISO_PROFILE": str(self.folder / "profile.json"), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        return {**os.environ, **own, **self.environment}

    def run(self, *arguments: object, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a `sekiso` command."""
        words = [str(a) for a in arguments]
        self.say("sekiso " + " ".join(words))
        done = subprocess.run(
            [*_COMMAND, *words],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**self.variables(), **more},
        )
        if check and done.returncode:
            raise EstateError(
                f"sekiso {' '.join(words)} ended with status {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done

    def json(self, *arguments: object) -> Any:
        """Run a `sekiso` command with --json and return what it printed."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def start(self) -> None:
        """Start the appliance, log in, register the agent and start it."""
        self.write_password()
        self.start_appliance()
        self.log_in()
        if not (self.folder / "agent" / "agent.json").exists():
            self.register_agent()
        self.start_agent()

    def fingerprint(self) -> str:
        """Return the SHA-256 fingerprint of the appliance's certificate."""
        return self.json("appliance", "fingerprint", "--state", self.appliance_state)["fingerprint"]

    def log_in(self) -> None:
        """Log the command line in as the first administrator."""
        self.run(
            *("login", self.url, "--user", "admin", "--password-file", self.folder / "password"),
            *("--fingerprint", self.fingerprint()),
        )

    def write_password(self) -> None:
        """Choose the first administrator's password."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "password").exists():
            _write_private(self.folder / "password", secrets.token_urlsafe(18))

    def start_appliance(self) -> None:
        for name in ("api", "link", "http", "https"):
            self.ports.setdefault(name, _free_port())
        self._spawn(
            "appliance",
            *(
                "appliance",
                "run",
                "--state",
                self.appliance_state,
                "--password-file",
                self.folder / "password",
            ),
            *("--api-port", self.ports["api"], "--link-port", self.ports["link"]),
            *("--transfer-http-port", self.ports["http"], "--transfer-https-port", self.ports["https"]),
            *self.appliance_options,
        )
        self._wait("appliance", lambda: _listens(self.ports["api"]))

    def register_agent(self) -> None:
        token = self.folder / "token"
        _write_private(token, self.json("agent", "token")["token"])
        self.run(
            *("agent", "register", "--appliance", self.url, "--token-file", token, "--name", "host1"),
            *("--state", self.folder / "agent", "--storage", self.machines),
        )
        token.unlink()

    def spawn_agent(self) -> None:
        self._spawn("agent", "agent", "run", "--state", self.folder / "agent")

    def start_agent(self) -> None:
        self.spawn_agent()
        self._wait("agent", lambda: any(a["online"] for a in self.json("agent", "list")["agents"]))

    def kill(self, name: str) -> None:
        """Kill a process as a power cut would."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self, name: str) -> None:
        """End a process politely."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=30.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End both processes."""
        for name in ("agent", "appliance"):
            self.stop(name)

    def log(self, name: str) -> str:
        """Return the end of a process's log."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""

    def _spawn(self, name: str, *arguments: object) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*_COMMAND, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.variables(),
                start_new_session=True,
            )

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_S
        while not ready():
            if self.processes[name].poll() is not None or time.monotonic() > deadline:
                raise EstateError(f"the {name} did not start:\n{self.log(name)}")
            time.sleep(0.2)


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
