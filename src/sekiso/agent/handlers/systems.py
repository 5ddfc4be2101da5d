"""`os.import` and `os.pack`: operating systems at the agent's host (LY-1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sekiso.agent.contract import FileFacts, ImportOsParams, LayerMade, PackOsParams, SourceDisk
from sekiso.agent.handlers import engine
from sekiso.agent.handlers.context import Command
from sekiso.agent.handlers.hardware import boot_disk_of, named_machine, refuse_busy, require_off
from sekiso.agent.handlers.layers import keep_layer
from sekiso.agent.handlers.opening import usable_places
from sekiso.agent.handlers.results import finished_layer, fresh_folder, keep_result, kept_result
from sekiso.disks.image import inspect
from sekiso.errors import NotFoundError, RuleError
from sekiso.hypervisors.base import HypervisorDriver
from sekiso.transfer.manifest import hash_file

_LONGEST_CHAIN = 64


@dataclass(frozen=True, slots=True)
class _Source:
    """A disk to read, and the disks below it if it is an overlay of a machine."""

    path: Path
    chain: tuple[Path, ...] = ()


def import_os(command: Command, params: ImportOsParams) -> LayerMade:
    """Import an operating system as a layer; the source is only read."""
    places = usable_places(params.storage_path)
    scratch = places.scratch(params.task_id)
    out = scratch / "import" / "layer.wim"
    done = finished_layer(places, scratch, "os.import", out)
    if done is not None:
        return done
    folder = fresh_folder(out.parent)
    source = _readable(command, _find_source(command.host.driver, params.source), folder)
    made = engine.import_system(
        source,
        out,
        name=params.name,
        version=params.version,
        guest_tools=params.guest_tools,
        progress=command.progress,
    )
    result = LayerMade(
        path=str(places.layer(made.identity)),
        identity=made.identity,
        file_bytes=out.stat().st_size,
        changed=made.changed,
        deleted=made.deleted,
        os_name=made.os_name,
        notes=made.notes,
    )
    keep_result(scratch, "os.import", result)
    if source.parent == folder:
        source.unlink()
    keep_layer(places, out, made.identity)
    return result


def pack_os(command: Command, params: PackOsParams) -> FileFacts:
    """Copy the disk of an operating system as a compact VHDX into the scratch of the task."""
    scratch = usable_places(params.storage_path).scratch(params.task_id)
    out = scratch / "pack" / "source.vhdx"
    done = kept_result(scratch, "os.pack", FileFacts)
    if done is not None and out.is_file():
        return done
    fresh_folder(out.parent)
    source = _find_source(command.host.driver, params.source)
    engine.pack_disk(source.path, source.chain, out, progress=command.progress)
    facts = FileFacts(str(out), hash_file(out, progress=command.progress).to_dict())
    keep_result(scratch, "os.pack", facts)
    return facts


def _readable(command: Command, source: _Source, folder: Path) -> Path:
    """Return a disk that the engine can read alone: an overlay is joined with the disks below it."""
    if not source.chain:
        return source.path
    joined = folder / "source.vhdx"
    engine.pack_disk(source.path, source.chain, joined, progress=command.progress)
    return joined


def _find_source(driver: HypervisorDriver, source: SourceDisk) -> _Source:
    """Find the disk to import.

    Raises:
        RuleError: not one of disk and machine is named, or the machine has no disk.
        MachineNotFoundError, AmbiguousNameError: no machine, or several, have the name.
        WrongStateError: the machine is not off.
        NotFoundError: there is no such disk file.
        DiskInUseError: a machine that is not off has the disk.
    """
    if (source.disk_path is None) == (source.machine is None):
        raise _rule("Name either a disk file or a machine.", "Give one of the two.")
    if source.machine is None:
        return _Source(_disk_file(driver, source.disk_path or ""))
    machine = named_machine(driver, source.machine)
    require_off(machine, "be imported")
    disk = boot_disk_of(machine)
    if disk is None:
        raise _rule(f"The machine {machine.name} has no disk to start from.", "Choose another machine.")
    refuse_busy(driver, disk.path)
    # A machine's overlay names disks that the hypervisor has put below it, wherever they lie.
    return _Source(disk.path, disks_below(disk.path))


def _disk_file(driver: HypervisorDriver, text: str) -> Path:
    path = Path(text)
    if "\0" in text or not path.is_absolute():
        raise _rule(f"{text[:200]!r} is not the whole path of a disk file.", "Give the whole path.")
    if not path.is_file():
        raise NotFoundError(what="The disk file", name=text, remedy="Check the path on the agent's host.")
    refuse_busy(driver, path)
    return path


def disks_below(disk: Path) -> tuple[Path, ...]:
    """Return the disks below an overlay or differencing disk, nearest first; none for a disk of its own.

    Raises:
        DamagedInputError, UnsupportedInputError: one of them cannot be read.
    """
    found: list[Path] = []
    parent = inspect(disk).parent
    while parent is not None and len(found) < _LONGEST_CHAIN:
        disk = (disk.parent / parent.removeprefix("file:")).resolve()
        if not disk.is_file() or disk in found:
            break
        found.append(disk)
        parent = inspect(disk).parent
    return tuple(found)


def _rule(reason: str, remedy: str) -> RuleError:
    return RuleError(field="source", reason=reason, remedy=remedy)
