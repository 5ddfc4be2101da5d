"""The profile file: which appliance the command line speaks to, how it knows it, and as whom.

It holds a secret (a session or an API token), so it is readable by its owner only.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from sekiso.errors import Family, SekisoError

DEFAULT_PORT = 8443
_MAX_BYTES = 64 << 10


class ProfileError(SekisoError):
    """The profile file cannot be used. Params: path, reason, remedy."""

    code = "profile"
    family = Family.ENVIRONMENT
    brief = "The profile file {path} cannot be used."
    why = "{reason}"
    resolution = "{remedy}"


class NotLoggedInError(SekisoError):
    """No appliance is known, or it does not accept the session any more. Params: reason."""

    code = "not-logged-in"
    family = Family.USAGE
    brief = "You are not logged in."
    why = "{reason}"
    resolution = "Log in: sekiso login URL"


class BadAddressError(SekisoError):
    """The address of an appliance cannot be used. Params: url, reason."""

    code = "usage.address"
    family = Family.USAGE
    brief = "{url} cannot be the address of an appliance."
    why = "{reason}"
    resolution = "Write it like this: https://appliance.example:8443"


@dataclass(frozen=True, slots=True)
class Profile:
    """How the appliance is reached.

    Attributes:
        url: its address, `https://host:port`.
        fingerprint: SHA-256 of its certificate, lower-case hexadecimal; empty = verified by the authorities
            that the operating system trusts.
        user: login name, as shown.
        session: secret of a session; empty = none.
        csrf: what changes have to carry with a session.
        token: an API token; empty = none.
    """

    url: str
    fingerprint: str = ""
    user: str = ""
    session: str = ""
    csrf: str = ""
    token: str = ""


def profile_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the profile is: SEKISO_PROFILE, else `sekiso/profile.json` in the configuration folder."""
    if named := environment.get("SEKISO_PROFILE"):
        return Path(named)
    base = environment.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if base.startswith("/") else Path.home() / ".config"
    return folder / "sekiso" / "profile.json"


def current_profile(environment: Mapping[str, str] = os.environ) -> Profile:
    """Return the profile: by SEKISO_URL and SEKISO_TOKEN without a file, else the file.

    Raises:
        NotLoggedInError: there is none.
        ProfileError: it cannot be read, or others can read it.
        BadAddressError: SEKISO_URL is no address.
    """
    url, token = environment.get("SEKISO_URL"), environment.get("SEKISO_TOKEN")
    if url and token:
        pin = plain_fingerprint(environment.get("SEKISO_FINGERPRINT", ""))
        return Profile(address_of(url), fingerprint=pin, token=token.strip())
    return load_profile(profile_path(environment))


def load_profile(path: Path) -> Profile:
    """Read a profile file.

    Raises:
        NotLoggedInError: there is none.
        ProfileError: it cannot be read, others can read it, or it is not a profile.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_BYTES)
    except FileNotFoundError:
        raise NotLoggedInError(reason="No appliance is known here yet.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ProfileError(
            path=path,
            reason="Other users can read it, and it holds a secret.",
            remedy="Make it private with chmod 600, and log in again if others may have read it.",
        )
    return _parse(data, path)


def _parse(data: bytes, path: Path) -> Profile:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    names = {f.name for f in fields(Profile)}
    values: dict[str, Any] = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    known = {k: v for k, v in values.items() if k in names and isinstance(v, str)}
    if "url" not in known:
        raise ProfileError(path=path, reason="It is not a profile.", remedy="Log in again: sekiso login URL")
    return Profile(**known)


def save_profile(path: Path, profile: Profile) -> None:
    """Write a profile file that only its owner can read, in place of the one before."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temp = path.parent / f".{path.name}.{secrets.token_hex(4)}.part"
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(asdict(profile), file, indent=2)
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)


def address_of(text: str) -> str:
    """Return an appliance's address in its one spelling: `https://host:port`.

    Without a scheme, `https` and the port of a new appliance are meant.

    Raises:
        BadAddressError: it is none.
    """
    given = text.strip()
    try:
        parts = urlsplit(given if "://" in given else f"https://{given}")
        port = parts.port or (443 if "://" in given else DEFAULT_PORT)
    except ValueError:
        raise BadAddressError(url=text, reason="It is not a web address.") from None
    if parts.scheme != "https":
        raise BadAddressError(url=text, reason="The appliance is reached over HTTPS only.")
    if not parts.hostname or parts.username is not None or parts.path.strip("/") or parts.query:
        raise BadAddressError(url=text, reason="It is a host name or address, and a port, nothing more.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"https://{host}:{port}"


def plain_fingerprint(text: str) -> str:
    """Return a fingerprint as lower-case hexadecimal digits, without colons and spaces."""
    return text.lower().removeprefix("sha256:").replace(":", "").replace(" ", "").strip()
