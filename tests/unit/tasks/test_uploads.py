"""Tar files of run-once scripts: plain files come out, everything else is refused."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from sekiso.errors import NotFoundError, UnsupportedInputError
from sekiso.tasks.flows.uploads import unpack_run_once


def archive(path: Path, *members: tuple[str, bytes, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mode, info.linkname = kind, len(content), 0o755, "/etc/passwd"
            tar.addfile(info, io.BytesIO(content))
    return path


def test_files_and_folders_come_out(tmp_path: Path) -> None:
    upload = archive(
        tmp_path / "u.tar",
        ("run.sh", tarfile.REGTYPE, b"echo"),
        ("debs", tarfile.DIRTYPE, b""),
        ("debs/deep/a.deb", tarfile.REGTYPE, b"deb"),
    )
    folder = unpack_run_once(upload, tmp_path / "out")
    assert (folder / "run.sh").read_bytes() == b"echo" and (folder / "run.sh").stat().st_mode & 0o100
    assert (folder / "debs/deep/a.deb").read_bytes() == b"deb"
    # Again after a crash: from the beginning.
    (folder / "left").touch()
    assert not (unpack_run_once(upload, folder) / "left").exists()


@pytest.mark.parametrize(
    "member",
    [
        ("../evil", tarfile.REGTYPE, b"x"),
        ("/evil", tarfile.REGTYPE, b"x"),
        ("a/../../evil", tarfile.REGTYPE, b"x"),
        ("link", tarfile.SYMTYPE, b""),
        ("hard", tarfile.LNKTYPE, b""),
        ("device", tarfile.CHRTYPE, b""),
        ("pipe", tarfile.FIFOTYPE, b""),
    ],
)
def test_what_is_no_plain_file_below_is_refused(tmp_path: Path, member: tuple[str, bytes, bytes]) -> None:
    upload = archive(tmp_path / "u.tar", member)
    with pytest.raises(UnsupportedInputError):
        unpack_run_once(upload, tmp_path / "out")
    assert not (tmp_path / "evil").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "u.tar"]


def test_twice_the_same_name_and_rubbish_are_refused(tmp_path: Path) -> None:
    twice = archive(tmp_path / "t.tar", ("a", tarfile.REGTYPE, b"1"), ("a", tarfile.REGTYPE, b"2"))
    rubbish = tmp_path / "r.tar"
    rubbish.write_bytes(b"no tar at all" * 100)
    for upload in (twice, rubbish):
        with pytest.raises(UnsupportedInputError):
            unpack_run_once(upload, tmp_path / "out")
    with pytest.raises(NotFoundError):
        unpack_run_once(tmp_path / "absent.tar", tmp_path / "out")
