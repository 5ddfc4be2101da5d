"""Where the plan of an image is kept."""

from __future__ import annotations

from pathlib import Path

RECORD_SUFFIX = ".sekiso.json"


def record_path(image: Path) -> Path:
    """Return where the plan of an image is kept: beside it."""
    return image.with_name(image.name + RECORD_SUFFIX)
