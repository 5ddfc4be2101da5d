"""Uploads of run-once scripts: tar files of plain files, whole on disk or not there."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso.errors import NoSpaceError
from sekiso.model.library import Role
from sekiso.web import uploads
from sekiso.web.errors import UploadRefusedError
from sekiso.web.settings import WebSettings

from .world import ROOT, World, problem, tar_of

SCRIPT = ("run.sh", b"#!/bin/sh\n")
URL = f"{ROOT}/uploads/run-once"


def member(name: str, kind: bytes, **more: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in more.items():
        setattr(info, key, value)
    return info


def names(world: World) -> list[str]:
    folder = world.services.uploads
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize(
    "data",
    [
        tar_of(SCRIPT),
        tar_of(member("./", tarfile.DIRTYPE), ("./run.sh", b"x"), ("./層/" + "n" * 300, b"y" * 2000)),
        tar_of(SCRIPT) + bytes(10_000),
    ],
    ids=["small", "folders and long names", "padded"],
)
def test_a_tar_file_is_taken(world: World, data: bytes) -> None:
    client = world.client(Role.LAYER_MANAGER)
    answer = client.post(URL, content=data, headers={"Content-Type": "application/x-tar"})
    assert answer.status_code == 201, answer.text
    path = world.services.uploads / f"{answer.json()['id']}.tar"
    assert names(world) == [path.name]
    assert path.read_bytes() == data
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_goes_on_without_a_length(world: World) -> None:
    data = tar_of(SCRIPT, ("big", b"z" * 100_000))

    def pieces() -> Iterator[bytes]:
        for place in range(0, len(data), 1000):
            yield data[place : place + 1000]

    answer = world.client(Role.LAYER_MANAGER).post(URL, content=pieces())
    assert answer.status_code == 201
    assert (world.services.uploads / f"{answer.json()['id']}.tar").read_bytes() == data


REFUSED = {
    "nothing": (b"", "no tar file"),
    "text": (b"hello" * 1000, "no tar file"),
    "zeros": (bytes(10_240), "no run.sh"),
    "compressed": (tar_of(SCRIPT, mode="w:gz"), "no tar file"),
    "cut": (tar_of(SCRIPT, ("big", b"x" * 100_000))[:60_000], "no tar file"),
    "no script": (tar_of(("a", b"b")), "no run.sh"),
    "script in a folder": (tar_of(("a/run.sh", b"b")), "no run.sh"),
    "script is a folder": (tar_of(member("run.sh", tarfile.DIRTYPE)), "no run.sh"),
    "absolute": (tar_of(SCRIPT, ("/etc/passwd", b"x")), "name /etc/passwd in it cannot"),
    "above": (tar_of(SCRIPT, ("a/../../b", b"x")), "cannot be used"),
    "backslash": (tar_of(SCRIPT, ("a\\b", b"x")), "cannot be used"),
    "control": (tar_of(SCRIPT, ("a\nb", b"x")), "cannot be used"),
    "symbolic link": (tar_of(SCRIPT, member("a", tarfile.SYMTYPE, linkname="/")), "neither a file"),
    "hard link": (tar_of(SCRIPT, member("a", tarfile.LNKTYPE, linkname="run.sh")), "neither a file"),
    "device": (tar_of(SCRIPT, member("a", tarfile.CHRTYPE, devmajor=1, devminor=3)), "neither a file"),
    "pipe": (tar_of(SCRIPT, member("a", tarfile.FIFOTYPE)), "neither a file"),
    "long name": (tar_of(SCRIPT, ("/".join(["n" * 200] * 6), b"")), "cannot be used"),
    "name without end": (tar_of(SCRIPT, ("n" * 100_000, b"")), "too long"),
}


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_leaves_nothing(world: World, data: bytes, reason: str) -> None:
    answer = world.client(Role.LAYER_MANAGER).post(URL, content=data)
    found = problem(answer, 400, "upload.refused")
    assert reason in found["detail"]
    assert names(world) == []


def test_an_attribute_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    header = member("x", tarfile.XHDTYPE, size=1 << 31).tobuf(tarfile.USTAR_FORMAT)
    path = tmp_path / "x.tar"
    path.write_bytes(header)
    with pytest.raises(UploadRefusedError, match="too long"):
        uploads.check_run_once(path)


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_MEMBERS", 10)
    path = tmp_path / "x.tar"
    path.write_bytes(tar_of(SCRIPT, *((f"f{n}", b"") for n in range(10))))
    with pytest.raises(UploadRefusedError, match="100,000"):
        uploads.check_run_once(path)


def test_a_size_that_leads_back_is_refused(tmp_path: Path) -> None:
    back = member("x", tarfile.REGTYPE, pax_headers={"size": "-1024"})
    path = tmp_path / "x.tar"
    # Some versions of the library skip such a member; then it is the script that is missing.
    path.write_bytes(back.tobuf(tarfile.PAX_FORMAT) + tar_of(("other", b"")))
    with pytest.raises(UploadRefusedError):
        uploads.check_run_once(path)


@given(st.data())
def test_damaged_files_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    good = bytearray(tar_of(SCRIPT, ("a/b", b"content"), ("n" * 150, b"x" * 600)))
    for _ in range(data.draw(st.integers(1, 5))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "x.tar"
    path.write_bytes(good)
    try:
        uploads.check_run_once(path)
    except UploadRefusedError as error:
        assert error.params["reason"]


def test_too_much_is_refused_while_it_comes(world: World) -> None:
    client = world.client(Role.LAYER_MANAGER, WebSettings(upload_limit_bytes=20_000))
    assert client.post(URL, content=tar_of(SCRIPT)).status_code == 201
    before = names(world)
    large = tar_of(SCRIPT, ("big", b"x" * 30_000))
    problem(client.post(URL, content=large), 413, "request.too-large")
    problem(client.post(URL, content=iter([large[:15_000], large[15_000:]])), 413, "request.too-large")
    assert names(world) == before


def test_a_full_disk_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(NoSpaceError):
        uploads._write(Full(), b"x")  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(uploads, "_RESERVE_BYTES", 1 << 60)
    found = problem(world.client(Role.LAYER_MANAGER).post(URL, content=tar_of(SCRIPT)), 503, "no-space")
    assert found["params"]["path"] == "uploads"
    assert names(world) == []
