"""Files whose lines, or groups of lines, are the records.

Source: deb-triggers(5), dpkg-divert(1), dpkg-statoverride(1) and the files they keep; ucf(1); shells(5).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sekiso.errors import DamagedInputError
from sekiso.guests.linux.records import KeyedMerger, Records, keyed

LineKey = Callable[[str], str]


class LineMerger(KeyedMerger):
    """Merges a file line by line; `key` says what identifies a line."""

    def __init__(self, name: str, claims: str, key: LineKey, *, noun: str = "line") -> None:
        self.name = name
        self._claims = re.compile(claims + r"\Z")
        self._key = key
        self._noun = noun

    def claims(self, path: str) -> bool:
        """Whether the path is one of those of this merger."""
        return self._claims.match(path) is not None

    def parse(self, path: str, content: bytes) -> Records:
        """Return the lines that are not empty, by key."""
        del path
        lines = [line for line in content.split(b"\n") if line.strip()]
        return keyed([(self._key(line.decode("utf-8", "surrogateescape")), line + b"\n") for line in lines])

    def title(self, key: str) -> str:
        """Name the line."""
        return f"{self._noun} {key}"


def _whole(line: str) -> str:
    return line.strip()


def _first(line: str) -> str:
    return line.split(maxsplit=1)[0]


def _last(line: str) -> str:
    return line.rsplit(maxsplit=1)[-1]


class DiversionMerger(KeyedMerger):
    """Files that dpkg puts elsewhere: three lines each (path, diverted path, package)."""

    name = "dpkg-diversions"
    paths = ("/var/lib/dpkg/diversions",)

    def parse(self, path: str, content: bytes) -> Records:
        """Return the diversions by diverted path."""
        lines = content.split(b"\n")
        if lines and not lines[-1]:
            lines.pop()
        if len(lines) % 3:
            reason = "The number of lines is no multiple of three."
            raise DamagedInputError(path=path, offset=len(content), reason=reason)
        groups = [lines[i : i + 3] for i in range(0, len(lines), 3)]
        return keyed([(g[0].decode("utf-8", "surrogateescape"), b"\n".join(g) + b"\n") for g in groups])

    def title(self, key: str) -> str:
        """Name the diversion."""
        return f"diversion of {key}"


class CertificateMerger(KeyedMerger):
    """The bundle of trusted certificates that update-ca-certificates makes: a set of PEM blocks."""

    name = "ca-certificates"
    paths = ("/etc/ssl/certs/ca-certificates.crt",)
    _END = b"-----END CERTIFICATE-----\n"

    def parse(self, path: str, content: bytes) -> Records:
        """Return the certificates; each is its own key."""
        del path
        parts = (content if content.endswith(b"\n") else content + b"\n").split(self._END)
        pairs = [(p.decode("latin-1"), p + self._END) for p in parts[:-1]]
        return keyed(pairs + ([(parts[-1].decode("latin-1"), parts[-1])] if parts[-1].strip() else []))


LINE_MERGERS: tuple[KeyedMerger, ...] = (
    DiversionMerger(),
    CertificateMerger(),
    LineMerger("dpkg-statoverride", "/var/lib/dpkg/statoverride", _last, noun="override of"),
    LineMerger("dpkg-triggers", r"/var/lib/dpkg/triggers/(?!Lock)[^/]+", _whole, noun="trigger"),
    LineMerger("shells", "/etc/shells", _whole, noun="shell"),
    LineMerger("ucf-hashes", "/var/lib/ucf/hashfile", _last, noun="hash of"),
    LineMerger("ucf-registry", "/var/lib/ucf/registry", _last, noun="owner of"),
    LineMerger("modules", "/etc/modules", _first, noun="module"),
)
