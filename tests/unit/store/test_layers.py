"""The appliance's layer files (TR-5)."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sekiso.errors import CanceledError, DamagedInputError, NotFoundError, UnsupportedInputError
from sekiso.model.progress import SilentProgress
from sekiso.store import layers as module
from sekiso.store.layer_file import LayerFile
from sekiso.store.layers import LayerStore
from sekiso.transfer.manifest import hash_file
from sekiso.wim.merge import LayerTree
from sekiso.wim.tree import Node, new_root
from sekiso.wim.writer import write_metadata_wim
from tests.unit.compositing.edit_scripts import identity, write_layer


def layer_file(out: Path, name: str = "app") -> Path:
    root, data = new_root(), {bytes(range(20)): b""}
    assert root.children is not None
    root.children["file"] = Node("file")
    return write_layer(out, LayerTree(name, root), {**data, bytes(20): b""})


@pytest.fixture
def store(tmp_path: Path) -> LayerStore:
    return LayerStore(tmp_path / "state/layers")


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_layer_is_taken_in_by_its_identity(store: LayerStore, tmp_path: Path) -> None:
    made = layer_file(tmp_path / "made.wim")
    wanted, content = identity(made), made.read_bytes()
    assert not store.exists(wanted)
    assert store.adopt(made) == wanted
    assert not made.exists()
    path = store.path(wanted)
    assert path == store.folder / wanted[:2] / f"{wanted}.wim"
    assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o440
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert store.exists(wanted)
    assert store.size_bytes(wanted) == len(content) == store.total_bytes()
    assert [(layer.identity, layer.file_bytes) for layer in store.list()] == [(wanted, len(content))]
    with LayerFile(path) as layer:
        assert layer.manifest.identity == wanted


def test_it_is_written_once(store: LayerStore, tmp_path: Path) -> None:
    wanted = store.adopt(layer_file(tmp_path / "made.wim"))
    before = store.path(wanted).stat()
    again = layer_file(tmp_path / "again.wim")
    assert store.adopt(again) == wanted
    assert not again.exists()
    after = store.path(wanted).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert files(store.folder) == [f"{wanted[:2]}/{wanted}.json", f"{wanted[:2]}/{wanted}.wim"]


def test_the_manifest_is_made_once_and_again_if_it_is_lost(
    store: LayerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = layer_file(tmp_path / "made.wim")
    manifest = hash_file(made)
    wanted = store.adopt(made)
    kept = store.path(wanted).with_suffix(".json")
    with monkeypatch.context() as patch:
        patch.delattr(module, "hash_file")
        assert store.manifest(wanted) == manifest
    for damage in (b"{", b"[]", b'{"format": 1}', None):
        kept.unlink()
        if damage is not None:
            kept.write_bytes(damage)
        assert store.manifest(wanted) == manifest
        assert store.manifest(wanted) == manifest


def test_what_is_no_layer_is_refused_and_stays(store: LayerStore, tmp_path: Path) -> None:
    plain = tmp_path / "plain.wim"
    write_metadata_wim(plain, new_root(), name="x")
    with pytest.raises(UnsupportedInputError):
        store.adopt(plain)
    broken = layer_file(tmp_path / "broken.wim")
    raw = bytearray(broken.read_bytes())
    raw[230] ^= 0xFF
    broken.write_bytes(raw)
    with pytest.raises(DamagedInputError):
        store.adopt(broken)
    with pytest.raises(NotFoundError):
        store.adopt(tmp_path / "none.wim")
    assert plain.exists() and broken.exists()
    assert files(store.folder) == []


@pytest.mark.parametrize("text", ["", "..", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_only_identities_name_files(store: LayerStore, text: str) -> None:
    with pytest.raises(NotFoundError):
        store.path(text)
    assert not store.exists(text)
    assert not store.remove(text)


def test_removal(store: LayerStore, tmp_path: Path) -> None:
    wanted = store.adopt(layer_file(tmp_path / "made.wim"))
    assert store.remove(wanted)
    assert not store.remove(wanted)
    assert files(store.folder) == []
    for ask in (store.size_bytes, store.manifest):
        with pytest.raises(NotFoundError, match="not in the store"):
            ask(wanted)
    assert store.list() == ()


def test_a_cancelled_adoption_leaves_all_as_it_was(store: LayerStore, tmp_path: Path) -> None:
    class Canceled(SilentProgress):
        def canceled(self) -> bool:
            return True

    made = layer_file(tmp_path / "made.wim")
    with pytest.raises(CanceledError):
        store.adopt(made, progress=Canceled())
    assert made.exists()
    assert files(store.folder) == []


def test_from_another_file_system(store: LayerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = layer_file(tmp_path / "made.wim")
    content = made.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(18, os.strerror(18))

    monkeypatch.setattr(module.os, "link", refuse)
    wanted = store.adopt(made)
    assert store.path(wanted).read_bytes() == content
    assert stat.S_IMODE(store.path(wanted).stat().st_mode) == 0o440
    assert files(store.folder) == [f"{wanted[:2]}/{wanted}.json", f"{wanted[:2]}/{wanted}.wim"]


def test_what_a_killed_process_left_goes_after_a_day(store: LayerStore) -> None:
    place = store.folder / "ab"
    place.mkdir()
    old, new = place / ".x.wim.11.part", place / ".x.wim.22.part"
    for part in (old, new):
        part.write_bytes(b"part")
    os.utime(old, (1, 1))
    LayerStore(store.folder)
    assert not old.exists() and new.exists()


def test_many_at_once(store: LayerStore, tmp_path: Path) -> None:
    made = [layer_file(tmp_path / f"{number}.wim") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(store.adopt, made))) == 1
    assert len(store.list()) == 1
    assert len(files(store.folder)) == 2
