"""Fetches packages with all they depend on for a guest, without touching the host's apt."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

MIRROR = "http://deb.debian.org/debian"


def fetch(release: str, status: bytes, packages: Sequence[str], folder: Path) -> list[Path]:
    """Download packages and what the guest lacks for them.

    Args:
        release: release of the guest.
        status: the guest's dpkg status: what it has already.
        packages: packages wanted.
        folder: keeps lists and packages between runs.

    Returns:
        The package files.
    """
    key = hashlib.sha256(b"\0".join([status, release.encode(), *(p.encode() for p in packages)])).hexdigest()[
        :16
    ]
    done = folder / f"debs-{'-'.join(packages)}-{key}"
    if not done.is_dir():
        partial = done.with_suffix(".part")
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "partial").mkdir(parents=True)
        _download(release, status, packages, folder, partial)
        shutil.rmtree(partial / "partial")
        partial.rename(done)
    return sorted(done.glob("*.deb"))


def _download(release: str, status: bytes, packages: Sequence[str], folder: Path, archives: Path) -> None:
    state = folder / f"apt-{release}"
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (state / "status").write_bytes(status)
    (state / "sources.list").write_text(
        "".join(
            f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {MIRROR} {suite} main\n"
            for suite in (release, f"{release}-updates")
        )
    )
    options = {
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferencesparts": "-",
        "Dir::Cache": state,
        "Dir::Cache::archives": archives,
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "true",
    }
    apt = ["apt-get", "-q", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    subprocess.run([*apt, "update"], check=True, stdout=subprocess.DEVNULL)
    install = ["install", "--download-only", "--no-install-recommends", "--yes", *packages]
    subprocess.run([*apt, *install], check=True, stdout=subprocess.DEVNULL)
