"""What we write, others read, and the other way round."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sekiso.errors import DamagedInputError, NotFoundError, UnsupportedInputError
from sekiso.wim import libwim
from sekiso.wim.diff import diff
from sekiso.wim.file import WimFile
from sekiso.wim.metadata import serialize_metadata
from sekiso.wim.names import fold
from sekiso.wim.writer import WimWriter

from .build import blob_wim, fill_linux, make_ntfs, metadata_wim, read, run

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything in it, captured by wimlib-imagex."""
    base = tmp_path_factory.mktemp("captured")
    (base / "in").mkdir()
    fill_linux(base / "in")
    run("wimlib-imagex", "capture", base / "in", base / "c.wim", "--unix-data", "--compress=none")
    return base / "c.wim"


def test_wimlib_and_7zip_accept_what_we_write(captured: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.wim"
    manifest = '{"a": "\u6f22 <&>\\"\\n"}'
    with WimFile.open(captured) as source, WimWriter(out) as writer:
        tree = source.read_tree()
        for sha1 in source.blobs:
            writer.copy_blob(source, sha1)
        writer.add_bytes(b"in no image")
        writer.add_image(tree, name="first", properties={"SEKISO/MANIFEST": manifest, "DESCRIPTION": "d"})
        writer.add_image(tree, name="second")
        writer.commit()
    run("wimverify", out)
    text = run("wiminfo", out)
    theirs = run("wiminfo", captured)
    for field in ("Directory Count", "File Count", "Total Bytes", "Hard Link Bytes"):
        line = next(part for part in theirs.splitlines() if part.startswith(field))
        assert text.count(line) == 2, line
    assert "Image Count:    2" in text
    run("wiminfo", out, f"--extract-xml={tmp_path / 'xml'}")
    theirs_xml = ElementTree.fromstring((tmp_path / "xml").read_bytes().decode("utf-16"))
    assert theirs_xml.findtext("IMAGE/SEKISO/MANIFEST") == manifest
    assert "Everything is Ok" in run("7z", "t", out)
    assert run("wimdir", out, "1") == run("wimdir", captured)


def test_metadata_that_libwim_wrote_from_ours_is_the_same_tree(captured: Path, tmp_path: Path) -> None:
    """The other direction: libwim reads our metadata and writes its own."""
    tree = read(captured)
    ours = metadata_wim(tmp_path / "m.wim", tree)
    libwim.export(ours, tmp_path / "e.wim", "none", references=[captured])
    assert not diff(tree, read(tmp_path / "e.wim"), case_sensitive=True, ignore=())
    assert serialize_metadata(read(tmp_path / "e.wim")) == serialize_metadata(tree)


@pytest.mark.parametrize("compression", ["none", "xpress", "lzx", "lzx20", "solid"])
def test_every_compression_is_read_and_keeps_everything(
    captured: Path, tmp_path: Path, compression: libwim.Compression
) -> None:
    source, packed = tmp_path / "s.wim", tmp_path / "p.wim"
    big = os.urandom(100_000) + bytes(300_000) + os.urandom(70_000)
    with WimFile.open(captured) as wim, WimWriter(source) as writer:
        for sha1 in wim.blobs:
            writer.copy_blob(wim, sha1)
        extra = writer.add_bytes(big)
        tree = wim.read_tree()
        writer.add_image(tree, name="one", properties={"SEKISO/MANIFEST": "{}"})
        writer.add_image(tree, name="two")
        writer.commit()
    libwim.export(source, packed, compression)
    run("wimverify", packed)
    with WimFile.open(source) as before, WimFile.open(packed) as after:
        assert set(after.blobs) == set(before.blobs)
        for sha1 in before.blobs:
            assert after.read_blob(sha1) == before.read_blob(sha1)
        assert after.read_blob(extra) == big
        assert after.locate_blob(extra).compressed == (compression != "none")
        assert [image.name for image in after.images] == ["one", "two"]
        assert after.properties(1)["SEKISO/MANIFEST"] == "{}"
        assert after.read_metadata(2) is not None
        assert not diff(tree, after.read_tree(2), case_sensitive=True, ignore=())


@pytest.mark.parametrize("compression", ["xpress", "lzx", "solid"])
def test_damaged_compressed_content_is_refused(captured: Path, tmp_path: Path, compression: str) -> None:
    packed = tmp_path / "p.wim"
    libwim.export(captured, packed, compression)  # type: ignore[arg-type]
    with WimFile.open(packed) as wim:
        sha1 = max(wim.blobs, key=lambda h: wim.blobs[h].size_bytes)
        where = wim.blobs[sha1]
    raw = bytearray(packed.read_bytes())
    middle = where.offset + where.stored_bytes // 2
    raw[middle : middle + 4] = bytes(b ^ 0x5A for b in raw[middle : middle + 4])
    packed.write_bytes(raw)
    with WimFile.open(packed) as wim, pytest.raises(DamagedInputError):
        wim.read_blob(sha1)
    with pytest.raises(DamagedInputError):
        libwim.verify(packed)


def test_kinds_of_wim_that_are_refused_say_how_to_convert_them(captured: Path, tmp_path: Path) -> None:
    run("wimlib-imagex", "export", captured, "1", tmp_path / "pipe.wim", "--pipable")
    with pytest.raises(UnsupportedInputError, match="--not-pipable"):
        WimFile.open(tmp_path / "pipe.wim")
    run("wimlib-imagex", "split", captured, tmp_path / "s.swm", "1")
    with pytest.raises(UnsupportedInputError, match="split"):
        WimFile.open(tmp_path / "s.swm")


def test_missing_content_is_named(captured: Path, tmp_path: Path) -> None:
    ours = metadata_wim(tmp_path / "m.wim", read(captured))
    with pytest.raises(NotFoundError):
        libwim.apply_folder(ours, [blob_wim(tmp_path / "b.wim", [b"other"])], tmp_path / "out")


def test_names_fold_as_the_tables_of_a_real_volume_say(tmp_path: Path) -> None:
    volume = make_ntfs(tmp_path / "v.ntfs", 8 << 20)
    table = subprocess.run(["ntfscat", "-i", "10", volume], capture_output=True, check=True).stdout
    assert len(table) == 131072
    for unit in range(65536):
        mapped = int.from_bytes(table[2 * unit : 2 * unit + 2], "little")
        assert ord(fold(chr(unit))) == mapped, hex(unit)
