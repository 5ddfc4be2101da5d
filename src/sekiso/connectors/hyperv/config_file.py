"""The Hyper-V connector's config.json: how files are transferred (CC-8).

The file is read when the connector starts. It is taken as it is or refused, with its path and the key: a
typing error must not switch verification off without a word.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sekiso.connectors.base import N_, Declaration, FieldKind, SettingField
from sekiso.connectors.decoding import decode, key_text, values_of
from sekiso.connectors.errors import ConfigFileError, ConfigKeyError
from sekiso.disks.fileio import sync_folder, write_all
from sekiso.errors import NotFoundError
from sekiso.model.connector import TransferPolicy, TransferScheme

MAX_BYTES = 64 << 10
_MEND = "Mend the file, or delete it to have it made anew with its defaults."


@dataclass(frozen=True, slots=True)
class HyperVConfig:
    """What config.json says; attributes have the names of its keys.

    Attributes:
        useHttpsFileTransfer: files travel over HTTPS.
        ignoreCertificateErrors: a bad certificate does not fail a copy.
    """

    useHttpsFileTransfer: bool = False  # noqa: N815 (name of the key)
    ignoreCertificateErrors: bool = True  # noqa: N815 (name of the key)

    @property
    def transfer_policy(self) -> TransferPolicy:
        """How files travel by these settings."""
        if not self.useHttpsFileTransfer:
            return TransferPolicy(TransferScheme.HTTP, verify=False)
        return TransferPolicy(TransferScheme.HTTPS, verify=not self.ignoreCertificateErrors)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the console warns of while these settings are in force, each in sentences."""
        if not self.useHttpsFileTransfer:
            return (
                "HTTPS is off: disks and layers travel unencrypted between the appliance and its agents.",
            )
        if self.ignoreCertificateErrors:
            return ("Certificate errors are ignored: a false server could pass for the appliance.",)
        return ()


CONFIG = Declaration(
    code="hyperv-config",
    label=N_("File transfer of the Hyper-V connector"),
    help="How disks and layers travel between the appliance and its agents. A restart of the connector "
    "puts changes into force.",
    settings_type=HyperVConfig,
    fields=(
        SettingField(
            "useHttpsFileTransfer",
            FieldKind.SWITCH,
            N_("Use HTTPS for file transfer"),
            "Encrypts what travels between the appliance and its agents.",
            default=False,
        ),
        SettingField(
            "ignoreCertificateErrors",
            FieldKind.SWITCH,
            N_("Ignore certificate errors"),
            "Copies even if the certificate is expired or not trusted. When this is off, the certificate "
            "pinned at registration is trusted, a self-signed one too.",
            default=True,
        ),
    ),
)


def load_config(path: Path) -> HyperVConfig:
    """Read config.json; keys left out have their defaults.

    Raises:
        NotFoundError: there is no file.
        ConfigFileError: it cannot be read or is no JSON object.
        ConfigKeyError: it has an unknown key, a key twice, or a value of the wrong type; the first is named.
    """
    return parse_config(_read(path), path)


def load_or_create_config(path: Path) -> HyperVConfig:
    """Read config.json; where there is none, write one with the defaults.

    Raises:
        ConfigFileError, ConfigKeyError: as for `load_config` and `save_config`.
    """
    try:
        return load_config(path)
    except NotFoundError:
        config = HyperVConfig()
        save_config(path, config)
        return config


def parse_config(data: bytes, path: Path) -> HyperVConfig:
    """Read the content of a config.json.

    Args:
        data: the content.
        path: what errors call the file.

    Raises:
        ConfigFileError, ConfigKeyError: as for `load_config`.
    """
    found = decode(CONFIG, _object(_text(data, path), path))
    if isinstance(found, HyperVConfig):
        return found
    first = found[0]
    raise ConfigKeyError(path=path, key=first.field, reason=first.reason, remedy=first.remedy)


def save_config(path: Path, config: HyperVConfig) -> None:
    """Write config.json; after a crash or a power cut the old file or the new one is there, whole.

    A link is followed, so that it stays a link; the permissions of a file that is there are kept.

    Raises:
        ConfigFileError: it cannot be written; the old file is unchanged.
    """
    data = json.dumps(values_of(CONFIG, config), indent=2).encode() + b"\n"
    try:
        _replace(path.resolve(), data)
    except OSError as error:
        raise ConfigFileError(
            path=path,
            reason=f"It could not be written: {error.strerror}.",
            remedy="Nothing was changed. Check the folder, its permissions and its free space.",
        ) from error


def _replace(path: Path, data: bytes) -> None:
    temp = path.parent / f".{path.name}.{secrets.token_hex(4)}.part"
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_all(fd, data, 0)
            os.fchmod(fd, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)
    sync_folder(path.parent)


def _read(path: Path) -> bytes:
    """Return the content; never waits on a pipe and never reads more than the limit."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFoundError(
            what="The configuration file",
            name=path,
            remedy="Restart the connector to have it made with its defaults.",
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ConfigFileError(path=path, reason="It is no ordinary file.", remedy=_MEND)
        with open(fd, "rb", closefd=False) as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(fd)
    if len(data) > MAX_BYTES:
        raise ConfigFileError(path=path, reason=f"It is larger than {MAX_BYTES} bytes.", remedy=_MEND)
    return data


def _unreadable(path: Path, error: OSError) -> ConfigFileError:
    return ConfigFileError(
        path=path,
        reason=f"It could not be read: {error.strerror}.",
        remedy="Check the permissions of the file.",
    )


def _text(data: bytes, path: Path) -> str:
    if len(data) > MAX_BYTES:
        raise ConfigFileError(path=path, reason=f"It is larger than {MAX_BYTES} bytes.", remedy=_MEND)
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise ConfigFileError(
            path=path,
            reason="It begins with a byte order mark, which JSON does not allow.",
            remedy="Save it as UTF-8 without a byte order mark.",
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigFileError(
            path=path, reason=f"Byte {error.start} is not UTF-8.", remedy="Save it as UTF-8."
        ) from None


def _object(text: str, path: Path) -> Mapping[str, Any]:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        # Called for inner objects too: a key twice is wrong anywhere.
        found: dict[str, Any] = {}
        for key, value in items:
            if key in found:
                raise ConfigKeyError(
                    path=path,
                    key=key_text(key),
                    reason="The key stands there twice.",
                    remedy="Remove one of them.",
                )
            found[key] = value
        return found

    def no_constant(name: str) -> Any:
        raise ConfigFileError(path=path, reason=f"JSON has no value {name}.", remedy=_MEND)

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        raise _no_json(text, error, path) from None
    except (RecursionError, ValueError):  # nested too deeply; a number with too many digits
        raise ConfigFileError(path=path, reason="It is not written in JSON.", remedy=_MEND) from None
    if not isinstance(value, dict):
        raise ConfigFileError(
            path=path, reason="It holds something else than one JSON object in braces.", remedy=_MEND
        )
    return value  # pyright: ignore[reportUnknownVariableType]


def _no_json(text: str, error: json.JSONDecodeError, path: Path) -> ConfigFileError:
    if text[error.pos : error.pos + 1] in ("“", "”", "„", "＂"):
        return ConfigFileError(
            path=path,
            reason=f"Line {error.lineno} has typographic quotation marks.",
            remedy='Use straight quotation marks: ".',
        )
    return ConfigFileError(
        path=path,
        reason=f"It is not written in JSON at line {error.lineno}, column {error.colno}.",
        remedy=_MEND,
    )
