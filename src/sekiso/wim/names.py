"""File names as NTFS compares them, and names that Windows cannot use."""

from __future__ import annotations

import re
from collections.abc import Callable

from sekiso.wim.tree import Node, walk

# Runs of UTF-16 units with an upper-case partner: first unit, count, step, distance.
# Source: the $UpCase file that NTFS volumes carry (Windows 7 and later, and mkfs.ntfs, write this one).
# Units outside these runs, and everything beyond the BMP, compare as they are.
_UPCASE_RUNS = (
    *((97, 26, 1, -32), (224, 23, 1, -32), (248, 7, 1, -32), (255, 1, 1, 121), (257, 24, 2, -1)),
    *((307, 3, 2, -1), (314, 8, 2, -1), (331, 23, 2, -1), (378, 3, 2, -1), (384, 1, 1, 195)),
    *((387, 2, 2, -1), (392, 1, 1, -1), (396, 1, 1, -1), (402, 1, 1, -1), (405, 1, 1, 97)),
    *((409, 1, 1, -1), (410, 1, 1, 163), (414, 1, 1, 130), (417, 3, 2, -1), (424, 1, 1, -1)),
    *((429, 1, 1, -1), (432, 1, 1, -1), (436, 2, 2, -1), (441, 1, 1, -1), (445, 1, 1, -1)),
    *((447, 1, 1, 56), (454, 1, 1, -2), (457, 1, 1, -2), (460, 1, 1, -2), (462, 8, 2, -1)),
    *((477, 1, 1, -79), (479, 9, 2, -1), (499, 1, 1, -2), (501, 1, 1, -1), (505, 20, 2, -1)),
    *((547, 9, 2, -1), (572, 1, 1, -1), (578, 1, 1, -1), (583, 5, 2, -1), (592, 1, 1, 10783)),
    *((593, 1, 1, 10780), (595, 1, 1, -210), (596, 1, 1, -206), (598, 2, 1, -205), (601, 1, 1, -202)),
    *((603, 1, 1, -203), (608, 1, 1, -205), (611, 1, 1, -207), (616, 1, 1, -209), (617, 1, 1, -211)),
    *((619, 1, 1, 10743), (623, 1, 1, -211), (625, 1, 1, 10749), (626, 1, 1, -213), (629, 1, 1, -214)),
    *((637, 1, 1, 10727), (640, 1, 1, -218), (643, 1, 1, -218), (648, 1, 1, -218), (649, 1, 1, -69)),
    *((650, 2, 1, -217), (652, 1, 1, -71), (658, 1, 1, -219), (881, 2, 2, -1), (887, 1, 1, -1)),
    *((891, 3, 1, 130), (940, 1, 1, -38), (941, 3, 1, -37), (945, 17, 1, -32), (963, 9, 1, -32)),
    *((972, 1, 1, -64), (973, 2, 1, -63), (983, 1, 1, -8), (985, 12, 2, -1), (1010, 1, 1, 7)),
    *((1016, 1, 1, -1), (1019, 1, 1, -1), (1072, 32, 1, -32), (1104, 16, 1, -80), (1121, 17, 2, -1)),
    *((1163, 27, 2, -1), (1218, 7, 2, -1), (1231, 1, 1, -15), (1233, 42, 2, -1), (1377, 38, 1, -48)),
    *((7545, 1, 1, 35332), (7549, 1, 1, 3814), (7681, 75, 2, -1), (7841, 48, 2, -1), (7936, 8, 1, 8)),
    *((7952, 6, 1, 8), (7968, 8, 1, 8), (7984, 8, 1, 8), (8000, 6, 1, 8), (8017, 4, 2, 8)),
    *((8032, 8, 1, 8), (8048, 2, 1, 74), (8050, 4, 1, 86), (8054, 2, 1, 100), (8056, 2, 1, 128)),
    *((8058, 2, 1, 112), (8060, 2, 1, 126), (8064, 8, 1, 8), (8080, 8, 1, 8), (8096, 8, 1, 8)),
    *((8112, 2, 1, 8), (8115, 1, 1, 9), (8131, 1, 1, 9), (8144, 2, 1, 8), (8160, 2, 1, 8)),
    *((8165, 1, 1, 7), (8179, 1, 1, 9), (8526, 1, 1, -28), (8560, 16, 1, -16), (8580, 1, 1, -1)),
    *((9424, 26, 1, -26), (11312, 47, 1, -48), (11361, 1, 1, -1), (11365, 1, 1, -10795)),
    *((11366, 1, 1, -10792), (11368, 3, 2, -1), (11379, 1, 1, -1), (11382, 1, 1, -1), (11393, 50, 2, -1)),
    *((11520, 38, 1, -7264), (42561, 16, 2, -1), (42595, 6, 2, -1), (42625, 12, 2, -1), (42787, 7, 2, -1)),
    *((42803, 31, 2, -1), (42874, 2, 2, -1), (42879, 5, 2, -1), (42892, 1, 1, -1), (65345, 26, 1, -32)),
)
_UPCASE = {
    unit: unit + distance
    for first, count, step, distance in _UPCASE_RUNS
    for unit in range(first, first + count * step, step)
}


def fold(name: str) -> str:
    """Return `name` so that two names are equal if and only if NTFS takes them for the same."""
    return name.upper() if name.isascii() else name.translate(_UPCASE)


def exact(name: str) -> str:
    """Return `name`: how case-sensitive file systems compare."""
    return name


def folding(*, case_sensitive: bool) -> Callable[[str], str]:
    """Return the function that makes names or paths comparable: `exact` or `fold`."""
    return exact if case_sensitive else fold


def collation_key(name: str) -> tuple[str, str]:
    """Return the key by which WIM sorts the entries of a folder: as NTFS does, then by exact spelling.

    NTFS sorts by UTF-16 units; names beyond the BMP sort by code point here, which is as deterministic
    and which no reader depends on.
    """
    return (fold(name), name)


# Source: "Naming Files, Paths, and Namespaces" (Win32 documentation). COM and LPT take the superscript
# digits one to three too.
_DEVICE = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3])(?: *\..*)?", re.S
)
_FORBIDDEN = re.compile(r'[\x00-\x1f"*/:<>?\\|]')
MAX_NAME_UNITS = 255


def windows_name_problem(name: str) -> str | None:
    """Return why Windows cannot use a file name, in a sentence, or None if it can."""
    bad = _FORBIDDEN.search(name)
    if bad:
        return f"The character U+{ord(bad[0]):04X} is not allowed in a Windows file name."
    if name[-1:] in (".", " "):
        return "A Windows file name cannot end with a dot or a space."
    if _DEVICE.fullmatch(name.upper()):
        return "The name is reserved for a device on Windows."
    if len(name.encode("utf-16-le", "surrogatepass")) > 2 * MAX_NAME_UNITS:
        return f"The name is longer than {MAX_NAME_UNITS} characters."
    return None


def reject_windows_names(root: Node) -> tuple[tuple[str, str], ...]:
    """Check every name of a tree that is to be used by Windows.

    libwim and NTFS-3G write such names without a word, and Windows then cannot open or delete them.

    Returns:
        (path, reason) for each entry that Windows cannot use, also for two names in one folder that
        differ only in case; empty when all is well.
    """
    found: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    for path, node in walk(root):
        problem = windows_name_problem(node.name)
        if problem is None:
            first = seen.setdefault(fold(path), path)
            if first != path:
                problem = f"{first} differs from it only in upper and lower case."
        if problem is not None:
            found.append((path, problem))
    return tuple(found)
