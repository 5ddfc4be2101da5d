"""dpkg's database of a tree, read without dpkg: which packages are installed, and what they lack.

Source: deb-control(5), Debian Policy 7 (relationships), dpkg-query(1).
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sekiso.guests.linux.deb822 import fields, split_stanzas
from sekiso.guests.linux.versions import compare_versions

STATUS = "/var/lib/dpkg/status"
_PRESENT = ("installed", "triggers-awaited", "triggers-pending", "unpacked", "half-configured")
_RELATION = re.compile(
    r"\s*([a-z0-9][a-z0-9+.-]*)(?::([a-z0-9-]+))?\s*(?:\(\s*(<<|<=|=|>=|>>)\s*([^)\s]+)\s*\))?\s*(?:\[[^\]]*\])?\s*"
)
_RULES: dict[str, Callable[[int], bool]] = {
    "<<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    "=": lambda order: order == 0,
    ">=": lambda order: order >= 0,
    ">>": lambda order: order > 0,
}


@dataclass(frozen=True, slots=True)
class Package:
    """One package of the database.

    Attributes:
        name: its name.
        version: its version.
        architecture: its architecture.
        state: the last word of its status (`installed`, `config-files`, …).
        multi_arch: `same`, `foreign`, `allowed` or empty.
        provides: its Provides field.
        depends: its Pre-Depends and Depends fields, joined.
        conflicts: its Conflicts and Breaks fields, joined.
    """

    name: str
    version: str
    architecture: str
    state: str
    multi_arch: str = ""
    provides: str = ""
    depends: str = ""
    conflicts: str = ""


def packages(status: bytes) -> tuple[Package, ...]:
    """Return the packages that a status file names, in its order."""
    out: list[Package] = []
    for _, raw in split_stanzas(status):
        f = fields(raw)
        words = f.get("Status", "").split()
        if "Package" in f and words:
            out.append(
                Package(
                    name=f["Package"].strip(),
                    version=f.get("Version", "").strip(),
                    architecture=f.get("Architecture", "").strip(),
                    state=words[-1],
                    multi_arch=f.get("Multi-Arch", "").strip(),
                    provides=f.get("Provides", ""),
                    depends=_joined(f, "Pre-Depends", "Depends"),
                    conflicts=_joined(f, "Conflicts", "Breaks"),
                )
            )
    return tuple(out)


def package_list(status: bytes) -> bytes:
    """Return what `dpkg-query -W` prints in a machine with this status file.

    The SHA-256 of it is what the guest reports (`GuestReport.packages_sha256`).
    """
    known = [p for p in packages(status) if p.state != "not-installed"]
    known.sort(key=lambda p: (p.name.encode(), p.architecture.encode()))
    return "".join(f"{_shown(p)}\t{p.version}\n" for p in known).encode()


def package_list_sha256(status: bytes) -> str:
    """Return the SHA-256 of `package_list`."""
    return hashlib.sha256(package_list(status)).hexdigest()


def _shown(package: Package) -> str:
    return f"{package.name}:{package.architecture}" if package.multi_arch == "same" else package.name


def unmet(status: bytes) -> tuple[tuple[str, str], ...]:
    """Return relationships between installed packages that do not hold: (package, what is wrong).

    Merging layers that were captured apart can bring this about: one removes what another needs.
    """
    present = [p for p in packages(status) if p.state in _PRESENT]
    offers = _offers(present)
    out: list[tuple[str, str]] = []
    for package in present:
        for group in _groups(package.depends):
            if not any(_satisfied(offers, *relation) for relation in _relations(group)):
                out.append((package.name, f"needs {' '.join(group.split())}"))
        for group in _groups(package.conflicts):
            for name, rule, version in _relations(group):
                others = [o for o in offers.get(name, ()) if o[0] != package.name]
                if any(_holds(offered, rule, version) for _, offered in others):
                    out.append((package.name, f"does not go together with {' '.join(group.split())}"))
    return tuple(out)


def _offers(present: list[Package]) -> dict[str, list[tuple[str, str | None]]]:
    """Return by name who offers it and at which version (None: unversioned)."""
    out: dict[str, list[tuple[str, str | None]]] = defaultdict(list)
    for package in present:
        out[package.name].append((package.name, package.version))
        for group in _groups(package.provides):
            for name, _, version in _relations(group):
                out[name].append((package.name, version or None))
    return out


def _satisfied(offers: dict[str, list[tuple[str, str | None]]], name: str, rule: str, version: str) -> bool:
    return any(_holds(offered, rule, version) for _, offered in offers.get(name, ()))


def _holds(offered: str | None, rule: str, version: str) -> bool:
    if not rule:
        return True
    return offered is not None and _RULES[rule](compare_versions(offered, version))


def _groups(field: str) -> Iterator[str]:
    return (group for group in field.split(",") if group.strip())


def _relations(group: str) -> Iterator[tuple[str, str, str]]:
    for text in group.split("|"):
        # One blank for many: the pattern must not try every way to share them out.
        found = _RELATION.fullmatch(" ".join(text.split()))
        if found is not None:
            yield found.group(1), found.group(3) or "", found.group(4) or ""


def _joined(found: dict[str, str], *names: str) -> str:
    return ", ".join(found[n] for n in names if found.get(n, "").strip())
