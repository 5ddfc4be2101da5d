"""How the screen of a packaging machine is shown: here, or by a program of its hypervisor (LY-2)."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from sekiso.errors import Family, SekisoError

#: Port of Hyper-V's service for the screens of its machines.
_PORT = 2179
_NOT_IN_HOST = re.compile(r"[^0-9A-Za-z.:_-]")
_NOT_IN_ID = re.compile(r"[^0-9A-Za-z-]")
_NOT_IN_FILE_NAME = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')


class ScreenKind(enum.StrEnum):
    """How a screen is shown."""

    RFB = "rfb"
    """Here: it speaks RFB (VNC)."""
    VMCONNECT = "vmconnect"
    """By a file that opens it on the Hyper-V server."""


@dataclass(frozen=True, slots=True)
class MachineScreen:
    """How the screen of a packaging machine is shown.

    Attributes:
        kind: `rfb`: by a WebSocket at the address of this answer; `vmconnect`: by a file to be opened.
    """

    kind: ScreenKind


class ScreenFileAbsentError(SekisoError):
    """No file opens the screens of this hypervisor. Params: hypervisor."""

    code = "screen.no-file"
    family = Family.UNSUPPORTED
    brief = "There is no file that opens this screen."
    why = "The screens of machines under {hypervisor} are shown in the browser."
    resolution = "Open it on the page of the packaging machine."


def screen_kind(hypervisor: str) -> ScreenKind:
    """Return how screens are shown under a hypervisor, named as in an agent's inventory."""
    return ScreenKind.RFB if hypervisor == "QEMU" else ScreenKind.VMCONNECT


def rdp_file(host: str, machine_id: str) -> bytes:
    """Return a file for Windows' Remote Desktop Connection that opens a machine's screen on a Hyper-V server.

    Source: Microsoft, Azure Stack Edge, "Connect to the virtual machine console", with the same settings:
    the machine is named before the connection begins, without the enhanced session, which needs a guest that
    has started. What an agent reports must not become a setting of its own.

    Args:
        host: the server.
        machine_id: identifier of the machine.
    """
    lines = (
        f"full address:s:{_NOT_IN_HOST.sub('', host)}",
        f"server port:i:{_PORT}",
        f"pcb:s:{_NOT_IN_ID.sub('', machine_id)};EnhancedMode=0",
        "negotiate security layer:i:0",
    )
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def file_name(machine_name: str) -> str:
    """Return the name of the file for a machine."""
    return (_NOT_IN_FILE_NAME.sub("_", machine_name).strip(" .")[:100] or "screen") + ".rdp"
