"""Real exchanges of a Windows client with IIS, cut into messages."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.conftest import SHARED

TRANSCRIPTS = SHARED / "data/mc-bup-wire-transcripts.txt"


@dataclass(frozen=True)
class Message:
    title: str
    start: str
    headers: list[tuple[bytes, bytes]]

    @property
    def fields(self) -> dict[str, str]:
        return {name.decode().lower(): value.decode() for name, value in self.headers}

    def raw(self, changes: dict[str, str] | None = None, path: str | None = None) -> bytes:
        """The message as bytes; header values replaced by lower-case name."""
        start = self.start if path is None else re.sub(r" \S+ ", lambda _: f" {path} ", self.start, count=1)
        lines = [start.encode()]
        lines += [
            n + b": " + (changes or {}).get(n.decode().lower(), v.decode()).encode() for n, v in self.headers
        ]
        return b"\r\n".join(lines) + b"\r\n\r\n"


def messages() -> list[Message]:
    if not TRANSCRIPTS.exists():
        pytest.skip("the folder with the shared data is not beside the repository")
    found: list[Message] = []
    for block in re.split(r"^### ", TRANSCRIPTS.read_text(), flags=re.MULTILINE)[1:]:
        title, _, text = block.partition("\n")
        lines = text.strip("\n").split("\n")
        if "HTTP/1.1" in lines[0]:
            pairs = [line.partition(": ")[::2] for line in lines[1:]]
            headers = [(a.encode(), b.encode()) for a, b in pairs]
            found.append(Message(title.rstrip(":"), lines[0], headers))
    return found


def uploads() -> list[tuple[Message, Message]]:
    """Each request of the upload protocol with its answer."""
    every = [m for m in messages() if "otification" not in m.title and "igher-layer" not in m.title]
    return list(zip(every[::2], every[1::2], strict=True))
