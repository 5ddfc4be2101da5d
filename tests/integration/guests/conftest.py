"""Debian trees from Debian packages, installed once and kept between runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.guests.disks import run

REPOSITORY = Path(__file__).resolve().parents[3]
MAKE_GUEST = REPOSITORY / "script" / "make-debian-guest"


def make_guest(cache: Path, *options: str | Path) -> str:
    argv = [sys.executable, MAKE_GUEST, "--cache", cache, *options]
    done = subprocess.run([str(a) for a in argv], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def unpacked(cache: Path, folder: Path, *options: str) -> Path:
    archive = make_guest(cache, "--tree-only", "--quiet", *options)
    run("tar", "-C", folder, "--numeric-owner", "--xattrs", "--exclude=./dev/*", "-xf", archive)
    return folder


@pytest.fixture(scope="session")
def tiny_tree(guest_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Debian of essential packages with an init of its own."""
    return unpacked(guest_cache, tmp_path_factory.mktemp("tiny-tree"), "--tiny")


@pytest.fixture(scope="session")
def debian_tree(guest_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Debian with systemd."""
    return unpacked(guest_cache, tmp_path_factory.mktemp("debian-tree"))
