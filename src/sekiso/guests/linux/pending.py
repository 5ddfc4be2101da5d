"""The integrity gate on a disk at rest: package work that a packaging machine left unfinished (LY-8)."""

from __future__ import annotations

import re
from collections.abc import Callable

_STATUS_PATH = "/var/lib/dpkg/status"
_STANZA = re.compile(rb"^Package: (\S+)$.*?^Status: (\S+) (\S+) (\S+)$", re.MULTILINE | re.DOTALL)
#: States of a package whose work is not done. Source: dpkg(1), "Package states".
_UNFINISHED = {
    b"half-installed": "was being unpacked",
    b"unpacked": "is unpacked but not configured",
    b"half-configured": "was being configured",
    b"triggers-awaited": "awaits the triggers of another package",
    b"triggers-pending": "has triggers that were not run",
}


def pending_packages(read: Callable[[str], bytes | None]) -> tuple[str, ...]:
    """Return a sentence for each package whose installation is not finished.

    Args:
        read: returns the content of a file by path, None if it is absent.
    """
    status = read(_STATUS_PATH) or b""
    found: list[str] = []
    for stanza in status.split(b"\n\n"):
        match = _STANZA.search(stanza)
        if match is None:
            continue
        package, _, flag, state = match.groups()
        name = package.decode("utf-8", "replace")
        if flag == b"reinstreq":
            found.append(f"The package {name} is broken and must be installed again.")
        elif state in _UNFINISHED:
            found.append(f"The package {name} {_UNFINISHED[state]}.")
    return tuple(found)
