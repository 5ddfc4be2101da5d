"""How guests are run: by KVM where it really works, else by emulation."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from sekiso import process
from sekiso.errors import ToolFailedError, ToolTimeoutError
from sekiso.hypervisors.qemu.storage import read_json, write_json

log = logging.getLogger(__name__)
PROGRAM = "qemu-system-x86_64"
_CANARY_S = 5.0
#: A boot sector: mov dx,0x501 / mov al,0x2a / out dx,al / hlt / jmp $-1; QEMU ends with (0x2a << 1) | 1.
_CANARY = bytes.fromhex("ba0105b02aeef4ebfd").ljust(510, b"\0") + b"\x55\xaa"
_CANARY_STATUS = 0x2A << 1 | 1


def choose(root: Path, *, cpuinfo: Path = Path("/proc/cpuinfo"), kvm: Path = Path("/dev/kvm")) -> str:
    """Return `kvm` or `tcg`; what the canary found is kept at the storage path for this boot of the host.

    /dev/kvm opens on some virtual machines and is then far slower than emulation, or dies; so it is used only
    where the processor has the extension and a tiny guest really ran to its end in five seconds.
    """
    flags = cpuinfo.read_text(errors="replace").split() if cpuinfo.is_file() else []
    if not kvm.exists() or not ({"vmx", "svm"} & set(flags)):
        return "tcg"
    kept, boot = root / "kvm.json", Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = read_json(kept, dict[str, bool]) or {}
    if boot not in known:
        known = {boot: canary("kvm")}
        write_json(kept, known)
    return "kvm" if known[boot] else "tcg"


def canary(accelerator: str) -> bool:
    """Whether a guest of one boot sector runs to its end in time.

    Raises:
        ToolMissingError: QEMU is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="sekiso-canary-") as folder:
        disk = Path(folder) / "canary.img"
        disk.write_bytes(_CANARY.ljust(1 << 20, b"\0"))
        argv = [
            PROGRAM, "-nodefaults", "-no-user-config", "-machine", "pc", "-accel", accelerator, "-m", "32",
            "-display", "none", "-device", "isa-debug-exit,iobase=0x501,iosize=1",
            "-drive", f"file={disk},format=raw,if=ide",
        ]  # fmt: skip
        try:
            process.run(argv, timeout_s=_CANARY_S, ok_statuses=(_CANARY_STATUS,))
        except (ToolFailedError, ToolTimeoutError) as error:
            log.warning("the %s canary failed: %s", accelerator, error)
            return False
    return True


def arguments(accelerator: str) -> list[str]:
    """Return QEMU's arguments for an accelerator."""
    if accelerator == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    # Nehalem is the oldest model that today's distributions run on; newer ones make emulation slower.
    return ["-accel", "tcg,thread=multi", "-cpu", "Nehalem"]
