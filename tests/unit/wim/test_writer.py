from __future__ import annotations

import errno
import hashlib
import os
import struct
from pathlib import Path

import pytest

from sekiso.errors import (
    AlreadyExistsError,
    DamagedInputError,
    NoSpaceError,
    NotFoundError,
    UnsupportedInputError,
)
from sekiso.wim.file import WimFile
from sekiso.wim.header import HEADER_BYTES
from sekiso.wim.metadata import serialize_metadata
from sekiso.wim.tree import DIRECTORY, NO_BLOB, Node, new_root
from sekiso.wim.writer import WimWriter, write_metadata_wim

from .model import START, sha1
from .test_merge import tree


def written(path: Path, *blobs: bytes, root: Node | None = None) -> Path:
    with WimWriter(path) as writer:
        for blob in blobs:
            writer.add_bytes(blob)
        if root is not None:
            writer.add_image(root, name="image", filetime=START)
        writer.commit()
    return path


def test_blobs_and_trees_come_back(tmp_path: Path) -> None:
    root = tree("/a/b", "/c")
    path = tmp_path / "x.wim"
    with WimWriter(path) as writer:
        first = writer.add([b"one", memoryview(b" two"), b""], 7)
        assert writer.add_bytes(b"") == NO_BLOB
        assert writer.add_bytes(b"one two") == first == sha1(b"one two")
        raw = writer.add_image(root, name="n", properties={"A/B": "1", "A/C": "2", "D": "<\u6f22>"})
        writer.add_image(new_root(), name="empty")
        writer.commit()
    assert raw == serialize_metadata(root)
    with WimFile.open(path) as wim:
        assert wim.image_count == 2
        assert list(wim.blobs) == [first]
        assert wim.read_blob(first) == b"one two"
        assert wim.read_blob(NO_BLOB) == b""
        assert b"".join(wim.blob_chunks(first)) == b"one two"
        assert wim.locate_blob(first).size_bytes == 7
        assert not wim.locate_blob(first).compressed
        assert wim.read_metadata(1) == raw
        assert serialize_metadata(wim.read_tree(1)) == raw
        properties = wim.properties(1)
        assert (properties["A/B"], properties["A/C"], properties["D"]) == ("1", "2", "<\u6f22>")
        assert [image.name for image in wim.images] == ["n", "empty"]
        assert properties["DIRCOUNT"] == "2"
        assert properties["FILECOUNT"] == "2"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.wim"]


def test_references_and_statistics_count_every_name(tmp_path: Path) -> None:
    data = sha1(b"data")
    root = tree(*(Node(p, data=data, link_group=1) for p in ("/a", "/b", "/c")), Node("/d", data=data))
    path = written(tmp_path / "x.wim", b"data", b"loose", root=root)
    with WimFile.open(path) as wim:
        assert wim.locate_blob(data).reference_count == 4
        assert wim.locate_blob(sha1(b"loose")).reference_count == 1
        assert wim.properties(1)["TOTALBYTES"] == "16"
        assert wim.properties(1)["HARDLINKBYTES"] == "8"


def test_the_same_input_gives_the_same_file(tmp_path: Path) -> None:
    one = written(tmp_path / "1.wim", b"x", root=tree("/a"))
    other = written(tmp_path / "2.wim", b"x", root=tree("/a"))
    assert one.read_bytes() == other.read_bytes()


def test_wrong_sizes_are_refused_and_leave_no_trace(tmp_path: Path) -> None:
    with WimWriter(tmp_path / "x.wim") as writer:
        for content, size in ((b"abc", 2), (b"abc", 4), (b"", 1), (b"x", 0)):
            with pytest.raises(ValueError, match="announced"):
                writer.add([content], size)

        def broken():
            yield b"half"
            raise OSError(errno.EIO, "no")

        with pytest.raises(OSError, match="no"):
            writer.add(broken(), 8)
        good = writer.add_bytes(b"good")
        writer.commit()
    with WimFile.open(tmp_path / "x.wim") as wim:
        assert wim.read_blob(good) == b"good"
        assert wim.locate_blob(good).offset == HEADER_BYTES


def test_an_abandoned_writer_leaves_nothing(tmp_path: Path) -> None:
    with WimWriter(tmp_path / "x.wim") as writer:
        writer.add_bytes(b"x" * 5_000_000)
    assert list(tmp_path.iterdir()) == []
    writer.abandon()
    with pytest.raises(ValueError, match="abandoned"):
        writer.commit()


def test_an_existing_target_is_kept_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    path = written(tmp_path / "x.wim", b"old")
    with pytest.raises(AlreadyExistsError):
        WimWriter(path)
    late = tmp_path / "late.wim"
    with WimWriter(late) as writer:
        late.write_bytes(b"someone else")
        with pytest.raises(AlreadyExistsError):
            writer.commit()
    assert late.read_bytes() == b"someone else"
    with WimWriter(path, replace=True) as writer:
        writer.add_bytes(b"new")
        writer.commit()
    with WimFile.open(path) as wim:
        assert list(wim.blobs) == [sha1(b"new")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["late.wim", "x.wim"]


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with WimWriter(tmp_path / "x.wim") as writer:
        writer.add_bytes(b"x")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(NoSpaceError):
            writer.commit()
    assert list(tmp_path.iterdir()) == []


def test_copying_checks_the_hash(tmp_path: Path) -> None:
    path = written(tmp_path / "x.wim", b"content")
    raw = bytearray(path.read_bytes())
    raw[HEADER_BYTES] ^= 1
    path.write_bytes(raw)
    with WimFile.open(path) as source, WimWriter(tmp_path / "y.wim") as writer:
        with pytest.raises(DamagedInputError, match="hash"):
            writer.copy_blob(source, sha1(b"content"))
        with pytest.raises(NotFoundError):
            writer.copy_blob(source, sha1(b"other"))
        writer.commit()
    with WimFile.open(tmp_path / "y.wim") as wim:
        assert wim.blobs == {}


def test_a_metadata_only_wim_has_the_sizes_it_is_told(tmp_path: Path) -> None:
    root = tree(Node("/a", data=sha1(b"elsewhere")))
    path = tmp_path / "m.wim"
    raw = write_metadata_wim(path, root, name="m", sizes={sha1(b"elsewhere"): 9})
    with WimFile.open(path) as wim:
        assert wim.properties(1)["TOTALBYTES"] == "9"
        assert wim.blobs == {}
        assert wim.read_metadata() == raw
        with pytest.raises(NotFoundError):
            wim.read_blob(sha1(b"elsewhere"))
        with pytest.raises(NotFoundError):
            wim.read_tree(2)


@pytest.mark.parametrize("properties", [{"A B": "x"}, {"A": "\0"}, {"A": "\ud800"}, {"A": "1", "A/B": "2"}])
def test_properties_that_xml_cannot_carry_are_refused(tmp_path: Path, properties: dict[str, str]) -> None:
    with WimWriter(tmp_path / "x.wim") as writer, pytest.raises(ValueError, match=r"property|XML"):
        writer.add_image(new_root(), name="n", properties=properties)


def test_properties_keep_white_space_and_line_ends(tmp_path: Path) -> None:
    value = " a\r\nb\tc \n"
    with WimWriter(tmp_path / "x.wim") as writer:
        writer.add_image(new_root(), name="n", properties={"A": value, "B[1]": "x"} | {"C/D[2]": "y"})
        writer.commit()
    with WimFile.open(tmp_path / "x.wim") as wim:
        assert wim.properties()["A"] == value


def test_content_longer_than_expected_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "x.wim", b"12345")
    with WimFile.open(path) as wim, pytest.raises(UnsupportedInputError, match="longer"):
        wim.read_blob(sha1(b"12345"), limit_bytes=4)


# --- damaged files


def _damaged(path: Path, at: int, raw: bytes) -> Path:
    whole = bytearray(path.read_bytes())
    whole[at : at + len(raw)] = raw
    path.write_bytes(whole)
    return path


@pytest.mark.parametrize(
    ("at", "raw", "error", "reason"),
    [
        (0, b"MZ", DamagedInputError, "not a WIM file"),
        (0, b"WLPWM\0\0\0", UnsupportedInputError, "pipable"),
        (8, struct.pack("<I", 200), DamagedInputError, "length of 200"),
        (12, struct.pack("<I", 0x10C00), UnsupportedInputError, "version"),
        (16, struct.pack("<I", 8), UnsupportedInputError, "split"),
        (16, struct.pack("<I", 0x40), DamagedInputError, "did not finish"),
        (16, struct.pack("<I", 0x1000000), UnsupportedInputError, "unknown flags"),
        (16, struct.pack("<II", 0x60002, 32768), DamagedInputError, "one compression"),
        (16, struct.pack("<II", 0x20002, 12345), DamagedInputError, "chunk size"),
        (40, struct.pack("<HH", 1, 3), UnsupportedInputError, "split"),
        (44, struct.pack("<I", 2**31), DamagedInputError, "images"),
        (44, struct.pack("<I", 2), DamagedInputError, "2 images but metadata of 1"),
        (0x30, b"\xff" * 7, DamagedInputError, "past the end"),
        (0x38, struct.pack("<Q", 2**63), DamagedInputError, "past the end"),
        (0x40, struct.pack("<Q", 2**40), DamagedInputError, "two different lengths"),
        (0x37, b"\x04", DamagedInputError, "no compression"),
        (0x4F, b"\x08", UnsupportedInputError, "several files"),
        (0x58, struct.pack("<Q", 2**40), DamagedInputError, "claims"),
    ],
)
def test_damaged_headers_are_named(
    tmp_path: Path, at: int, raw: bytes, error: type[Exception], reason: str
) -> None:
    path = _damaged(written(tmp_path / "x.wim", b"content", root=tree("/a")), at, raw)
    with pytest.raises(error) as caught:
        WimFile.open(path)
    assert reason in str(caught.value)


def test_every_shortened_file_is_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "x.wim", b"content", root=tree("/a")).read_bytes()
    short = tmp_path / "short.wim"
    for length in range(0, len(whole), 7):
        short.write_bytes(whole[:length])
        with pytest.raises(DamagedInputError):
            WimFile.open(short)


def test_metadata_with_a_wrong_hash_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "x.wim", root=tree("/a"))
    _damaged(path, HEADER_BYTES + 60, b"!")
    with WimFile.open(path) as wim, pytest.raises(DamagedInputError, match="hash"):
        wim.read_tree()


@pytest.mark.parametrize(
    ("xml", "error", "reason"),
    [
        ("<WIM>", DamagedInputError, "cannot be read"),
        ("<ESD><ENCRYPTED/></ESD>", UnsupportedInputError, "encrypted"),
        ("<OTHER/>", DamagedInputError, "not that of a WIM"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><WIM/>', DamagedInputError, "entities"),
    ],
)
def test_foreign_xml_is_refused(tmp_path: Path, xml: str, error: type[Exception], reason: str) -> None:
    path = written(tmp_path / "x.wim", root=tree("/a"))
    whole = path.read_bytes()
    raw = ("\ufeff" + xml).encode("utf-16-le")
    header = bytearray(whole[:HEADER_BYTES])
    header[0x48:0x60] = len(raw).to_bytes(7, "little") + b"\2" + struct.pack("<QQ", len(whole), len(raw))
    path.write_bytes(bytes(header) + whole[HEADER_BYTES:] + raw)
    with pytest.raises(error, match=reason):
        WimFile.open(path)


def test_an_image_without_xml_has_no_properties(tmp_path: Path) -> None:
    path = written(tmp_path / "x.wim", root=tree("/a"))
    _damaged(path, 0x48, bytes(24))
    with WimFile.open(path) as wim:
        assert wim.properties() == {}
        assert len(wim.read_tree().children or {}) == 1


def test_missing_files_are_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        WimFile.open(tmp_path / "no.wim")
    with pytest.raises(FileNotFoundError):
        WimWriter(tmp_path / "no" / "x.wim")


def test_identity_is_of_the_content_alone(tmp_path: Path) -> None:
    one, other = tree("/a/b", "/c"), tree("/c", "/a/b")
    assert one.children is not None
    assert list(one.children) != list(other.children or {})
    hashes = {hashlib.sha256(serialize_metadata(t)).digest() for t in (one, other)}
    assert len(hashes) == 1
    one.attributes = DIRECTORY | 2
    assert hashlib.sha256(serialize_metadata(one)).digest() not in hashes
