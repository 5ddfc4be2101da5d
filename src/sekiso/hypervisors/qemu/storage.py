"""Where the QEMU driver keeps machines: files under one storage path, nothing in memory.

Layout::

    <storage>/.sekiso/lock            held while machines or disks change hands
    <storage>/.sekiso/bases.json      packaging disk → its base
    <storage>/.sekiso/switches.json   switches beside the built-in ones
    <storage>/.sekiso/firmware/       Secure Boot variable stores, one per template
    <storage>/.sekiso/machines/<id>/  one machine (a link when the machine lies in a folder of its own)
        machine.json   what it is made of, replaced atomically
        lock           held while it is being started
        nvram.fd       its UEFI variables (generation 2)
        console.log    what it wrote to COM1;  report.log: to COM2
        qemu.log       what QEMU itself said
        qemu.pid       process id, written by QEMU
        qmp.sock, vnc.sock, tpm/, tpm.sock
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sekiso.errors import DamagedInputError
from sekiso.hypervisors.errors import MachineNotFoundError
from sekiso.hypervisors.facts import DiskFile, MachineSpec, SwitchFacts

log = logging.getLogger(__name__)
FORMAT = "sekiso-machine"
VERSION = 1
#: Files of a machine; removed with it. Nothing else in its folder is touched.
OWN_FILES = (
    "machine.json", "lock", "nvram.fd", "console.log", "console.base", "report.log", "report.base",
    "qemu.log", "qemu.pid", "qmp.sock", "vnc.sock", "tpm.sock", "tpm.pid",
)  # fmt: skip
_MAX_JSON_BYTES = 1 << 20
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class MachineRecord:
    """Content of `machine.json`."""

    id: str
    spec: MachineSpec
    format: str = FORMAT
    version: int = VERSION


class Storage:
    """The files of one storage path."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.root = self.path / ".sekiso"
        self.machines = self.root / "machines"
        self.machines.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)

    @contextlib.contextmanager
    def lock(self) -> Generator[None]:
        """Hold the lock of the whole storage path, against other threads and processes."""
        with file_lock(self.root / "lock"):
            yield

    def folder(self, machine_id: str) -> Path:
        """Return the folder of a machine.

        Raises:
            MachineNotFoundError: there is none.
        """
        folder = self.machines / machine_id
        # An identifier comes from outside: only a plain name may become part of a path.
        if folder.parent != self.machines or machine_id.startswith(".") or not folder.is_dir():
            raise MachineNotFoundError(machine=machine_id)
        return folder.resolve()

    @contextlib.contextmanager
    def machine_lock(self, machine_id: str) -> Generator[Path]:
        """Hold the lock of one machine and return its folder.

        Raises:
            MachineNotFoundError: there is no such machine, or it was deleted while this waited.
        """
        folder = self.folder(machine_id)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(file_lock(folder / "lock"))
            except FileNotFoundError:
                raise MachineNotFoundError(machine=machine_id) from None
            yield self.folder(machine_id)

    def load(self, machine_id: str) -> MachineSpec:
        """Read what a machine is made of.

        Raises:
            MachineNotFoundError: there is no such machine.
            DamagedInputError: its file is broken.
        """
        record = read_json(self.folder(machine_id) / "machine.json", MachineRecord)
        if record is None:
            raise MachineNotFoundError(machine=machine_id)
        return record.spec

    def save(self, machine_id: str, spec: MachineSpec) -> None:
        """Write what a machine is made of."""
        write_json(self.folder(machine_id) / "machine.json", MachineRecord(machine_id, spec))

    def ids(self) -> tuple[str, ...]:
        """Return the identifiers of all machines."""
        names = (p.name for p in self.machines.iterdir() if not p.name.startswith("."))
        return tuple(sorted(names))

    def add(self, machine_id: str, spec: MachineSpec, prepare: Callable[[Path], None]) -> Path:
        """Make the folder of a machine and return it; others see the machine only once it is complete.

        Args:
            machine_id: its identifier.
            spec: what it is made of.
            prepare: writes further files into the folder before the machine becomes visible.
        """
        link = self.machines / machine_id
        building = self.machines / f".new-{machine_id}" if spec.folder is None else spec.folder
        building.mkdir(parents=True, exist_ok=True)
        # Who may enter may press the machine's buttons and see its screen.
        building.chmod(0o700)
        try:
            write_json(building / "machine.json", MachineRecord(machine_id, spec))
            prepare(building)
            if spec.folder is None:
                building.rename(link)
            else:
                link.symlink_to(spec.folder, target_is_directory=True)
        except BaseException:
            clear(building)
            raise
        return link.resolve()

    def sweep(self, folder: Path | None) -> None:
        """Remove what an interrupted `add` or `remove` left behind; call with the lock held.

        Args:
            folder: a folder that a machine is going to be made in; swept only if no machine lies there.
        """
        for left in (*self.machines.glob(".new-*"), *self.machines.glob(".old-*")):
            clear(left)
        if folder is not None and (folder / "machine.json").is_file():
            in_use = {(self.machines / i).resolve() for i in self.ids()}
            if folder.resolve() not in in_use:
                clear(folder)

    def remove(self, machine_id: str) -> None:
        """Remove a machine's own files, and its folder unless something else is in it."""
        folder, link = self.folder(machine_id), self.machines / machine_id
        # From here on nobody sees the machine, even if this process ends half way.
        if link.is_symlink():
            link.unlink()
        else:
            folder = folder.rename(self.machines / f".old-{machine_id}")
        clear(folder)

    def bases(self) -> dict[Path, DiskFile]:
        """Return the base of each packaging disk, by resolved path."""
        found = read_json(self.root / "bases.json", dict[str, DiskFile]) or {}
        return {Path(k): v for k, v in found.items()}

    def save_bases(self, bases: dict[Path, DiskFile]) -> None:
        """Write the bases of packaging disks."""
        write_json(self.root / "bases.json", {str(k): v for k, v in bases.items()})

    def switches(self) -> tuple[SwitchFacts, ...]:
        """Return the switches that were added to the built-in ones."""
        return read_json(self.root / "switches.json", tuple[SwitchFacts, ...]) or ()

    def save_switches(self, switches: tuple[SwitchFacts, ...]) -> None:
        """Write the switches beside the built-in ones."""
        write_json(self.root / "switches.json", switches)


def clear(folder: Path) -> None:
    """Remove a machine's own files from a folder, and the folder unless something else is in it."""
    for name in OWN_FILES:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "tpm", ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def file_lock(path: Path) -> Generator[None]:
    """Hold an exclusive lock on a file; waits for its turn."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_json(path: Path, kind: type[_T]) -> _T | None:
    """Read a JSON file into data of `kind`; None when there is no file.

    Raises:
        DamagedInputError: the file holds something else.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_JSON_BYTES)
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=_from_json)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DamagedInputError(
            path=path, offset=0, reason=f"It does not hold what it should: {error}."
        ) from error


def write_json(path: Path, value: object) -> None:
    """Replace a JSON file atomically; after a power cut it is the old or the new one, never half."""
    data = msgspec.json.format(msgspec.json.encode(value, enc_hook=_to_json), indent=1)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    with fresh.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _to_json(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError


def _from_json(kind: type, value: Any) -> Any:
    if issubclass(kind, Path) and isinstance(value, str):
        return Path(value)
    raise NotImplementedError
