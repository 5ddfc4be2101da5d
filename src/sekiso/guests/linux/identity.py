"""Giving an image no identity of its own, and never a shared secret.

Source: machine-id(5); systemd.io "Building Images Safely" (random seed, credential secret, machine id).
"""

from __future__ import annotations

import re

from sekiso.guests.booting import Generalization
from sekiso.guests.edits import FileAccess, Remove, TreeEdit, WriteFile, WriteSymlink
from sekiso.guests.linux.tooling import has_systemd, unit_edits

#: Removed from every image: sharing these would be a hole.
_NEVER_SHARED = {
    "/var/lib/systemd/random-seed": "Two machines must never start from one random seed.",
    "/var/lib/systemd/credential.secret": "The key of one machine's credentials must not be shared.",
}
#: Removed when an image is generalized, if there.
_OWN = {
    "/etc/hostname": "The machine takes its name from its network, or is given one.",
    "/etc/udev/rules.d/70-persistent-net.rules": "It names the network adapters of another machine.",
    "/etc/nvme/hostid": "Identifies one machine to storage; made again.",
    "/etc/nvme/hostnqn": "Identifies one machine to storage; made again.",
    "/var/lib/NetworkManager/secret_key": "A key of one machine; made again.",
    "/var/lib/cloud/instance": "First-start state of another machine.",
    "/var/lib/cloud/instances": "First-start state of another machine.",
    "/var/lib/systemd/timesync/clock": "Clock of another machine.",
    "/etc/ssl/private/ssl-cert-snakeoil.key": "A private key must not be shared; it is made again.",
    "/etc/ssl/certs/ssl-cert-snakeoil.pem": "Goes with a private key that is made again.",
    "/root/.bash_history": "What somebody typed on another machine.",
}
#: (folder, names, reason): files removed when an image is generalized.
_OWN_IN_FOLDERS = (
    ("/etc/ssh", r"ssh_host_.*", "SSH host keys must not be shared; made again at the first start."),
    ("/var/lib/dhcp", r".*\.leases?", "Network leases of another machine."),
    ("/var/lib/NetworkManager", r".*\.lease", "Network leases of another machine."),
    ("/var/log/journal", r".*", "Journal of another machine."),
    (
        "/var/log",
        r"(?:wtmp|btmp|lastlog|faillog|auth\.log.*|syslog.*|kern\.log.*)",
        "Log of another machine.",
    ),
    ("/var/lib/systemd/timers", r".*", "When timers last ran on another machine."),
)


def identity_edits(files: FileAccess, generalization: Generalization) -> tuple[TreeEdit, ...]:
    """Return what takes the identity out of a tree; see `GuestFamilySupport.generalize`."""
    edits: list[TreeEdit] = [Remove(p, why) for p, why in _NEVER_SHARED.items() if files.exists(p)]
    if generalization is Generalization.NONE:
        return (*edits, *_machine_id_exists(files))
    edits += _machine_id(files)
    edits += [Remove(path, why) for path, why in _OWN.items() if _there(files, path)]
    for folder, names, why in _OWN_IN_FOLDERS:
        for name in files.list(folder):
            if re.fullmatch(names, name):
                edits.append(Remove(f"{folder}/{name}", why))
    edits += _hosts(files)
    edits += _initiator(files)
    if has_systemd(files) and files.exists("/etc/ssh/sshd_config"):
        edits += unit_edits()
    return tuple(edits)


def _there(files: FileAccess, path: str) -> bool:
    return files.exists(path) or files.link_target(path) is not None


def _machine_id_exists(files: FileAccess) -> list[TreeEdit]:
    """An absent machine-id would make systemd ask questions on the console, as on a first start."""
    if _there(files, "/etc/machine-id"):
        return []
    return [WriteFile("/etc/machine-id", b"", 0o444, reason="Filled in at the first start.")]


def _machine_id(files: FileAccess) -> list[TreeEdit]:
    why = "Every machine makes its own at its first start."
    edits: list[TreeEdit] = [WriteFile("/etc/machine-id", b"", 0o444, reason=why)]
    if files.exists("/var/lib/dbus") and files.link_target("/var/lib/dbus/machine-id") is None:
        edits.append(WriteSymlink("/var/lib/dbus/machine-id", "/etc/machine-id", why))
    return edits


def _hosts(files: FileAccess) -> list[TreeEdit]:
    """The installer's line for the machine's own name goes with the name."""
    content = files.read("/etc/hosts")
    if content is None:
        return []
    kept = re.sub(rb"^127\.0\.1\.1[ \t].*\n?", b"", content, flags=re.MULTILINE)
    if kept == content:
        return []
    return [WriteFile("/etc/hosts", kept, reason="The line 127.0.1.1 names another machine.")]


def _initiator(files: FileAccess) -> list[TreeEdit]:
    path = "/etc/iscsi/initiatorname.iscsi"
    if files.read(path) is None:
        return []
    why = "The iSCSI name is made again at the first start."
    return [WriteFile(path, b"GenerateName=yes\n", 0o600, reason=why)]
