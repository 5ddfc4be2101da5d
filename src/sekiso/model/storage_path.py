"""Storage paths: which folder names an agent can work with, in one spelling (CC-5).

Pure: what only the agent can tell (drives, whether the folder can be written) comes in as data, or goes out
as a question for a probe.

Source: Microsoft, "Naming Files, Paths, and Namespaces" (illegal characters, device names, namespaces, 260
characters); "NetShareAdd" and [MS-FSCC] 2.1.6 (names of shares); Win32_LogicalDisk.DriveType (kinds of
drives); POSIX.1-2017 4.13 and limits.h (PATH_MAX, NAME_MAX).
"""

from __future__ import annotations

import enum
import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sekiso.model.machine import Violation

FIELD = "storage_path"
#: MAX_PATH without its closing zero.
_WINDOWS_PATH_CHARS = 259
#: Kept free for what lies below: a machine's folder, `Virtual Machines\<GUID>.vmcx`, the names of disks.
ROOM_BELOW_CHARS = 109
WINDOWS_MAX_CHARS = _WINDOWS_PATH_CHARS - ROOM_BELOW_CHARS
#: PATH_MAX without its closing zero, less two long names.
POSIX_MAX_BYTES = 4095 - 2 * 256
_NAME_MAX = 255
_SHARE_MAX_CHARS = 80

_DEVICE = re.compile(r"[\\/]{2}[.?](?:[\\/]|$)|[\\/]\?\?[\\/]")
_DRIVE = re.compile(r"([A-Za-z]):")
_DEVICE_NAME = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[1-9¹²³])", re.IGNORECASE)
_ILLEGAL = re.compile(r'[<>:"|?*]')
_ILLEGAL_IN_SHARE = re.compile(r'[<>:"|?*+=;,\[\]]')
_HOST_NAME = re.compile(r"[\w](?:[\w.-]*[\w])?")
_ASCII_UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class HostPlatform(enum.StrEnum):
    """How paths are written on the agent's machine."""

    WINDOWS = "windows"
    POSIX = "posix"


class PathKind(enum.StrEnum):
    """What a storage path names: a folder on a Windows drive, on a share, on a POSIX system."""

    LOCAL = "local"
    UNC = "unc"
    POSIX = "posix"


class DriveKind(enum.StrEnum):
    """What is behind a drive letter.

    Source: Win32_LogicalDisk.DriveType; SUBSTITUTED is a `subst` drive, which that call does not tell apart.
    """

    FIXED = "fixed"
    REMOVABLE = "removable"
    MAPPED = "mapped"
    OPTICAL = "optical"
    MEMORY = "memory"
    SUBSTITUTED = "substituted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Drive:
    r"""A drive letter as the agent's account sees it.

    Attributes:
        letter: `C`.
        kind: what is behind it.
        target: what a mapped or substituted drive stands for, `\\server\share`; empty if not known.
    """

    letter: str
    kind: DriveKind
    target: str = ""


@dataclass(frozen=True, slots=True)
class StoragePath:
    r"""A storage path in its one spelling.

    Attributes:
        kind: what it names.
        root: `C:`, `\\server\share`, or empty for POSIX.
        names: the folders below the root.
    """

    kind: PathKind
    root: str
    names: tuple[str, ...]

    @property
    def separator(self) -> str:
        """What stands between folders."""
        return "/" if self.kind is PathKind.POSIX else "\\"

    @property
    def text(self) -> str:
        """The path as it is shown and used; the root of a drive ends with its separator."""
        tail = self.separator.join(self.names)
        return self.root + self.separator + tail if tail or self.kind is not PathKind.UNC else self.root

    @property
    def key(self) -> str:
        """Equal for two spellings that certainly name one folder.

        Windows does not tell case apart; how it does that beyond ASCII depends on the volume.
        """
        return self.text if self.kind is PathKind.POSIX else self.text.translate(_ASCII_UPPER)

    @property
    def drive_letter(self) -> str:
        """Letter of the drive, upper case; empty for other kinds."""
        return self.root[0] if self.kind is PathKind.LOCAL else ""

    def is_within(self, other: StoragePath) -> bool:
        """Whether this is `other` or lies below it, judged by the names alone."""
        end = other.key if other.key.endswith(self.separator) else other.key + self.separator
        return self.kind is other.kind and (self.key + self.separator).startswith(end)


@dataclass(frozen=True, slots=True)
class SamePlaceQuestion:
    """Whether two paths are one folder; only a probe written through one and read through the other can tell.

    Attributes:
        written: where the probe file is written.
        read: where it must be found.
    """

    written: StoragePath
    read: StoragePath


def parse_storage_path(
    text: str, platform: HostPlatform, *, field: str = FIELD
) -> StoragePath | tuple[Violation, ...]:
    """Bring a storage path into its one spelling.

    Separators are unified and doubled ones dropped, `.` is dropped, drive letters become upper case and
    server names lower case.

    Args:
        text: the path as given.
        platform: the platform of the agent's machine.
        field: the field that violations name.

    Returns:
        The path, or everything that is wrong with it.
    """
    found = tuple(_whole_text_faults(text, field))
    if found:
        return found
    if platform is HostPlatform.POSIX:
        return _parse_posix(text, field)
    return _parse_unc(text, field) if re.match(r"[\\/]{2}", text) else _parse_local(text, field)


def storage_path_violations(
    text: str, platform: HostPlatform, drives: Sequence[Drive] | None = None, *, field: str = FIELD
) -> tuple[Violation, ...]:
    """Check a storage path (CC-5).

    Args:
        text: the path as given.
        platform: the platform of the agent's machine.
        drives: the drives that the agent's account sees; None when that is not known.
        field: the field that violations name.
    """
    path = parse_storage_path(text, platform, field=field)
    if not isinstance(path, StoragePath):
        return path
    return tuple(_drive_faults(path, drives, field)) if drives is not None else ()


def same_place_question(first: StoragePath, second: StoragePath) -> SamePlaceQuestion | None:
    """Return what a probe has to find out; None when both are the same by their names already."""
    return None if first.key == second.key else SamePlaceQuestion(first, second)


def _whole_text_faults(text: str, field: str) -> Iterator[Violation]:
    if not text.strip():
        yield Violation(field, "path-empty", "No storage path is given.", "Give the whole path of a folder.")
    elif _CONTROL.search(text):
        yield Violation(
            field,
            "path-control-character",
            "The path holds a character that cannot be printed.",
            "Type the path again instead of pasting it.",
        )
    elif _DEVICE.match(text):
        yield Violation(
            field,
            "path-device-namespace",
            "Paths that begin with \\\\?\\ or \\\\.\\ address devices and are not accepted.",
            "Write the path like C:\\Virtual Machines or \\\\server\\share\\folder.",
        )


def _parse_posix(text: str, field: str) -> StoragePath | tuple[Violation, ...]:
    if _DRIVE.match(text) or text.startswith(("\\\\", "//")):
        return (_other_platform(field, "The agent's machine has no drive letters and no UNC paths."),)
    if not text.startswith("/"):
        return (_relative(field),)
    names = tuple(name for name in text.split("/") if name not in ("", "."))
    faults = list(_posix_faults(names, field))
    if len("/".join(names).encode()) + 1 > POSIX_MAX_BYTES:
        faults.append(_too_long(field, POSIX_MAX_BYTES))
    return tuple(faults) or StoragePath(PathKind.POSIX, "", names)


def _posix_faults(names: tuple[str, ...], field: str) -> Iterator[Violation]:
    if not names:
        yield Violation(
            field,
            "path-is-root",
            "The root folder of the machine cannot be the storage path.",
            "Name a folder below it, such as /var/lib/sekiso/storage.",
        )
    for name in names:
        if name == "..":
            yield _parent(field)
        elif "\\" in name:
            yield Violation(
                field,
                "path-illegal-character",
                f"The folder name {name} holds the character \\, which is not accepted.",
                "Choose a folder without it.",
            )
        elif len(name.encode()) > _NAME_MAX:
            yield _name_too_long(field, name)


def _parse_local(text: str, field: str) -> StoragePath | tuple[Violation, ...]:
    drive = _DRIVE.match(text)
    if drive is None:
        rooted = text[0] in "\\/"
        return (_no_drive(field) if rooted else _relative(field),)
    rest = text[2:]
    if not rest.startswith(("\\", "/")):
        return (
            Violation(
                field,
                "path-drive-relative",
                f"{text} depends on the current folder of the drive.",
                "Put a \\ after the colon.",
            ),
        )
    return _windows_path(PathKind.LOCAL, drive[1].upper() + ":", _windows_names(rest), field)


def _parse_unc(text: str, field: str) -> StoragePath | tuple[Violation, ...]:
    server, _, tail = text[2:].replace("/", "\\").partition("\\")
    share, *names = _windows_names(tail) or ("",)
    if not server or not share:
        return (
            Violation(
                field,
                "path-unc-incomplete",
                "A UNC path names a server and a share.",
                "Write it like \\\\server\\share\\folder.",
            ),
        )
    if not _HOST_NAME.fullmatch(server) or len(server) > _NAME_MAX:
        return (
            Violation(
                field,
                "path-unc-server",
                f"{server} is no name or address of a server.",
                "Write the path like \\\\server\\share\\folder.",
            ),
        )
    if not _is_share(share):
        return (
            Violation(
                field,
                "path-unc-share",
                f"{share} is no name of a share that holds folders.",
                "Write the path like \\\\server\\share\\folder.",
            ),
        )
    return _windows_path(PathKind.UNC, f"\\\\{server.lower()}\\{share}", tuple(names), field)


def _is_share(share: str) -> bool:
    is_name = len(share) <= _SHARE_MAX_CHARS and not _ILLEGAL_IN_SHARE.search(share)
    return is_name and share.upper() not in ("IPC$", "PRINT$", "..") and share == share.rstrip(" .")


def _windows_names(text: str) -> tuple[str, ...]:
    return tuple(name for name in re.split(r"[\\/]", text) if name not in ("", "."))


def _windows_path(
    kind: PathKind, root: str, names: tuple[str, ...], field: str
) -> StoragePath | tuple[Violation, ...]:
    path = StoragePath(kind, root, names)
    faults = [fault for name in names for fault in _windows_name_faults(name, field)]
    if _utf16_length(path.text) > WINDOWS_MAX_CHARS:
        faults.append(_too_long(field, WINDOWS_MAX_CHARS))
    return tuple(faults) or path


def _windows_name_faults(name: str, field: str) -> Iterator[Violation]:
    if name == "..":
        yield _parent(field)
        return
    illegal = _ILLEGAL.search(name)
    if illegal:
        yield Violation(
            field,
            "path-illegal-character",
            f"The folder name {name} holds the character {illegal[0]}, which Windows does not allow.",
            "Choose a folder without it.",
        )
    if _DEVICE_NAME.fullmatch(name.partition(".")[0].rstrip(" ")):
        yield Violation(
            field,
            "path-reserved-name",
            f"The folder name {name} is reserved by Windows for a device.",
            "Choose another folder name.",
        )
    if name != name.rstrip(" ."):
        yield Violation(
            field,
            "path-trailing-character",
            f"The folder name {name} ends with a space or a full stop, which Windows drops.",
            "Remove it.",
        )
    if _utf16_length(name) > _NAME_MAX:
        yield _name_too_long(field, name)


def _drive_faults(path: StoragePath, drives: Sequence[Drive], field: str) -> Iterator[Violation]:
    letter = path.drive_letter
    if not letter:
        return
    drive = next((d for d in drives if d.letter.upper().rstrip(":\\") == letter), None)
    if drive is None:
        yield Violation(
            field,
            "path-no-such-drive",
            f"The agent's account sees no drive {letter}: on its machine; "
            "a mapped drive exists only for the person who mapped it.",
            "Choose a local drive, or write the place as a UNC path.",
        )
    elif drive.kind in (DriveKind.MAPPED, DriveKind.SUBSTITUTED):
        yield _mapped(drive, letter, path, field)
    elif drive.kind in (DriveKind.OPTICAL, DriveKind.MEMORY):
        yield Violation(
            field,
            "path-unsuitable-drive",
            f"The drive {letter}: does not keep what is written to it.",
            "Choose a fixed drive.",
        )


def _mapped(drive: Drive, letter: str, path: StoragePath, field: str) -> Violation:
    reason = f"{letter}: is a mapped drive, which machine accounts do not see."
    if not drive.target:
        return Violation(field, "path-mapped-drive", reason, "Write the place as a UNC path.")
    place = "\\".join((drive.target.rstrip("\\"), *path.names))
    return Violation(field, "path-mapped-drive", reason, f"Write the place as {place} instead.")


def _other_platform(field: str, reason: str) -> Violation:
    return Violation(
        field, "path-other-platform", reason, "Write an absolute path such as /var/lib/sekiso/storage."
    )


def _no_drive(field: str) -> Violation:
    return Violation(
        field,
        "path-other-platform",
        "The agent's machine runs Windows, where a path begins with a drive or a server.",
        "Write the path like C:\\Virtual Machines or \\\\server\\share\\folder.",
    )


def _relative(field: str) -> Violation:
    return Violation(field, "path-relative", "The path is not absolute.", "Give the whole path of a folder.")


def _parent(field: str) -> Violation:
    return Violation(
        field,
        "path-parent",
        "The path holds .., so that it does not show which folder it names.",
        "Give the whole path of a folder.",
    )


def _name_too_long(field: str, name: str) -> Violation:
    return Violation(
        field,
        "path-name-too-long",
        f"The folder name {name[:20]}… is longer than {_NAME_MAX} characters.",
        "Choose another folder name.",
    )


def _too_long(field: str, maximum: int) -> Violation:
    return Violation(
        field,
        "path-too-long",
        f"The path is longer than {maximum} characters, so that names of disks below it may not fit.",
        "Choose a folder with a shorter path.",
    )


def _utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
