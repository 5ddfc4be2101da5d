"""Small Debian packages for tests, built with dpkg-deb."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.integration.guests.disks import run


def make_package(
    folder: Path,
    name: str = "sekiso-probe",
    *,
    version: str = "1.0",
    files: dict[str, str] | None = None,
    scripts: dict[str, str] | None = None,
    fields: str = "",
) -> Path:
    """Build `name.deb` in `folder`.

    Args:
        folder: where it goes.
        name: name of the package.
        version: its version.
        files: content by path, without the leading slash.
        scripts: maintainer scripts by name, without their first line; `triggers` as it is.
        fields: more lines for the control file.
    """
    tree = folder / f"{name}-tree"
    (tree / "DEBIAN").mkdir(parents=True)
    for path, text in {f"usr/share/{name}/text": "installed\n", **(files or {})}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n"
        f"{fields}Description: proof that a package was installed\n"
    )
    for script, text in (scripts or {}).items():
        path = tree / "DEBIAN" / script
        path.write_text(text if script == "triggers" else f"#!/bin/sh\nset -e\n{text}\n")
        path.chmod(0o644 if script == "triggers" else 0o755)
    package = folder / f"{name}.deb"
    run("dpkg-deb", "--root-owner-group", "-b", tree, package)
    shutil.rmtree(tree)
    return package
