"""Copies what the console ships of others from the npm packages of package-lock.json into the package.

    npm ci --ignore-scripts --prefix script/assets && python script/assets/vendor.py [--check]

The files are in the repository, so that neither installing Sekiso nor its tests need npm. `--check` compares.
"""

from __future__ import annotations

import filecmp
import re
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
CONSOLE = HERE.parent.parent / "src" / "sekiso" / "console"

FILES = {
    "@tabler/core/dist/css/tabler.min.css": "static/vendor/tabler.min.css",
    "@tabler/icons/LICENSE": "icons/LICENSE",
    "htmx.org/dist/htmx.min.js": "static/vendor/htmx.min.js",
    "htmx.org/LICENSE": "static/vendor/LICENSE.htmx.txt",
    "@novnc/novnc/LICENSE.txt": "static/vendor/novnc/LICENSE.txt",
    "@novnc/novnc/docs/LICENSE.MPL-2.0": "static/vendor/novnc/LICENSE.MPL-2.0",
}
FOLDERS = {
    "@novnc/novnc/core": "static/vendor/novnc/core",
    "@novnc/novnc/vendor": "static/vendor/novnc/vendor",
}
#: The icons of the console, by their names in Tabler Icons (outline).
ICONS = (HERE / "icons.txt").read_text(encoding="utf-8").split()
_MAP = re.compile(rb"\n?/[/*][#@] sourceMappingURL=[^\n*]*(?:\*/)?")


def copy(target: Path) -> None:
    """Copy everything below `target`, laid out as in the package."""
    sources = {source: target / name for source, name in FILES.items()}
    for folder, name in FOLDERS.items():
        for file in sorted((MODULES / folder).rglob("*")):
            if file.is_file():
                inside = file.relative_to(MODULES / folder)
                sources[f"{folder}/{inside}"] = target / name / inside
    for icon in ICONS:
        sources[f"@tabler/icons/icons/outline/{icon}.svg"] = target / "icons" / f"{icon}.svg"
    for source, file in sources.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        # Source maps are not shipped: a browser with its tools open would ask for them in vain.
        file.write_bytes(_MAP.sub(b"", (MODULES / source).read_bytes()))


def differing(one: Path, other: Path) -> list[str]:
    """Return which files below `one` are missing or different below `other`."""
    names = [file.relative_to(one) for file in sorted(one.rglob("*")) if file.is_file()]
    return [
        str(name)
        for name in names
        if not (other / name).is_file() or not filecmp.cmp(one / name, other / name, shallow=False)
    ]


def main() -> int:
    if "--check" not in sys.argv[1:]:
        for name in ("icons", "static/vendor"):
            shutil.rmtree(CONSOLE / name, ignore_errors=True)
        copy(CONSOLE)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        copy(Path(folder))
        found = differing(Path(folder), CONSOLE)
    print("\n".join(found) or "the assets are those of package-lock.json")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
