"""UEFI firmware for generation 2, and variable stores that trust what Hyper-V's Secure Boot templates trust.

The key stores are made by the program `virt-fw-vars`, run as a program of its own (it is GPL-2.0).
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from sekiso import process
from sekiso.errors import ToolMissingError
from sekiso.hypervisors.facts import MachineSpec
from sekiso.hypervisors.qemu.storage import file_lock
from sekiso.model.machine import SecureBootTemplate

#: Where Debian's package `ovmf` puts its files.
_FOLDER = Path("/usr/share/OVMF")
CODE = _FOLDER / "OVMF_CODE_4M.fd"
CODE_SECURE = _FOLDER / "OVMF_CODE_4M.ms.fd"
VARIABLES = _FOLDER / "OVMF_VARS_4M.fd"

#: Arguments of virt-fw-vars per template. Source: Hyper-V's "Microsoft Windows" trusts the certificates that
#: sign Windows only; "Microsoft UEFI Certificate Authority" those that sign other vendors' loaders only.
_KEYS = {
    SecureBootTemplate.MICROSOFT_WINDOWS: "win11",
    SecureBootTemplate.MICROSOFT_UEFI_CA: "uefi11",
}


def require_firmware(*, secure: bool) -> Path:
    """Return the firmware's code file.

    Raises:
        ToolMissingError: the firmware is not installed.
    """
    code = CODE_SECURE if secure else CODE
    for path in (code, VARIABLES):
        if not path.is_file():
            raise ToolMissingError(tool=path.name, package="ovmf")
    return code


def available() -> bool:
    """Whether machines of generation 2 with Secure Boot can be made here."""
    return CODE_SECURE.is_file() and VARIABLES.is_file() and _tool() is not None


def make_nvram(spec: MachineSpec, target: Path, cache: Path) -> None:
    """Write a machine's own variable store.

    Args:
        spec: a machine of generation 2.
        target: the file to write.
        cache: folder in which the store of each template is kept.

    Raises:
        ToolMissingError: the firmware or virt-fw-vars is not installed.
        ToolFailedError: the store could not be made.
    """
    require_firmware(secure=spec.secure_boot)
    source = _template_store(spec.secure_boot_template, cache) if spec.secure_boot else VARIABLES
    shutil.copyfile(source, target)


def _template_store(template: SecureBootTemplate, cache: Path) -> Path:
    store = cache / f"{template.value}-{_KEYS[template]}.fd"
    cache.mkdir(parents=True, exist_ok=True)
    with file_lock(cache / "lock"):
        # A newer firmware package may lay its variables out anew.
        if not store.is_file() or store.stat().st_mtime < VARIABLES.stat().st_mtime:
            _enroll(template, store)
    return store


def _enroll(template: SecureBootTemplate, store: Path) -> None:
    tool = _tool()
    if tool is None:
        raise ToolMissingError(tool="virt-fw-vars", package="python3-virt-firmware")
    fresh = store.with_suffix(f".{os.getpid()}.new")
    keys = ["--enroll-microsoft", "--microsoft-db", _KEYS[template], "--microsoft-kek", "all", "--sb"]
    process.run([tool, "-l", "ERROR", "-i", VARIABLES, "-o", fresh, *keys], timeout_s=120)
    fresh.replace(store)


def _tool() -> Path | None:
    beside = Path(sys.executable).parent / "virt-fw-vars"
    if beside.is_file():
        return beside
    found = shutil.which("virt-fw-vars")
    return Path(found) if found else None
