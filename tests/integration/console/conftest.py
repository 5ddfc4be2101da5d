"""A console over a small world, served for real, and a browser."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from sekiso.agent.pki import load_server_certificate
from sekiso.console.app import Site, create_console
from sekiso.web.app import create_app
from sekiso.web.server import serve
from tests.support.chromium import open_chromium
from tests.unit.web import world as small_world
from tests.unit.web.world import World, fill, make_world


def picture(width: int = 64, height: int = 48) -> bytes:
    """A PNG file that browsers show."""
    rows = b"".join(b"\0" + bytes([20, 80, 160]) * width for _ in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


# Not for the session: while it runs, its thread has an event loop, and other tests could not run theirs.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


class Served:
    """A world that is served.

    Attributes:
        world: the world.
        base: address.
    """

    def __init__(self, state: Path) -> None:
        self.world: World = make_world(state)
        fill(self.world)
        certificate = load_server_certificate(state / "pki-web", ("localhost", "127.0.0.1"))
        self.console = create_console(self.world.services)
        site = Site(create_app(self.world.services), self.console)
        self.server = serve(site, "127.0.0.1", 0, certificate.certificate, certificate.key)
        self.base = f"https://127.0.0.1:{self.server.port}"

    def close(self) -> None:
        self.console.state.live.stop()
        self.server.stop()
        self.world.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    patch = pytest.MonkeyPatch()
    patch.setattr(small_world, "PNG", picture())
    state = tmp_path_factory.mktemp("served")
    made = Served(state)
    yield made
    made.close()
    patch.undo()
