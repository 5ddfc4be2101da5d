from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import pytest

from sekiso.hypervisors.qemu.switch import LearningSwitch

A, B, C = (bytes([2, 0, 0, 0, 0, n]) for n in (1, 2, 3))
ALL = b"\xff" * 6


def frame(to: bytes, sender: bytes, text: bytes) -> bytes:
    return to + sender + b"\x08\x00" + text


class Port:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(struct.pack(">I", len(data)) + data)
        await self.writer.drain()

    async def receive(self) -> bytes:
        async with asyncio.timeout(5):
            (length,) = struct.unpack(">I", await self.reader.readexactly(4))
            return await self.reader.readexactly(length)

    async def hears_nothing(self) -> bool:
        try:
            async with asyncio.timeout(0.1):
                return not await self.reader.read(1)
        except TimeoutError:
            return True

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def _story(path: Path) -> None:
    switch = LearningSwitch()
    async with await asyncio.start_unix_server(switch.serve, path):
        one, two, three = [Port(*await asyncio.open_unix_connection(path)) for _ in range(3)]
        await one.send(frame(ALL, A, b"who is B?"))
        assert await two.receive() == await three.receive() == frame(ALL, A, b"who is B?")
        await two.send(frame(A, B, b"me"))
        assert await one.receive() == frame(A, B, b"me")
        assert await three.hears_nothing()
        await one.send(frame(B, A, b"hello"))
        assert await two.receive() == frame(B, A, b"hello")
        # Runts are dropped; a port that claims a giant is cut off; what it had learned is forgotten.
        await one.send(b"runt")
        two.writer.write(struct.pack(">I", 1 << 30))
        assert await two.reader.read() == b""
        await one.send(frame(B, A, b"still there?"))
        assert await three.receive() == frame(B, A, b"still there?")
        assert switch.idle_s == 0
        for port in (one, two, three):
            await port.close()
        while switch.idle_s == 0:
            await asyncio.sleep(0.01)


def test_frames_go_where_they_belong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asyncio.run(_story(Path("switch.sock")))
