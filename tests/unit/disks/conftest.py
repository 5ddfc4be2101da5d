from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit tests cannot cut the power; flushing only makes them slow on a busy machine."""
    monkeypatch.setattr(os, "fsync", lambda _fd: None)
