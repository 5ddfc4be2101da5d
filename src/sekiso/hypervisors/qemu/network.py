"""Switches of the host, and the cables from a machine's adapters to them.

A bridge of the host is a switch too: EXTERNAL when a network card is on it, else INTERNAL. Plugging into one
takes the right to administer networks, so bridges are offered to root only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Generator
from hashlib import sha256
from pathlib import Path

from sekiso.errors import RuleError
from sekiso.hypervisors.errors import HypervisorError, NameTakenError
from sekiso.hypervisors.facts import MachineSpec, SwitchFacts, SwitchKind
from sekiso.hypervisors.qemu import switch
from sekiso.hypervisors.qemu.storage import Storage

#: Switches that are always there. "Default Switch" reaches the host's own loopback and is therefore never for
#: packaging machines; "Isolated" gives an address and drops everything that leaves the guest.
BUILT_IN_SWITCHES = (
    SwitchFacts("Default Switch", SwitchKind.DEFAULT, reaches_host=True),
    SwitchFacts("Isolated", SwitchKind.ISOLATED, reaches_host=False),
    SwitchFacts("Private", SwitchKind.PRIVATE, reaches_host=False),
)
_INTERFACES = Path("/sys/class/net")
# Source: Linux, include/uapi/linux/if_tun.h, sockios.h, if.h.
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCBRADDIF, _IFF_UP = 0x8913, 0x8914, 0x89A2, 0x1


def list_switches(storage: Storage) -> tuple[SwitchFacts, ...]:
    """Return the built-in switches, those added at the storage path, and the host's bridges."""
    own = (*BUILT_IN_SWITCHES, *storage.switches())
    names = {s.name for s in own}
    bridges = (b for b in _bridges() if b.name not in names)
    return tuple(sorted((*own, *bridges), key=lambda s: s.name))


def add_switch(storage: Storage, name: str, kind: SwitchKind) -> SwitchFacts:
    """Define a further private or isolated switch; see `QemuDriver.add_switch`."""
    if kind not in (SwitchKind.PRIVATE, SwitchKind.ISOLATED):
        raise RuleError(
            field="kind",
            reason="Sekiso makes private and isolated switches only.",
            remedy="Make a bridge on the host; it is offered as an internal or external switch.",
        )
    with storage.lock():
        if name in [s.name for s in list_switches(storage)]:
            raise NameTakenError(machine=name)
        added = SwitchFacts(name, kind, reaches_host=False)
        storage.save_switches((*storage.switches(), added))
    return added


def _bridges() -> Generator[SwitchFacts]:
    if os.geteuid() != 0 or not _INTERFACES.is_dir():
        return
    for bridge in _INTERFACES.iterdir():
        if (bridge / "bridge").is_dir():
            cards = [p for p in (bridge / "brif").iterdir() if (_INTERFACES / p.name / "device").exists()]
            kind = SwitchKind.EXTERNAL if cards else SwitchKind.INTERNAL
            yield SwitchFacts(bridge.name, kind, reaches_host=True)


@contextlib.contextmanager
def plug_in(spec: MachineSpec, storage: Storage) -> Generator[dict[int, int]]:
    """Hold the cables of a machine that is being started.

    Yields:
        By number of the adapter, the descriptor that QEMU inherits; adapters that need none are left out.

    Raises:
        HypervisorError: a switch did not come up, or the host refused a cable.
    """
    kinds = {s.name: s.kind for s in list_switches(storage)}
    with contextlib.ExitStack() as stack:
        cables: dict[int, int] = {}
        for index, adapter in enumerate(spec.adapters):
            kind = kinds.get(adapter.switch or "")
            if kind is SwitchKind.PRIVATE:
                name = sha256(str(adapter.switch).encode()).hexdigest()[:16]
                cable = stack.enter_context(switch.connect(storage.root / "switches", name))
                cables[index] = cable.fileno()
            elif kind in (SwitchKind.INTERNAL, SwitchKind.EXTERNAL):
                cables[index] = stack.enter_context(_tap(str(adapter.switch), spec.name))
        yield cables


@contextlib.contextmanager
def _tap(bridge: str, machine: str) -> Generator[int]:
    """Hold a new tap interface on a bridge; it is gone when its last holder closes it."""
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        try:
            flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
            made = fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", b"sekiso%d", flags))
            _join(made[:16], bridge)
        except OSError:
            os.close(descriptor)
            raise
    except OSError as error:
        operation = f"connect to the switch {bridge}"
        raise HypervisorError(machine=machine, operation=operation, reason=str(error)) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _join(interface: bytes, bridge: str) -> None:
    index = socket.if_nametoindex(interface.rstrip(b"\0").decode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCBRADDIF, struct.pack("16si20x", bridge.encode(), index))
        request = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH22x", interface, 0))
        (flags,) = struct.unpack_from("H", request, 16)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", interface, flags | _IFF_UP))
