"""The guest tools: which files an import adds to a Linux tree."""

from __future__ import annotations

from importlib import resources

from sekiso.guests.edits import FileAccess, MakeFolder, TreeEdit, WriteFile, WriteSymlink

HOME = "/usr/lib/sekiso"
UNIT_FOLDER = "/usr/lib/systemd/system"
PROGRAMS = ("report", "gate", "run-once", "finalize", "first-boot")
LIBRARIES = ("lib.sh",)
#: Each unit with the target that starts it.
UNITS = {
    "sekiso-guest.service": "multi-user.target",
    "sekiso-first-boot.service": "sysinit.target",
    "sekiso-ssh-keys.service": "multi-user.target",
}
COMMANDS = {"sekiso-finalize": "finalize", "sekiso-gate": "gate", "sekiso-report": "report"}


def tool(name: str) -> bytes:
    """Return one of the guest tools as it is shipped."""
    return (resources.files("sekiso.guests.linux") / "tools" / name).read_bytes()


def tool_edits(files: FileAccess) -> tuple[TreeEdit, ...]:
    """Return what installs the guest tools; units only where systemd is the service manager."""
    why = "Guest tools: report, integrity gate, run-once scripts, finalization."
    edits: list[TreeEdit] = [MakeFolder(HOME, reason=why)]
    edits += [WriteFile(f"{HOME}/{name}", tool(name), 0o755, reason=why) for name in PROGRAMS]
    edits += [WriteFile(f"{HOME}/{name}", tool(name), reason=why) for name in LIBRARIES]
    edits += [
        WriteSymlink(f"/usr/sbin/{name}", f"../lib/sekiso/{program}", why)
        for name, program in COMMANDS.items()
    ]
    edits += [
        MakeFolder(f"/etc/sekiso/{name}", reason="Scripts of layers that the guest tools run.")
        for name in ("report.d", "run-once.d")
    ]
    edits.append(MakeFolder("/var/lib/sekiso", 0o700, reason="The guest tools' notes about one machine."))
    if has_systemd(files):
        edits += unit_edits()
    return tuple(edits)


def unit_edits() -> list[TreeEdit]:
    """Return what installs and enables the units of the guest tools."""
    edits: list[TreeEdit] = []
    for name, target in UNITS.items():
        why = f"Guest tools: started by {target}."
        edits.append(WriteFile(f"{UNIT_FOLDER}/{name}", tool(name), reason=why))
        edits.append(WriteSymlink(f"/etc/systemd/system/{target}.wants/{name}", f"{UNIT_FOLDER}/{name}", why))
    return edits


def first_boot_edits(files: FileAccess) -> tuple[TreeEdit, ...]:
    """Return what makes the loader's cache again, where merging left it out and no guest tool would do it."""
    if files.exists("/etc/ld.so.cache") or files.exists(f"{HOME}/first-boot") or not has_systemd(files):
        return ()
    why = "The loader's cache is made again at the first start."
    return (WriteFile(f"{HOME}/first-boot", tool("first-boot"), 0o755, reason=why), *unit_edits())


def has_systemd(files: FileAccess) -> bool:
    """Whether systemd is installed as a service manager."""
    return files.exists("/usr/lib/systemd/systemd") or files.exists("/lib/systemd/systemd")
