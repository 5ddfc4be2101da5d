"""Layer files: what is kept, what is refused, what is left behind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekiso.errors import (
    AlreadyExistsError,
    DamagedInputError,
    NotFoundError,
    SekisoError,
    UnsupportedInputError,
)
from sekiso.model.layer import GuestFamily, LayerKind, LayerManifest, Provenance
from sekiso.store.layer_file import MANIFEST_PROPERTY, LayerFile, LayerWriter
from sekiso.wim.tree import Node, find, new_root, walk
from sekiso.wim.writer import WimWriter

MANIFEST = LayerManifest("Ünïcode 積層", "1.0", LayerKind.APP, GuestFamily.LINUX, tree="", base=("a" * 64,))


def write_layer(
    path: Path,
    files: Mapping[str, bytes],
    manifest: LayerManifest = MANIFEST,
    bases: Mapping[str, bytes | None] | None = None,
) -> LayerManifest:
    with LayerWriter(path) as writer:
        root = new_root()
        for name, content in files.items():
            assert root.children is not None
            root.children[name] = Node(name=name, data=writer.wim.add_bytes(content))
        return writer.finish(manifest, root, bases)


def write_manifest(path: Path, text: str | None) -> Path:
    """Write a WIM whose image says `text` where a layer has its manifest."""
    with WimWriter(path) as writer:
        writer.add_image(new_root(), name="x", properties={} if text is None else {MANIFEST_PROPERTY: text})
        writer.commit()
    return path


def manifest_text(**changes: object) -> str:
    fields: dict[str, object] = {
        "name": "n", "layer_version": "1", "kind": "app", "family": "linux", "tree": "0" * 64,
        "format": "sekiso-layer", "version": 1,
    }  # fmt: skip
    fields.update(changes)
    return json.dumps({key: value for key, value in fields.items() if value is not None})


def test_a_layer_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "layer.wim"
    given_manifest = replace(
        MANIFEST, deleted=("/odd/\udcff",), notes=('quotes " and <xml> & 日本語',), replaced=("/opt",)
    )
    done = write_layer(path, {"one": b"1" * 5000, "empty": b""}, given_manifest)
    assert [p.name for p in tmp_path.iterdir()] == ["layer.wim"]
    with LayerFile(path) as layer:
        assert layer.manifest == done
        assert replace(done, tree="") == given_manifest
        assert layer.name == "Ünïcode 積層 1.0"
        assert [p for p, _ in walk(layer.tree())] == ["/empty", "/one"]
        node = find(layer.tree(), "/one")
        assert node is not None and layer.wim.read_blob(node.data) == b"1" * 5000
        summary = layer.summary()
    assert (summary.blobs, summary.content_bytes) == (1, 5000)
    assert summary.identity == done.identity
    assert summary.file_bytes == path.stat().st_size


def test_identity_follows_content_and_not_provenance(tmp_path: Path) -> None:
    def identity(file: str, content: bytes, **changes: object) -> str:
        return write_layer(tmp_path / file, {"f": content}, replace(MANIFEST, **changes)).identity  # type: ignore[arg-type]

    first = identity("1", b"x")
    assert identity("2", b"x", provenance=Provenance("other tool", "2030-01-01", "elsewhere")) == first
    others = [
        identity("3", b"y"),
        identity("4", b"x", name="other"),
        identity("5", b"x", deleted=("/gone",)),
        identity("6", b"x", base=()),
        identity("7", b"x", kind=LayerKind.PLATFORM),
    ]
    assert len({first, *others}) == 6


def test_files_merged_by_content_come_back_as_the_base_had_them(tmp_path: Path) -> None:
    path = tmp_path / "layer.wim"
    bases = {"/var/lib/dpkg/status": b"Package: base\n", "/etc/passwd": b"", "/etc/new": None}
    done = write_layer(path, {"f": b"x"}, bases=bases)
    assert done.structured == ("/etc/new", "/etc/passwd", "/var/lib/dpkg/status")
    with LayerFile(path) as layer:
        assert {name: layer.base_content(name) for name in bases} == bases
        assert layer.base_content("/etc/hosts") is None
        assert len(layer.wim.images) == 2
    write_layer(tmp_path / "none.wim", {"f": b"x"}, bases={"/etc/new": None})
    with LayerFile(tmp_path / "none.wim") as layer:
        assert layer.base_content("/etc/new") is None
        assert len(layer.wim.images) == 1


def test_an_existing_file_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "layer.wim"
    path.write_bytes(b"precious")
    with pytest.raises(AlreadyExistsError):
        LayerWriter(path)
    assert path.read_bytes() == b"precious"


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="The layer file"):
        LayerFile(tmp_path / "none.wim")
    with pytest.raises(NotFoundError, match="The folder"):
        LayerWriter(tmp_path / "no" / "layer.wim")


def test_a_writer_that_is_left_early_leaves_nothing(tmp_path: Path) -> None:
    with LayerWriter(tmp_path / "layer.wim") as writer:
        writer.wim.add_bytes(b"x" * 3_000_000)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError), LayerWriter(tmp_path / "layer.wim") as writer:
        writer.wim.add_bytes(b"x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"text"',
        "null",
        "[" * 200_000,
        '{"a":' * 50_000,
        manifest_text(format="other-layer"),
        manifest_text(format=None),
        manifest_text(version=None),
        manifest_text(version="1"),
        manifest_text(version=0),
        manifest_text(version=-3),
        manifest_text(version=1.5),
        manifest_text(name=None),
        manifest_text(kind="demon"),
        manifest_text(family="plan9"),
        manifest_text(deleted="/not/a/list"),
        manifest_text(deleted=[1, 2]),
        manifest_text(boot={"generation": 7}),
        manifest_text(tree=5),
    ],
    ids=lambda text: f"{text[:30]}…{len(text)}",
)
def test_a_damaged_manifest_is_damage(tmp_path: Path, text: str) -> None:
    path = write_manifest(tmp_path / "layer.wim", text)
    with pytest.raises(DamagedInputError) as caught:
        LayerFile(path)
    assert caught.value.params["path"] == path
    assert len(caught.value.render()) < 2000


@pytest.mark.parametrize("version", [2, 10**30])
def test_a_later_format_asks_for_an_update(tmp_path: Path, version: int) -> None:
    path = write_manifest(tmp_path / "layer.wim", manifest_text(version=version, something_new=[1]))
    with pytest.raises(UnsupportedInputError, match="Update Sekiso"):
        LayerFile(path)


def test_a_wim_without_manifest_is_no_layer(tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "plain.wim", None)
    with pytest.raises(UnsupportedInputError, match="not a layer"):
        LayerFile(path)
    with WimWriter(tmp_path / "empty.wim") as writer:
        writer.commit()
    with pytest.raises(UnsupportedInputError, match="not a layer"):
        LayerFile(tmp_path / "empty.wim")


def test_another_tree_than_the_manifest_names_is_damage(tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "layer.wim", manifest_text())
    with LayerFile(path) as layer, pytest.raises(DamagedInputError, match="not the one"):
        layer.tree()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("layer") / "layer.wim"
    write_layer(path, {"f": b"content", "g": b"more"}, bases={"/etc/passwd": b"root:x:0:0\n"})
    return path.read_bytes()


@settings(max_examples=120)
@given(data=st.data())
def test_damage_anywhere_is_a_typed_error_or_is_no_matter(
    sample: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(sample) - 1))
    raw = bytearray(sample[: data.draw(st.integers(at + 1, len(sample)))])
    raw[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("damaged") / "layer.wim"
    path.write_bytes(raw)
    try:
        with LayerFile(path) as layer:
            layer.tree()
            layer.base_content("/etc/passwd")
            layer.summary()
    except SekisoError:
        pass
