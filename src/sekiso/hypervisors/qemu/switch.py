"""A private switch: a small learning Ethernet switch on a Unix socket, without privileges.

Run as a program: `python -m sekiso.hypervisors.qemu.switch FOLDER NAME`. QEMU's network backend `stream`
sends each frame behind its length in four bytes, big-endian. The process ends by itself when no machine has
been connected for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from sekiso import process
from sekiso.hypervisors.errors import HypervisorError
from sekiso.hypervisors.qemu.qmp import connect_socket

_IDLE_S = 30.0
_MAX_FRAME_BYTES = 1 << 17
#: A port that does not take its frames loses them, as on a real switch.
_MAX_QUEUE_BYTES = 1 << 20
_MAX_ADDRESSES = 4096


class LearningSwitch:
    """Forwards frames between ports; remembers behind which port an address was seen."""

    def __init__(self) -> None:
        self._ports: set[asyncio.StreamWriter] = set()
        self._seen: dict[bytes, asyncio.StreamWriter] = {}
        self.idle_since = time.monotonic()

    @property
    def idle_s(self) -> float:
        """Seconds without any port."""
        return 0.0 if self._ports else time.monotonic() - self.idle_since

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry the frames of one port until it closes."""
        self._ports.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = struct.unpack(">I", await reader.readexactly(4))
                if length > _MAX_FRAME_BYTES:
                    break
                self.forward(writer, await reader.readexactly(length))
        self._ports.discard(writer)
        self._seen = {k: v for k, v in self._seen.items() if v is not writer}
        self.idle_since = time.monotonic()
        writer.close()

    def forward(self, source: asyncio.StreamWriter, frame: bytes) -> None:
        """Send a frame where it belongs: to the port of its receiver, or to all others."""
        if len(frame) < 14:
            return
        receiver, sender = frame[:6], frame[6:12]
        if len(self._seen) < _MAX_ADDRESSES or sender in self._seen:
            self._seen[sender] = source
        known = None if receiver[0] & 1 else self._seen.get(receiver)
        targets = self._ports - {source} if known is None else {known} - {source}
        for port in targets:
            if port.transport.get_write_buffer_size() < _MAX_QUEUE_BYTES:
                port.write(struct.pack(">I", len(frame)) + frame)


async def run(name: str) -> None:
    """Serve the socket `name` in the current folder until nobody needs it any more."""
    switch = LearningSwitch()
    server = await asyncio.start_unix_server(switch.serve, name)
    async with server:
        while switch.idle_s < _IDLE_S:
            await asyncio.sleep(1)
        Path(name).unlink(missing_ok=True)


def connect(folder: Path, name: str) -> socket.socket:
    """Return a cable to the private switch `name`, starting the switch if need be.

    Args:
        folder: where the sockets of switches lie.
        name: a plain file name.

    Raises:
        HypervisorError: the switch did not come up.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline = time.monotonic() + 20
    started = False
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            cable = connect_socket(folder, name)
            cable.settimeout(None)
            return cable
        if not started:
            _spawn(folder, name)
            started = True
        time.sleep(0.05)
    raise HypervisorError(machine=name, operation="start the switch", reason="It did not answer in time.")


def _spawn(folder: Path, name: str) -> None:

    (folder / name).unlink(missing_ok=True)
    null = subprocess.DEVNULL
    argv = [sys.executable, "-m", "sekiso.hypervisors.qemu.switch", str(folder), name]
    child = process.spawn(argv, stdout=null, stderr=null, detached=True)
    threading.Thread(target=child.wait, daemon=True).start()


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    asyncio.run(run(sys.argv[2]))
