from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from sekiso.store.layer_file import Compression

from .systems import do_compose, do_import, fill_system, make_disk, request_for


@dataclass(frozen=True)
class Linux:
    """The small system: as a folder, as a disk, as an OS layer, and composed as a boot disk."""

    tree: Path
    disk: Path
    layer: Path
    boot_disk: Path


@pytest.fixture(scope="session")
def linux(tmp_path_factory: pytest.TempPathFactory) -> Linux:
    place = tmp_path_factory.mktemp("linux")
    tree = place / "tree"
    tree.mkdir()
    fill_system(tree)
    disk = make_disk(tree, place / "source.raw")
    do_import(disk, place / "os.wim", compression=Compression.NONE)
    boot_disk = place / "boot.vhd"
    do_compose(request_for([place / "os.wim"], boot_disk), verify=False)
    return Linux(tree, disk, place / "os.wim", boot_disk)
