"""Packages really installed apart, merged by Sekiso, and the result judged by dpkg and passwd's own tools."""

from __future__ import annotations

import filecmp
import os
import shutil
import stat
from pathlib import Path

import pytest

from sekiso.guests.access import FolderFiles
from sekiso.guests.exclusions import ExclusionMatcher
from sekiso.guests.linux import LinuxSupport
from sekiso.guests.linux.dpkg import package_list
from sekiso.guests.merging import KeyConflict, LayerChange
from tests.integration.guests.disks import run
from tests.integration.guests.packages import make_package

pytestmark = [pytest.mark.root, pytest.mark.slow]
MERGERS = LinuxSupport().mergers()
BULKY = ("boot", "usr/lib/modules", "usr/lib/grub", "usr/share/doc", "usr/share/locale", "usr/share/man")


@pytest.fixture(scope="module")
def small_tree(tiny_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small-tree")
    bulk = [f"--exclude=./{name}/*" for name in BULKY]
    archive = folder.with_suffix(".tar")
    run("tar", "-C", tiny_tree, "--numeric-owner", *bulk, "-cf", archive, ".")
    run("tar", "-C", folder, "--numeric-owner", "-xf", archive)
    archive.unlink()
    (folder / "dev/null").touch()
    return folder


def variant(small_tree: Path, folder: Path, name: str, *packages: Path) -> Path:
    root = folder / name
    run("cp", "-a", small_tree, root)
    for package in packages:
        shutil.copy(package, root / "tmp" / package.name)
        run("chroot", root, "dpkg", "-i", f"/tmp/{package.name}")
        (root / "tmp" / package.name).unlink()
    return root


def contents(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            found["/" + str(path.relative_to(root))] = path
    return found


def same(one: Path | None, other: Path | None) -> bool:
    if one is None or other is None:
        return one is other
    if one.is_symlink() or other.is_symlink():
        return one.is_symlink() and other.is_symlink() and one.readlink() == other.readlink()
    return filecmp.cmp(one, other, shallow=False)


def compose(base: Path, current: Path, layers: dict[str, Path]) -> list[KeyConflict]:
    """Put the layers' differences from `base` over `current`, in place, as the engine does."""
    before = contents(base)
    after = {name: contents(root) for name, root in layers.items()}
    paths = sorted({p for files in (before, *after.values()) for p in files})
    conflicts: list[KeyConflict] = []
    for path in paths:
        changed = [n for n in layers if not same(before.get(path), after[n].get(path))]
        if not changed:
            continue
        target = current / path.lstrip("/")
        merger = next((m for m in MERGERS if m.claims(path)), None)
        if merger is None:
            put(after[changed[-1]].get(path), target)
            continue
        changes = [LayerChange(n, content(before.get(path)), content(after[n].get(path))) for n in changed]
        merged = merger.merge(path, content(target if target.exists() else None), changes)
        conflicts += merged.conflicts
        if merged.content is None:
            target.unlink(missing_ok=True)
        elif target.exists():
            target.write_bytes(merged.content)
        else:
            put(after[changed[-1]].get(path), target)
            target.write_bytes(merged.content)
    return conflicts


def content(path: Path | None) -> bytes | None:
    return None if path is None or not stat.S_ISREG(path.lstat().st_mode) else path.read_bytes()


def put(source: Path | None, target: Path) -> None:
    target.unlink(missing_ok=True)
    if source is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        run("cp", "-a", source, target)


def app(folder: Path, name: str, priority: int) -> Path:
    """A package that touches every database: users, groups, alternatives, diversions, triggers, overrides."""
    user = f"_{name}"
    script = (
        f"useradd -r -U -M -s /bin/false {user}\n"
        f"usermod -a -G audio {user}\n"
        f"update-alternatives --install /usr/bin/probe probe /usr/bin/probe-{name} {priority}\n"
        f"dpkg-statoverride --update --add root root 0700 /usr/share/{name}/text\n"
        f"dpkg-divert --package {name} --add --no-rename --divert /etc/{name}.real /etc/{name}.plain\n"
    )
    remove = (
        f"update-alternatives --remove probe /usr/bin/probe-{name}\nuserdel {user}\n"
        f"dpkg-statoverride --remove /usr/share/{name}/text\n"
        f"dpkg-divert --package {name} --no-rename --remove /etc/{name}.plain\n"
    )
    return make_package(
        folder,
        name,
        files={f"usr/bin/probe-{name}": "#!/bin/sh\n"},
        scripts={"postinst": script, "prerm": remove, "triggers": f"interest-noawait /usr/share/{name}\n"},
    )


def test_layers_installed_apart_are_one_system_to_dpkg(small_tree: Path, tmp_path: Path) -> None:
    one, two = app(tmp_path, "app-one", 10), app(tmp_path, "app-two", 20)
    update = make_package(tmp_path, "os-update")
    layers = {
        "one": variant(small_tree, tmp_path, "one", one),
        "two": variant(small_tree, tmp_path, "two", two),
    }
    result = variant(small_tree, tmp_path, "result", update)
    conflicts = compose(small_tree, result, layers)
    # useradd gives both users the first free id: that is what must be noticed.
    assert {c.key.split()[0] for c in conflicts} == {"uid", "gid"}
    assert all("_app-one, _app-two" in c.detail for c in conflicts)
    assert run("chroot", result, "dpkg", "--audit") == ""
    listed = run("chroot", result, "dpkg-query", "-W")
    assert {"app-one", "app-two", "os-update"} <= {line.split("\t")[0] for line in listed.split("\n")}
    assert package_list((result / "var/lib/dpkg/status").read_bytes()).decode() == listed
    query = run("chroot", result, "update-alternatives", "--query", "probe")
    assert "Best: /usr/bin/probe-app-two" in query
    assert "Alternative: /usr/bin/probe-app-one" in query
    assert run("chroot", result, "dpkg", "--verify", "app-one", "app-two", "os-update") == ""
    diverted = run("chroot", result, "dpkg-divert", "--list")
    assert "app-one.plain" in diverted
    assert "app-two.plain" in diverted
    members = run("chroot", result, "getent", "group", "audio").strip().split(":")[3].split(",")
    assert {"_app-one", "_app-two"} <= set(members)
    run("chroot", result, "pwck", "-r", "-q")
    run("chroot", result, "grpck", "-r")
    # dpkg can go on working with it: remove one, purge the other.
    run("chroot", result, "dpkg", "-r", "app-one")
    run("chroot", result, "dpkg", "-P", "app-two")
    assert run("chroot", result, "dpkg", "--audit") == ""


def test_a_real_tree_needs_no_further_edits(debian_tree: Path) -> None:
    assert LinuxSupport().post_merge(FolderFiles(debian_tree)) == ()
    listed = run("dpkg-query", "--admindir", debian_tree / "var/lib/dpkg", "-W")
    assert package_list((debian_tree / "var/lib/dpkg/status").read_bytes()).decode() == listed
    assert run("dpkg", "--root", debian_tree, "--verify") == ""


def test_no_exclusion_takes_what_belongs_to_a_package(debian_tree: Path) -> None:
    matcher = ExclusionMatcher(LinuxSupport().capture_exclusions())
    owned = {
        line
        for path in (debian_tree / "var/lib/dpkg/info").glob("*.list")
        for line in path.read_text().split("\n")
        if line
    }
    assert len(owned) > 5000
    assert [path for path in sorted(owned) if matcher.match(path)] == []


@pytest.mark.parametrize("name", ["lib.sh", "report", "gate", "run-once", "finalize", "first-boot"])
def test_the_guest_tools_are_sound_shell_scripts(name: str) -> None:
    folder = Path(__file__).parents[3] / "src/sekiso/guests/linux/tools"
    run("shellcheck", "-x", "-P", folder, "-s", "sh", folder / name)
    run("dash", "-n", folder / name)
