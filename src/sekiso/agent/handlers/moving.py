"""`file.*` and `transfer.*`: files between the agent and the appliance (TR-1, CC-7).

What a transfer needs to go on after a break lies in the scratch of its task, so that it goes with the task.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path

from sekiso.agent.contract import (
    DescribeFileParams,
    Done,
    DownloadFileParams,
    FileFacts,
    Moved,
    ProbeTransferParams,
    Ticket,
    UploadFileParams,
)
from sekiso.agent.handlers.context import AgentHost, Command, PendingUpload
from sekiso.agent.handlers.opening import unusable, usable_places
from sekiso.agent.places import Places, checked_file_name, is_id
from sekiso.errors import SekisoError, VerificationError
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.transfer.client import (
    Patience,
    RemoteFile,
    cancel_upload,
    download_file,
    forget_download,
    upload_file,
)
from sekiso.transfer.errors import TransferCertificateError
from sekiso.transfer.manifest import Manifest, hash_file
from sekiso.transfer.trust import AnyCertificate, PinnedCertificate, Trust, TrustedAuthority

log = logging.getLogger(__name__)
#: A probe is waited for by a person.
_PROBE_PATIENCE = Patience(attempts=3, first_delay_s=0.2, longest_delay_s=1.0)
_PROBE_TIMEOUT_S = 15.0
_GIVE_UP_TIMEOUT_S = 5.0


def describe(command: Command, params: DescribeFileParams) -> FileFacts:
    """Hash a file below the storage path."""
    path = usable_places(params.storage_path).file_below(params.path)
    return FileFacts(str(path), hash_file(path, progress=command.progress).to_dict())


def upload(command: Command, params: UploadFileParams) -> Moved:
    """Send a file below the storage path; goes on where an earlier call was cut off."""
    places = usable_places(params.storage_path)
    source = places.file_below(params.path)
    scratch = places.scratch(task_of(command))
    state = scratch / f"upload-{hashlib.sha256(str(source).encode()).hexdigest()[:16]}.state"
    return Moved(_send(command, params.ticket, source, state))


def download(command: Command, params: DownloadFileParams) -> FileFacts:
    """Fetch a file into the scratch of a task; one that is there and whole is kept."""
    places = usable_places(params.storage_path)
    target = places.scratch(params.task_id) / checked_file_name(params.name)
    manifest = Manifest.from_dict(params.manifest, path=params.name)
    fetch(command, params.ticket, target, manifest)
    return FileFacts(str(target), manifest.to_dict())


def probe_download(command: Command, params: ProbeTransferParams) -> Done:
    """Fetch a small file and compare it (CC-7)."""
    target = _probe_path(params)
    manifest = Manifest.from_dict(params.manifest, path=params.name)
    try:
        with _storage_errors(target.parent):
            _with_trust(
                command.host,
                _hasty(command.host, params.ticket),
                lambda remote: download_file(remote, target, manifest, patience=_PROBE_PATIENCE),
            )
            if target.read_bytes() != params.content.encode():
                raise VerificationError(
                    what="The probe file", reason="It arrived with another content.", remedy=""
                )
    finally:
        forget_download(target)
        target.unlink(missing_ok=True)
    return Done()


def probe_upload(command: Command, params: ProbeTransferParams) -> Done:
    """Send a small file (CC-7)."""
    source = _probe_path(params)
    state = source.with_name(f".{source.name}.state")
    remote = _hasty(command.host, params.ticket)
    try:
        with _storage_errors(source.parent):
            source.write_bytes(params.content.encode())
            _with_trust(
                command.host,
                remote,
                lambda trusted: upload_file(trusted, source, state=state, patience=_PROBE_PATIENCE),
            )
    finally:
        source.unlink(missing_ok=True)
        state.unlink(missing_ok=True)
    return Done()


def fetch(command: Command, ticket: Ticket, target: Path, manifest: Manifest) -> int:
    """Fetch a file to a place in a scratch folder; one that is there and whole is kept.

    Returns:
        Bytes of content that crossed the wire.
    """
    if target.exists() and not _finished(target, manifest, command.progress):
        target.unlink()
    counting = Measured(command.progress)
    patience = command.host.settings.patience

    def run(remote: RemoteFile) -> None:
        if not target.exists():
            download_file(remote, target, manifest, progress=counting, patience=patience)

    with _storage_errors(target.parent):
        _with_trust(command.host, remote_file(command.host, ticket), run)
    return counting.wire_bytes


def _finished(target: Path, manifest: Manifest, progress: Progress) -> bool:
    if target.stat().st_size != manifest.size_bytes or hash_file(target, progress=progress) != manifest:
        return False
    # A call that was cut off at its very end has left its journal.
    forget_download(target)
    return True


def _send(command: Command, ticket: Ticket, source: Path, state: Path) -> int:
    host = command.host
    remote = remote_file(host, ticket)
    counting = Measured(command.progress, begun_bytes=_acknowledged(state))
    with host.lock:
        host.uploads[state] = PendingUpload(remote, source, state)

    def run(trusted: RemoteFile) -> None:
        with host.lock:
            host.uploads[state] = PendingUpload(trusted, source, state)
        upload_file(trusted, source, state=state, progress=counting, patience=host.settings.patience)

    _with_trust(host, remote, run)
    with host.lock:
        host.uploads.pop(state, None)
    return counting.wire_bytes


def give_up_uploads(host: AgentHost, scratch: Path) -> None:
    """Give up the uploads that a task has begun. What cannot be reached ends with its grant."""
    with host.lock:
        mine = [upload for state, upload in host.uploads.items() if scratch in state.parents]
        for upload_ in mine:
            del host.uploads[upload_.state]
    for upload_ in mine:
        remote = replace(upload_.remote, timeout_s=_GIVE_UP_TIMEOUT_S)
        try:
            cancel_upload(remote, upload_.source, state=upload_.state)
        except (SekisoError, OSError) as error:
            log.info("an upload was not given up at the appliance: %s", type(error).__name__)


def task_of(command: Command) -> str:
    """Return the task that a command belongs to: the first part of its identity; else one of its own."""
    first = re.split(r"[.:]", command.id, maxsplit=1)[0]
    return first if is_id(first) else hashlib.sha256(command.id.encode()).hexdigest()[:32]


def remote_file(host: AgentHost, ticket: Ticket, *, timeout_s: float = 300.0) -> RemoteFile:
    """Return the other end of a transfer; which certificate it must have is decided by `_with_trust`."""
    name = host.settings.transfer_host
    address = f"[{name}]" if ":" in name and not name.startswith("[") else name
    url = f"{'https' if ticket.https else 'http'}://{address}:{ticket.port}{ticket.path}"
    first = TrustedAuthority(host.settings.authorities) if ticket.verify else AnyCertificate()
    return RemoteFile(url, ticket.secret, trust=first, timeout_s=timeout_s)


def _hasty(host: AgentHost, ticket: Ticket) -> RemoteFile:
    return remote_file(host, ticket, timeout_s=_PROBE_TIMEOUT_S)


def _with_trust(host: AgentHost, remote: RemoteFile, work: Callable[[RemoteFile], None]) -> None:
    """Do something with a remote file, trusting what was pinned first, then the authorities (CC-8).

    Nothing is sent to the other side before its certificate is accepted.

    Raises:
        TransferCertificateError: its certificate is none of those.
    """
    refused: list[TransferCertificateError] = []
    for trust in _trusts(host, remote):
        try:
            work(replace(remote, trust=trust))
        except TransferCertificateError as error:
            refused.append(error)
        else:
            return
    # That the pinned certificate has expired says more than that no authority knows it.
    raise next((e for e in refused if "expired" in str(e.params.get("reason"))), refused[-1])


def _trusts(host: AgentHost, remote: RemoteFile) -> Iterator[Trust]:
    """Yield what to trust, one after the other; pins that come while a transfer is under way too."""
    is_verified = isinstance(remote.trust, TrustedAuthority) and remote.url.startswith("https:")
    tried = set[str]()
    while is_verified:
        untried = [pin for pin in host.settings.pins() if pin not in tried]
        if not untried:
            break
        tried.add(untried[0])
        yield PinnedCertificate(untried[0])
    yield remote.trust


class Measured:
    """A progress that counts how many bytes of content cross the wire."""

    def __init__(self, inner: Progress = NO_PROGRESS, *, begun_bytes: int | None = None) -> None:
        """Begin to count.

        Args:
            inner: gets everything.
            begun_bytes: how much the other side had before; None = what is told first.
        """
        self._inner, self._last = inner, begun_bytes
        self.wire_bytes = 0

    def step(self, name: str, *, total: int | None = None) -> None:
        """See `Progress`."""
        self._inner.step(name, total=total)

    def advance(self, done: int) -> None:
        """See `Progress`; a step back means that something is sent again."""
        if self._last is not None and done > self._last:
            self.wire_bytes += done - self._last
        self._last = done
        self._inner.advance(done)

    def canceled(self) -> bool:
        """See `Progress`."""
        return self._inner.canceled()


def _acknowledged(state: Path) -> int:
    """Return how much of a file the other side has acknowledged to an earlier call."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(state.read_text(encoding="ascii").split()[2])
    return 0


def _probe_path(params: ProbeTransferParams) -> Path:
    places: Places = usable_places(params.storage_path)
    return places.root / checked_file_name(params.name)


@contextlib.contextmanager
def _storage_errors(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise unusable(folder, error) from error
