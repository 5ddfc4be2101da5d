"""Storage paths: which are taken, in which spelling, and why others are not (CC-5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso.model.storage_path import (
    POSIX_MAX_BYTES,
    WINDOWS_MAX_CHARS,
    Drive,
    DriveKind,
    HostPlatform,
    PathKind,
    StoragePath,
    parse_storage_path,
    same_place_question,
    storage_path_violations,
)

WINDOWS, POSIX = HostPlatform.WINDOWS, HostPlatform.POSIX
DRIVES = (
    Drive("C", DriveKind.FIXED),
    Drive("r:\\", DriveKind.REMOVABLE),
    Drive("M", DriveKind.MAPPED, r"\\nas\vms"),
    Drive("N", DriveKind.MAPPED),
    Drive("S", DriveKind.SUBSTITUTED, r"C:\deep"),
    Drive("E", DriveKind.OPTICAL),
    Drive("T", DriveKind.MEMORY),
    Drive("U", DriveKind.UNKNOWN),
)

GOOD = [
    (WINDOWS, r"C:\Virtual Machines", r"C:\Virtual Machines", PathKind.LOCAL),
    (WINDOWS, "c:/Virtual Machines//x/./", r"C:\Virtual Machines\x", PathKind.LOCAL),
    (WINDOWS, "D:\\", "D:\\", PathKind.LOCAL),
    (WINDOWS, r"C:\ClusterStorage\Volume1\積層", r"C:\ClusterStorage\Volume1\積層", PathKind.LOCAL),
    (WINDOWS, r"C:\.config\console\COM10", r"C:\.config\console\COM10", PathKind.LOCAL),
    (WINDOWS, r"\\Server\Share", r"\\server\Share", PathKind.UNC),
    (WINDOWS, "//SRV.example.org/C$/vm/", r"\\srv.example.org\C$\vm", PathKind.UNC),
    (WINDOWS, r"\\10.0.0.5\vms\a b", r"\\10.0.0.5\vms\a b", PathKind.UNC),
    (POSIX, "/var/lib/sekiso", "/var/lib/sekiso", PathKind.POSIX),
    (POSIX, "/var//lib/./sekiso/", "/var/lib/sekiso", PathKind.POSIX),
    (POSIX, "/srv/CON/a:b", "/srv/CON/a:b", PathKind.POSIX),
]

BAD = [
    (WINDOWS, "", "path-empty"),
    (POSIX, "  ", "path-empty"),
    (WINDOWS, "C:\\a\x07", "path-control-character"),
    (POSIX, "/a\n", "path-control-character"),
    (POSIX, "/a\udc80", "path-control-character"),
    (WINDOWS, r"\\?\C:\vm", "path-device-namespace"),
    (WINDOWS, r"\\.\PhysicalDrive0", "path-device-namespace"),
    (WINDOWS, r"//?/UNC/server/share", "path-device-namespace"),
    (WINDOWS, r"\??\C:\vm", "path-device-namespace"),
    (WINDOWS, r"\\.", "path-device-namespace"),
    (WINDOWS, r"vm\disks", "path-relative"),
    (WINDOWS, r"..\disks", "path-relative"),
    (POSIX, "disks", "path-relative"),
    (WINDOWS, r"\disks", "path-other-platform"),
    (WINDOWS, "/var/lib", "path-other-platform"),
    (POSIX, r"C:\vm", "path-other-platform"),
    (POSIX, r"\\server\share", "path-other-platform"),
    (POSIX, "//server/share", "path-other-platform"),
    (WINDOWS, "C:", "path-drive-relative"),
    (WINDOWS, "C:vm", "path-drive-relative"),
    (WINDOWS, r"C:\vm\..\x", "path-parent"),
    (POSIX, "/srv/../etc", "path-parent"),
    (POSIX, "/", "path-is-root"),
    (POSIX, "/./", "path-is-root"),
    (POSIX, "/a\\b", "path-illegal-character"),
    (WINDOWS, r"C:\a:stream", "path-illegal-character"),
    (WINDOWS, r"C:\a*b", "path-illegal-character"),
    (WINDOWS, 'C:\\a"b', "path-illegal-character"),
    (WINDOWS, r"C:\CON", "path-reserved-name"),
    (WINDOWS, r"C:\x\nul.txt.gz", "path-reserved-name"),
    (WINDOWS, r"C:\Com1 .x", "path-reserved-name"),
    (WINDOWS, "C:\\LPT³", "path-reserved-name"),
    (WINDOWS, r"\\server\share\aux", "path-reserved-name"),
    (WINDOWS, "C:\\a \\b", "path-trailing-character"),
    (WINDOWS, r"C:\a.", "path-trailing-character"),
    (WINDOWS, "C:\\" + "x" * 256, "path-name-too-long"),
    (WINDOWS, "C:\\" + "\N{GRINNING FACE}" * 128, "path-name-too-long"),
    (POSIX, "/" + "積" * 86, "path-name-too-long"),
    (WINDOWS, "C:\\" + "\\".join(["x" * 50] * 3), "path-too-long"),
    (POSIX, "/x" * POSIX_MAX_BYTES, "path-too-long"),
    (WINDOWS, r"\\server", "path-unc-incomplete"),
    (WINDOWS, "\\\\", "path-unc-incomplete"),
    (WINDOWS, r"\\\share", "path-unc-incomplete"),
    (WINDOWS, r"\\server@SSL@443\DavWWWRoot", "path-unc-server"),
    (WINDOWS, r"\\a b\share", "path-unc-server"),
    (WINDOWS, r"\\server\IPC$", "path-unc-share"),
    (WINDOWS, r"\\server\a=b", "path-unc-share"),
    (WINDOWS, r"\\server\..\x", "path-unc-share"),
]


@pytest.mark.parametrize(("platform", "text", "spelling", "kind"), GOOD)
def test_taken_in_one_spelling(platform: HostPlatform, text: str, spelling: str, kind: PathKind) -> None:
    path = parse_storage_path(text, platform)
    assert isinstance(path, StoragePath)
    assert (path.text, path.kind) == (spelling, kind)
    assert parse_storage_path(path.text, platform) == path


@pytest.mark.parametrize(("platform", "text", "code"), BAD)
def test_refused_with_reason_and_remedy(platform: HostPlatform, text: str, code: str) -> None:
    found = parse_storage_path(text, platform, field="where")
    assert not isinstance(found, StoragePath)
    assert code in [v.code for v in found]
    assert all(v.field == "where" and v.reason.endswith(".") and v.remedy.endswith(".") for v in found)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (r"C:\vm", None),
        (r"R:\vm", None),
        (r"u:\vm", None),
        (r"\\nas\vms", None),
        (r"m:\vm", "path-mapped-drive"),
        (r"N:\vm", "path-mapped-drive"),
        (r"S:\vm", "path-mapped-drive"),
        (r"E:\vm", "path-unsuitable-drive"),
        (r"T:\vm", "path-unsuitable-drive"),
        (r"Z:\vm", "path-no-such-drive"),
    ],
)
def test_drives(text: str, code: str | None) -> None:
    assert [v.code for v in storage_path_violations(text, WINDOWS, DRIVES)] == ([code] if code else [])
    assert storage_path_violations(text, WINDOWS) == ()


def test_a_mapped_drive_is_told_with_its_unc_path() -> None:
    (found,) = storage_path_violations(r"M:\a\b", WINDOWS, DRIVES)
    assert r"\\nas\vms\a\b" in found.remedy


def test_same_place() -> None:
    local, unc = (parse_storage_path(t, WINDOWS) for t in (r"C:\vm", r"\\srv\vm"))
    other = parse_storage_path(r"c:\VM", WINDOWS)
    assert isinstance(local, StoragePath)
    assert isinstance(unc, StoragePath)
    assert isinstance(other, StoragePath)
    question = same_place_question(local, unc)
    assert question is not None
    assert (question.written, question.read) == (local, unc)
    assert same_place_question(local, other) is None
    assert other.is_within(local)
    assert not unc.is_within(local)


def test_within_goes_by_whole_names() -> None:
    paths = [parse_storage_path(t, POSIX) for t in ("/srv/vm", "/srv/vm/a", "/srv/vmx")]
    first, inner, beside = (p for p in paths if isinstance(p, StoragePath))
    assert inner.is_within(first)
    assert not beside.is_within(first)
    assert first.is_within(StoragePath(PathKind.POSIX, "", ()))


@given(st.text(st.sampled_from("C:\\/. abcNUL$?*<\x00\ud800é積"), max_size=60), st.sampled_from(HostPlatform))
def test_what_is_taken_is_safe_and_stays_as_it_is(text: str, platform: HostPlatform) -> None:
    path = parse_storage_path(text, platform)
    if not isinstance(path, StoragePath):
        assert path
        return
    assert parse_storage_path(path.text, platform) == path
    assert ".." not in path.names
    if platform is WINDOWS:
        assert len(path.text) <= WINDOWS_MAX_CHARS
        assert not set('<>"|?*\x00').intersection(path.text)
        assert path.text.count(":") == (path.kind is PathKind.LOCAL)
    else:
        assert path.text.startswith("/")


@given(st.text(max_size=400), st.sampled_from(HostPlatform))
def test_any_text_gets_an_answer(text: str, platform: HostPlatform) -> None:
    found = storage_path_violations(text, platform, DRIVES)
    assert len({v.code for v in found}) <= len(found)
