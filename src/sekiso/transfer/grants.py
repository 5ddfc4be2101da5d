"""Grants: one agent may move one file in one direction until some moment, and nothing else (TR-4).

A grant is an identifier and a secret. The identifier is part of the URL, so each file version has a URL of
its own; the secret comes either

- in the header `X-Sekiso-Grant`: the way for BITS on Windows (SetCustomHeaders) and for the Linux client,
  because URLs end up in logs and in the job lists of BITS, headers do not; or
- in the URL, after the identifier: for programs that cannot send a header of their own (Start-BitsTransfer on
  Server 2016 and 2019, qemu-img).

Only a hash of the secret is stored, it is compared in constant time, and neither form is ever logged.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from sekiso.errors import DamagedInputError, RuleError
from sekiso.transfer.manifest import Manifest

#: Header that carries the secret.
HEADER = "X-Sekiso-Grant"
#: First segment of the path of every transfer URL.
PREFIX = "transfer"
_SECRET_BYTES = 32
_ID_BYTES = 16
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]{1,255}")


class Direction(enum.StrEnum):
    """Which way a file moves, as seen by the agent."""

    DOWNLOAD = "download"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to move one file.

    Attributes:
        id: identifier, 32 hexadecimal digits; part of the URL, no secret.
        principal: the agent that may use it.
        direction: which way.
        path: the file on the server's side; the final name for an upload.
        name: what the URL calls the file.
        manifest: what it holds; may be agreed later for an upload, until Close.
        modified_s: time of the file version, seconds since the epoch; never changes.
        expires_s: end of the grant, seconds since the epoch.
        secret_hash: SHA-256 of the secret.
    """

    id: str
    principal: str
    direction: Direction
    path: Path
    name: str
    manifest: Manifest | None
    modified_s: int
    expires_s: float
    secret_hash: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A grant as handed to the agent; the only place where the secret exists. It shows no secret in logs.

    Attributes:
        grant: the grant.
        secret: its secret.
    """

    grant: Grant
    secret: str = field(repr=False)

    def url_path(self, *, with_secret: bool = False) -> str:
        """Return the path of the URL; with the secret in it only for programs that can send no header."""
        key = f"{self.grant.id}.{self.secret}" if with_secret else self.grant.id
        return f"/{PREFIX}/{key}/{quote(self.grant.name, safe='')}"


class GrantStore(Protocol):
    """Where grants are kept."""

    def put(self, grant: Grant) -> None:
        """Keep a grant durably, in place of one with the same id."""
        ...

    def get(self, grant_id: str) -> Grant | None:
        """Return a grant; None if there is none."""
        ...

    def remove(self, grant_id: str) -> None:
        """Forget a grant, if there is one."""
        ...

    def ids(self) -> list[str]:
        """Return the ids of all grants."""
        ...


class MemoryGrantStore:
    """Grants in memory."""

    def __init__(self) -> None:
        """Begin without grants."""
        self._grants: dict[str, Grant] = {}

    def put(self, grant: Grant) -> None:
        """See `GrantStore`."""
        self._grants[grant.id] = grant

    def get(self, grant_id: str) -> Grant | None:
        """See `GrantStore`."""
        return self._grants.get(grant_id)

    def remove(self, grant_id: str) -> None:
        """See `GrantStore`."""
        self._grants.pop(grant_id, None)

    def ids(self) -> list[str]:
        """See `GrantStore`."""
        return sorted(self._grants)


class FolderGrantStore:
    """One JSON file per grant, readable by the owner only; several processes may share the folder."""

    def __init__(self, folder: Path) -> None:
        """Keep the grants in `folder`, which is made if missing."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._known: dict[str, tuple[tuple[int, int], Grant]] = {}

    def put(self, grant: Grant) -> None:
        """See `GrantStore`."""
        path = self._path(grant.id)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        fresh.touch(mode=0o600, exist_ok=False)
        with fresh.open("wb") as stream:
            stream.write(json.dumps(_grant_to_dict(grant)).encode())
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)

    def get(self, grant_id: str) -> Grant | None:
        """See `GrantStore`.

        Raises:
            DamagedInputError: its file is not as it was written.
        """
        path = self._path(grant_id)
        try:
            facts = path.stat()
        except FileNotFoundError:
            self._known.pop(grant_id, None)
            return None
        stamp = (facts.st_ino, facts.st_mtime_ns)
        known = self._known.get(grant_id)
        if known is None or known[0] != stamp:
            known = (stamp, _read_grant(path))
            self._known[grant_id] = known
        return known[1]

    def remove(self, grant_id: str) -> None:
        """See `GrantStore`."""
        self._path(grant_id).unlink(missing_ok=True)
        self._known.pop(grant_id, None)

    def ids(self) -> list[str]:
        """See `GrantStore`."""
        return sorted(path.stem for path in self._folder.glob("*.json"))

    def _path(self, grant_id: str) -> Path:
        return self._folder / f"{grant_id}.json"


class Grants:
    """Issues and checks grants; thread-safe."""

    def __init__(
        self, store: GrantStore, *, clock: Callable[[], float] = time.time, master: bytes | None = None
    ) -> None:
        """Keep the grants in `store`.

        Args:
            store: where they are kept.
            clock: seconds since the epoch.
            master: secret from which grants with a key are derived; they cannot be issued without it.
        """
        self._store, self._clock, self._master = store, clock, master
        self._guard = threading.Lock()

    def issue(
        self,
        *,
        principal: str,
        direction: Direction,
        path: Path,
        valid_s: float,
        name: str | None = None,
        manifest: Manifest | None = None,
        modified_s: int | None = None,
        key: str | None = None,
    ) -> Ticket:
        """Allow one agent to move one file.

        Args:
            principal: the agent.
            direction: which way.
            path: the file on this side, or its final name for an upload.
            valid_s: for how long, in seconds.
            name: what the URL calls it; the file's own name by default.
            manifest: what the file holds; a download needs it, an upload until it is closed.
            modified_s: time of the file version; now by default.
            key: names the purpose: the same key gives the same address and secret again, so that work that
                begins anew after a restart goes on with the transfer that it had begun. No secret.

        Raises:
            RuleError: the name cannot be part of a URL, or a download has no manifest.
        """
        called = path.name if name is None else name
        if _NAME.fullmatch(called) is None or called in (".", ".."):
            raise RuleError(
                field="name", reason="The name cannot be part of an address.", remedy="Choose another name."
            )
        if direction is Direction.DOWNLOAD and manifest is None:
            raise RuleError(
                field="manifest",
                reason="A file cannot be offered before its content is known.",
                remedy="Hash the file first.",
            )
        grant_id, secret = self._derive(key) if key is not None else _fresh()
        now_s = self._clock()
        if modified_s is None and key is not None and (known := self._store.get(grant_id)) is not None:
            modified_s = known.modified_s
        grant = Grant(
            id=grant_id,
            principal=principal,
            direction=direction,
            path=path,
            name=called,
            manifest=manifest,
            modified_s=int(now_s) if modified_s is None else modified_s,
            expires_s=now_s + valid_s,
            secret_hash=_hash(secret),
        )
        self._store.put(grant)
        return Ticket(grant, secret)

    def check(self, grant_id: str, secret: str, direction: Direction) -> Grant | None:
        """Return the grant if the secret is right, the direction is and it has not expired; None otherwise.

        The caller answers all of these alike: nobody learns which grants exist.
        """
        grant = self._store.get(grant_id) if _ID.fullmatch(grant_id) else None
        # The comparison is made in any case, so that time tells nothing about which part was wrong.
        wanted = grant.secret_hash if grant else bytes(32)
        is_right = hmac.compare_digest(_hash(secret), wanted) and _SECRET.fullmatch(secret) is not None
        if grant is None or not is_right:
            return None
        return grant if grant.direction is direction and self._clock() < grant.expires_s else None

    def agree(self, grant_id: str, manifest: Manifest) -> None:
        """Say what an upload must hold, once; the same manifest again is no error.

        Raises:
            RuleError: there is no such grant, or something else was agreed.
        """
        with self._guard:
            grant = self._store.get(grant_id) if _ID.fullmatch(grant_id) else None
            if grant is None or grant.manifest not in (None, manifest):
                raise RuleError(
                    field="manifest",
                    reason="The content of this transfer was agreed already, or the transfer does not exist.",
                    remedy="Start a new transfer.",
                )
            self._store.put(replace(grant, manifest=manifest))

    def revoke(self, grant_id: str) -> None:
        """End a grant now."""
        if _ID.fullmatch(grant_id):
            self._store.remove(grant_id)

    def exists(self, grant_id: str) -> bool:
        """Whether there is such a grant and it has not expired."""
        return _ID.fullmatch(grant_id) is not None and not self._is_over(grant_id)

    def expire(self) -> int:
        """Forget grants that have expired; return how many."""
        gone = [key for key in self._store.ids() if self._is_over(key)]
        for grant_id in gone:
            self._store.remove(grant_id)
        return len(gone)

    def _derive(self, key: str) -> tuple[str, str]:
        if self._master is None:
            raise ValueError("grants with a key need a master secret")

        def digest(label: bytes) -> bytes:
            return hmac.digest(self._master or b"", label + key.encode(), "sha256")

        secret = base64.urlsafe_b64encode(digest(b"secret\0")).rstrip(b"=").decode()
        return digest(b"id\0")[:_ID_BYTES].hex(), secret

    def _is_over(self, grant_id: str) -> bool:
        grant = self._store.get(grant_id)
        return grant is None or self._clock() >= grant.expires_s


def split_key(key: str) -> tuple[str, str]:
    """Split the segment of a URL into identifier and secret; the secret is empty if it is not there."""
    grant_id, _, secret = key.partition(".")
    return grant_id, secret


def _fresh() -> tuple[str, str]:
    return secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)


def _hash(secret: str) -> bytes:
    # The secret is 256 random bits: a slow hash would add nothing.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _grant_to_dict(grant: Grant) -> dict[str, Any]:
    return {
        "id": grant.id,
        "principal": grant.principal,
        "direction": grant.direction.value,
        "path": os.fspath(grant.path),
        "name": grant.name,
        "manifest": grant.manifest.to_dict() if grant.manifest else None,
        "modified_s": grant.modified_s,
        "expires_s": grant.expires_s,
        "secret_hash": grant.secret_hash.hex(),
    }


def _read_grant(path: Path) -> Grant:
    try:
        data: dict[str, Any] = json.loads(path.read_bytes())
        manifest = data["manifest"]
        return Grant(
            id=data["id"],
            principal=data["principal"],
            direction=Direction(data["direction"]),
            path=Path(data["path"]),
            name=data["name"],
            manifest=None if manifest is None else Manifest.from_dict(manifest, path=str(path)),
            modified_s=data["modified_s"],
            expires_s=data["expires_s"],
            secret_hash=bytes.fromhex(data["secret_hash"]),
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise DamagedInputError(path=path, offset=0, reason="This is no grant of a transfer.") from exc
