"""Other programs that read WIM files read layers."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sekiso.errors import CanceledError
from sekiso.model.layer import GuestFamily, LayerKind, LayerManifest, Provenance
from sekiso.store.layer_file import Compression, LayerFile, LayerWriter
from sekiso.wim.tree import DIRECTORY, NORMAL, Node, new_root
from tests.integration.compositing.cancel import CancelAfter

FILES = {"text.txt": b"compressible " * 9000, "more.txt": b"other words " * 9000, "tiny": b"t", "empty": b""}
MANIFEST = LayerManifest("Tool", "1", LayerKind.APP, GuestFamily.WINDOWS, tree="")


def run(*argv: str | Path) -> str:
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def write_layer(
    path: Path, compression: Compression, source: str = "here", **options: object
) -> LayerManifest:
    root = new_root()
    folder = Node(name="Program Files", attributes=DIRECTORY, children={})
    assert root.children is not None and folder.children is not None
    root.children[folder.name] = folder
    with LayerWriter(path, compression) as writer:
        for name, content in FILES.items():
            sha1 = writer.wim.add_bytes(content)
            folder.children[name] = Node(name=name, attributes=NORMAL, data=sha1)
        manifest = replace(MANIFEST, provenance=Provenance("sekiso", "2026-01-01T00:00:00+00:00", source))
        return writer.finish(manifest, root, {"/base.hive": b"as it was"}, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", [Compression.NONE, Compression.XPRESS, Compression.LZX])
def test_other_programs_read_a_layer(tmp_path: Path, compression: Compression) -> None:
    path = tmp_path / "layer.wim"
    write_layer(path, compression)
    assert [p.name for p in tmp_path.iterdir()] == ["layer.wim"]
    info = run("wimlib-imagex", "info", path)
    assert "Image Count:    2" in info
    assert f"Compression:    {compression.value}".lower() in info.lower()
    run("wimlib-imagex", "verify", path)
    run("wimlib-imagex", "apply", path, "1", tmp_path / "applied")
    applied = tmp_path / "applied" / "Program Files"
    assert {p.name: p.read_bytes() for p in applied.iterdir()} == FILES
    listing = run("7z", "l", path)
    assert "text.txt" in listing and "more.txt" in listing
    run("7z", "t", path)


def test_identity_does_not_depend_on_compression_or_provenance(tmp_path: Path) -> None:
    identities = {
        write_layer(tmp_path / f"{compression}.wim", compression, source=compression).identity
        for compression in Compression
    }
    assert len(identities) == 1
    sizes = {c: (tmp_path / f"{c}.wim").stat().st_size for c in Compression}
    assert sizes[Compression.XPRESS] < sizes[Compression.NONE] / 2
    for compression in Compression:
        with LayerFile(tmp_path / f"{compression}.wim") as layer:
            assert layer.manifest.identity in identities
            assert layer.base_content("/base.hive") == b"as it was"
            layer.tree()


def test_a_layer_that_wimlib_rebuilt_is_the_same_layer(tmp_path: Path) -> None:
    done = write_layer(tmp_path / "layer.wim", Compression.NONE)
    run("wimlib-imagex", "optimize", tmp_path / "layer.wim", "--recompress", "--compress=LZX")
    with LayerFile(tmp_path / "layer.wim") as layer:
        layer.tree()
        assert layer.manifest.identity == done.identity


def test_a_cancellation_while_compressing_leaves_nothing(tmp_path: Path) -> None:
    for calls in range(3):
        with pytest.raises(CanceledError):
            write_layer(tmp_path / "layer.wim", Compression.LZX, progress=CancelAfter(calls))
        assert list(tmp_path.iterdir()) == []
