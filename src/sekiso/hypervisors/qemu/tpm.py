"""TPM 2.0 of a machine: a swtpm process beside QEMU that ends with it."""

from __future__ import annotations

import shutil
from pathlib import Path

from sekiso import process
from sekiso.hypervisors.qemu import procs


def available() -> bool:
    """Whether swtpm is installed."""
    return shutil.which("swtpm") is not None


def start(folder: Path) -> None:
    """Start the TPM of the machine in `folder`; one that was left over is ended first.

    Raises:
        ToolMissingError: swtpm is not installed.
        ToolFailedError: it did not start.
    """
    stop(folder)
    (folder / "tpm").mkdir(mode=0o700, exist_ok=True)
    argv = [
        "swtpm",
        "socket",
        "--tpm2",
        "--tpmstate",
        f"dir={folder / 'tpm'}",
        "--ctrl",
        "type=unixio,path=tpm.sock",
    ]
    argv += ["--terminate", "--daemon", "--pid", f"file={folder / 'tpm.pid'}"]
    process.run(argv, cwd=folder, timeout_s=30)


def stop(folder: Path) -> None:
    """End the TPM of a machine whose QEMU is gone."""
    procs.kill(folder / "tpm.pid")
