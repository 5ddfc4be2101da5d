"""What is refused, what a cancellation leaves behind, what damage does (LY-5, CE-1)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sekiso.compositing.execute import record_path
from sekiso.compositing.verify import read_record, verify_image, verify_layer
from sekiso.errors import (
    AlreadyExistsError,
    CanceledError,
    DamagedInputError,
    NotFoundError,
    RuleError,
    SekisoError,
    VerificationError,
)
from sekiso.model.machine import DiskFormat
from sekiso.model.progress import Progress
from sekiso.store.layer_file import Compression, LayerFile, LayerWriter
from sekiso.wim.tree import blobs_of, find, walk

from .cancel import CancelAfter
from .conftest import Linux
from .systems import do_capture, do_compose, do_import, request_for
from .test_linux_capture import many_edits, packaging_disk

pytestmark = pytest.mark.root


def snapshot(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(p.relative_to(folder)), p.stat().st_size) for p in folder.rglob("*"))


def test_existing_results_are_refused_and_untouched(linux: Linux, tmp_path: Path) -> None:
    for name in ("image.vhd", "layer.wim"):
        (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(AlreadyExistsError):
        do_compose(request_for([linux.layer], tmp_path / "image.vhd"))
    with pytest.raises(AlreadyExistsError):
        do_import(linux.disk, tmp_path / "layer.wim")
    with pytest.raises(AlreadyExistsError):
        do_capture(linux.boot_disk, linux.boot_disk, [linux.layer], tmp_path / "layer.wim")
    assert snapshot(tmp_path) == [("image.vhd", 8), ("layer.wim", 8)]
    assert (tmp_path / "image.vhd").read_bytes() == (tmp_path / "layer.wim").read_bytes() == b"precious"


def test_a_size_that_is_too_small_names_the_least(linux: Linux, tmp_path: Path) -> None:
    with pytest.raises(RuleError, match=r"at least (\d+) MiB; 5 MiB were asked for") as caught:
        do_compose(request_for([linux.layer], tmp_path / "image.raw", size_bytes=5 << 20))
    least = int(str(caught.value.params["reason"]).split("at least ")[1].split()[0])
    do_compose(request_for([linux.layer], tmp_path / "image.raw", size_bytes=least << 20))
    with pytest.raises(RuleError):
        do_compose(request_for([linux.layer], tmp_path / "x.raw", size_bytes=(least - 1) << 20))


def test_rules_of_the_request(linux: Linux, tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="VHDX for generation 2"):
        do_compose(request_for([linux.layer], tmp_path / "image.vhd", 2))
    with pytest.raises(RuleError, match="VHD, VHDX or raw"):
        do_compose(request_for([linux.layer], tmp_path / "image.qcow2"))
    with pytest.raises(RuleError, match="exactly one OS layer"):
        do_compose(request_for([linux.layer, linux.layer], tmp_path / "image.vhd"))
    with pytest.raises(NotFoundError):
        do_compose(request_for([tmp_path / "none.wim"], tmp_path / "image.vhd"))
    with pytest.raises(NotFoundError):
        do_import(tmp_path / "none.vhdx", tmp_path / "layer.wim")
    assert list(tmp_path.iterdir()) == []


def _points(work: Callable[[Path, Progress], object], tmp_path: Path) -> None:
    """Cancel a piece of work at its first, second, … and last question, each time from the start."""
    counting = CancelAfter(1 << 60)
    (tmp_path / "whole").mkdir()
    work(tmp_path / "whole", counting)
    assert counting.asked > 1
    for calls in sorted({0, 1, 2, counting.asked // 2, counting.asked - 2, counting.asked - 1}):
        place = tmp_path / f"at-{calls}"
        place.mkdir()
        progress = CancelAfter(calls)
        try:
            work(place, progress)
        except CanceledError:
            pass
        else:  # how often is asked while another program runs depends on how long it runs
            assert progress.asked <= calls
            continue
        assert snapshot(place) == [], f"canceled at question {calls} of {counting.asked}"


@pytest.mark.parametrize("compression", [Compression.NONE, Compression.XPRESS])
def test_a_canceled_import_leaves_nothing(linux: Linux, tmp_path: Path, compression: Compression) -> None:
    _points(
        lambda place, p: do_import(linux.disk, place / "os.wim", compression=compression, progress=p),
        tmp_path,
    )


@pytest.mark.parametrize(("generation", "name"), [(1, "image.vhd"), (2, "image.vhdx")])
def test_a_canceled_composition_leaves_nothing(
    linux: Linux, tmp_path: Path, generation: int, name: str
) -> None:
    _points(
        lambda place, p: do_compose(
            request_for([linux.layer], place / name, generation), verify=False, progress=p
        ),
        tmp_path,
    )


def test_a_canceled_capture_leaves_nothing(linux: Linux, tmp_path: Path) -> None:
    disk = packaging_disk(linux, tmp_path / "work", many_edits)
    _points(
        lambda place, p: do_capture(disk, linux.boot_disk, [linux.layer], place / "app.wim", progress=p),
        tmp_path,
    )


def damaged_layer(linux: Linux, out: Path, path: str) -> Path:
    """Return a copy of the layer with one byte of one file flipped."""
    with LayerFile(linux.layer) as layer:
        node = find(layer.tree(), path)
        assert node is not None
        place = layer.wim.locate_blob(node.data)
    raw = bytearray(linux.layer.read_bytes())
    raw[place.offset + place.size_bytes // 2] ^= 1
    out.write_bytes(raw)
    return out


def test_a_flipped_byte_of_content_is_found(linux: Linux, tmp_path: Path) -> None:
    layer = damaged_layer(linux, tmp_path / "os.wim", "/srv/data/059.bin")
    with pytest.raises((DamagedInputError, VerificationError)):
        verify_layer(layer)
    image = tmp_path / "image.raw"
    try:
        do_compose(request_for([layer], image), verify=False)
    except SekisoError:
        assert not image.exists()
        return
    with pytest.raises(VerificationError):
        verify_image(image, read_record(image))


def test_a_flipped_byte_of_a_file_the_engine_reads_stops_it(linux: Linux, tmp_path: Path) -> None:
    layer = damaged_layer(linux, tmp_path / "os.wim", "/usr/lib/grub/i386-pc/kernel.img")
    with pytest.raises(DamagedInputError):
        do_compose(request_for([layer], tmp_path / "image.vhd"))
    assert snapshot(tmp_path) == [("os.wim", layer.stat().st_size)]


def test_a_flipped_byte_of_an_image_is_found(linux: Linux, tmp_path: Path) -> None:
    image = tmp_path / "image.raw"
    do_compose(request_for([linux.layer], image))
    needle = bytes([59]) * 4096
    raw = image.read_bytes()
    at = raw.find(needle)
    assert at > 0
    with image.open("r+b") as stream:
        stream.seek(at + 17)
        stream.write(b"!")
    with pytest.raises(VerificationError):
        verify_image(image, read_record(image))
    record_path(image).unlink()
    with pytest.raises(NotFoundError):
        read_record(image)


def test_a_layer_that_misses_content(linux: Linux, tmp_path: Path) -> None:
    out = tmp_path / "hollow.wim"
    with LayerFile(linux.layer) as layer, LayerWriter(out) as writer:
        root = layer.tree()
        lost = find(root, "/srv/data/010.bin")
        assert lost is not None
        for _, node in walk(root):
            for sha1 in blobs_of(node):
                if sha1 != lost.data:
                    writer.wim.copy_blob(layer.wim, sha1)
        writer.finish(layer.manifest, root)
    with pytest.raises(VerificationError, match=r"/srv/data/010\.bin"):
        verify_layer(out)
    before = snapshot(tmp_path)
    for fmt in (DiskFormat.RAW, DiskFormat.VHD):
        with pytest.raises(DamagedInputError, match="none of the layers"):
            do_compose(request_for([out], tmp_path / f"image.{fmt}"))
    assert snapshot(tmp_path) == before


def test_a_folder_that_is_not_there(linux: Linux, tmp_path: Path) -> None:
    nowhere = tmp_path / "no"
    for work in (
        lambda: do_compose(request_for([linux.layer], nowhere / "image.vhd")),
        lambda: do_import(linux.disk, nowhere / "os.wim"),
    ):
        with pytest.raises(NotFoundError, match="The folder"):
            work()
