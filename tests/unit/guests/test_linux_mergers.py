"""Merging Linux' structured files: properties that hold for every format, and tables for each."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekiso.errors import DamagedInputError
from sekiso.guests.linux import LinuxSupport
from sekiso.guests.merging import LayerChange, Merged, StructuredMerger

MERGERS = LinuxSupport().mergers()
STATUS, PASSWD, GROUP = "/var/lib/dpkg/status", "/etc/passwd", "/etc/group"


def merger(path: str) -> StructuredMerger:
    return next(m for m in MERGERS if m.claims(path))


def merge(path: str, current: str | None, *changes: tuple[str, str | None, str | None]) -> Merged:
    def coded(text: str | None) -> bytes | None:
        return None if text is None else text.encode()

    layers = [LayerChange(name, coded(base), coded(content)) for name, base, content in changes]
    return merger(path).merge(path, coded(current), layers)


def package(name: str, version: str = "1", **more: str) -> str:
    lines = [f"Package: {name}", "Status: install ok installed", "Architecture: amd64", f"Version: {version}"]
    return "\n".join([*lines, *(f"{k.replace('_', '-')}: {v}" for k, v in more.items())]) + "\n\n"


# --- which merger has which file ---


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/var/lib/dpkg/status", "dpkg-status"),
        ("/var/lib/dpkg/available", "dpkg-status"),
        ("/var/lib/dpkg/alternatives/editor", "dpkg-alternatives"),
        ("/var/lib/dpkg/diversions", "dpkg-diversions"),
        ("/var/lib/dpkg/triggers/File", "dpkg-triggers"),
        ("/var/lib/dpkg/triggers/ldconfig", "dpkg-triggers"),
        ("/etc/passwd", "accounts-passwd"),
        ("/etc/gshadow", "accounts-gshadow"),
        ("/etc/subuid", "accounts-subuid"),
        ("/etc/shells", "shells"),
        ("/var/cache/debconf/config.dat", "debconf"),
        ("/var/lib/apt/extended_states", "apt-extended-states"),
        ("/etc/ld.so.cache", "loader-cache"),
        ("/usr/lib/modules/6.1.0-50-cloud-amd64/modules.dep.bin", "module-index"),
        ("/etc/ssl/certs/ca-certificates.crt", "ca-certificates"),
        ("/var/lib/ucf/hashfile", "ucf-hashes"),
    ],
)
def test_structured_files_have_a_merger(path: str, name: str) -> None:
    assert merger(path).name == name


@pytest.mark.parametrize(
    "path",
    [
        "/var/lib/dpkg/info/bash.list",
        "/var/lib/dpkg/status-old",
        "/var/lib/dpkg/triggers/Lock",
        "/etc/passwd-",
        "/etc/ld.so.conf.d/x.conf",
        "/var/lib/dpkg/alternatives/a/b",
        "/usr/lib/modules/6.1/modules.builtin",
        "/home/x/etc/passwd",
    ],
)
def test_plain_files_have_none(path: str) -> None:
    assert not any(m.claims(path) for m in MERGERS)


# --- properties ---

names = st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon", "zeta"])


def status_of(packages: dict[str, int]) -> str:
    return "".join(package(n, str(v)) for n, v in sorted(packages.items()))


def passwd_of(users: dict[str, int]) -> str:
    return "".join(f"{n}:x:{1000 + v}:100::/home/{n}:/bin/sh\n" for n, v in users.items())


def lines_of(items: dict[str, int]) -> str:
    return "".join(f"{n}-{v}\n" for n, v in items.items())


FORMATS = [(STATUS, status_of), (PASSWD, passwd_of), ("/etc/shells", lines_of)]
tables = st.dictionaries(names, st.integers(0, 3), max_size=6)


@pytest.mark.parametrize(("path", "text"), FORMATS)
@given(base=tables, content=tables)
@settings(max_examples=40, deadline=None)
def test_one_layer_over_its_own_base_gives_its_content(
    path: str, text, base: dict[str, int], content: dict[str, int]
) -> None:
    result = merge(path, text(base), ("A", text(base), text(content)))
    assert result == Merged(text(content).encode(), ())


@pytest.mark.parametrize(("path", "text"), FORMATS)
@given(base=tables, content=tables)
@settings(max_examples=40, deadline=None)
def test_merging_the_same_layer_again_changes_nothing(
    path: str, text, base: dict[str, int], content: dict[str, int]
) -> None:
    once = merge(path, text(base), ("A", text(base), text(content)))
    again = merge(path, text(base), ("A", text(base), text(content)), ("A again", text(base), text(content)))
    assert records(path, again.content) == records(path, once.content)
    assert not [c for c in again.conflicts if "created with the same" not in c.detail]


@pytest.mark.parametrize(("path", "text"), FORMATS)
@given(base=tables, first=tables, second=tables)
@settings(max_examples=60, deadline=None)
def test_disjoint_changes_commute(
    path: str, text, base: dict[str, int], first: dict[str, int], second: dict[str, int]
) -> None:
    a = {**base, **{f"a{k}": v for k, v in first.items()}}
    b = {**base, **{f"b{k}": v for k, v in second.items()}}
    change_a, change_b = ("A", text(base), text(a)), ("B", text(base), text(b))
    one = merge(path, text(base), change_a, change_b)
    other = merge(path, text(base), change_b, change_a)
    assert records(path, one.content) == records(path, other.content)
    assert records(path, one.content) == records(path, text({**a, **b}).encode())


@pytest.mark.parametrize(("path", "text"), FORMATS)
@given(base=tables, current=tables)
@settings(max_examples=40, deadline=None)
def test_a_layer_without_changes_keeps_the_newer_os(
    path: str, text, base: dict[str, int], current: dict[str, int]
) -> None:
    assert merge(path, text(current), ("A", text(base), text(base))) == Merged(text(current).encode())


def records(path: str, content: bytes | None) -> list[bytes]:
    return sorted((content or b"").split(b"\n\n" if path == STATUS else b"\n"))


# --- packages ---


def test_an_os_update_and_a_layer_come_together() -> None:
    base = package("bash", "1") + package("libc6", "1")
    now = package("bash", "1") + package("libc6", "2")
    result = merge(STATUS, now, ("nginx 1", base, base + package("nginx", "1")))
    assert result.content == (now + package("nginx", "1")).encode()
    assert result.conflicts == ()


def test_two_versions_of_a_package_conflict_and_the_later_layer_wins() -> None:
    base = package("libssl3", "1")
    result = merge(STATUS, base, ("A", base, package("libssl3", "2")), ("B", base, package("libssl3", "3")))
    assert result.content == package("libssl3", "3").encode()
    (conflict,) = result.conflicts
    assert (conflict.key, conflict.layers, conflict.winner) == ("package libssl3:amd64", ("A", "B"), "B")
    assert conflict.detail == "A: 2; B: 3"


def test_the_os_side_of_a_conflict_is_named() -> None:
    result = merge(STATUS, package("x", "3"), ("A", package("x", "1"), package("x", "2")))
    assert result.conflicts[0].layers == ("OS", "A")


def test_a_removed_package_that_the_os_updated_is_a_conflict() -> None:
    result = merge(STATUS, package("x", "2"), ("A", package("x", "1"), ""))
    assert result.content == b""
    assert result.conflicts[0].detail == "OS: 2; A: removed"


def test_a_dependency_that_merging_breaks_is_listed() -> None:
    base = package("lib", "1")
    result = merge(
        STATUS,
        base,
        ("A", base, ""),
        ("B", base, base + package("app", "1", Depends="lib (>= 1)")),
    )
    assert [(c.key, c.detail) for c in result.conflicts] == [("package app", "app needs lib (>= 1).")]


def test_the_same_package_in_two_architectures_is_two_packages() -> None:
    foreign = package("lib").replace("amd64", "i386")
    result = merge(STATUS, package("lib"), ("A", package("lib"), package("lib") + foreign), ("B", "", ""))
    assert (result.content or b"").count(b"Package: lib\n") == 2


def test_a_status_file_without_package_names_is_refused() -> None:
    with pytest.raises(DamagedInputError):
        merge(STATUS, "Version: 1\n\n", ("A", package("a"), package("b")))


# --- accounts ---

ROOT = "root:x:0:0:root:/root:/bin/bash\n"


def test_users_of_two_layers_come_together() -> None:
    web, db = "web:x:998:998::/:/bin/false\n", "db:x:997:997::/:/bin/false\n"
    result = merge(PASSWD, ROOT, ("A", ROOT, ROOT + web), ("B", ROOT, ROOT + db))
    assert set((result.content or b"").decode().splitlines(keepends=True)) == {ROOT, web, db}
    assert result.conflicts == ()


def test_one_uid_for_two_users_of_two_layers_is_a_conflict_that_says_what_follows() -> None:
    web, db = "web:x:998:998::/:/bin/false\n", "db:x:998:998::/:/bin/false\n"
    result = merge(PASSWD, ROOT, ("A", ROOT, ROOT + web), ("B", ROOT, ROOT + db))
    assert (result.content or b"").decode() == ROOT + web + db
    (conflict,) = result.conflicts
    assert conflict.key == "uid 998"
    assert "web, db were created with the same uid 998" in conflict.detail
    assert "Files of that uid belong to all of them" in conflict.detail


def test_an_id_that_was_shared_on_purpose_is_none() -> None:
    both = ROOT + "toor:x:0:0::/root:/bin/sh\n"
    result = merge(PASSWD, both, ("A", both, both + "a:x:5:5::/:/b\n"), ("B", both, both + "b:x:6:6::/:/b\n"))
    assert result.conflicts == ()


def test_changes_of_different_columns_of_one_user_both_hold() -> None:
    result = merge(
        PASSWD,
        ROOT,
        ("A", ROOT, ROOT.replace("/bin/bash", "/bin/zsh")),
        ("B", ROOT, ROOT.replace(":root:/root", ":Administrator:/root")),
    )
    assert result.content == b"root:x:0:0:Administrator:/root:/bin/zsh\n"
    assert result.conflicts == ()


def test_members_of_a_group_are_united_and_removals_hold() -> None:
    base = "audio:x:29:old,kept\n"
    result = merge(
        GROUP,
        base,
        ("A", base, "audio:x:29:old,kept,a\n"),
        ("B", base, "audio:x:29:kept,b\n"),
    )
    assert result.content == b"audio:x:29:kept,a,b\n"
    assert result.conflicts == ()


def test_passwords_never_appear_in_a_conflict() -> None:
    def line(secret: str) -> str:
        return f"root:{secret}:19000:0:99999:7:::\n"

    result = merge("/etc/shadow", line("*"), ("A", line("*"), line("AAA")), ("B", line("*"), line("BBB")))
    assert result.content == line("BBB").encode()
    assert result.conflicts[0].detail == "different password"


def test_two_id_ranges_of_one_user_are_both_kept() -> None:
    result = merge("/etc/subuid", "", ("A", "", "u:100000:65536\n"), ("B", "", "u:200000:65536\n"))
    assert result.content == b"u:100000:65536\nu:200000:65536\n"


# --- the others ---


def test_owners_of_a_debconf_question_are_united_and_answers_hidden() -> None:
    def question(owners: str, value: str) -> str:
        return f"Name: shared/secret\nTemplate: shared/secret\nValue: {value}\nOwners: {owners}\n\n"

    path = "/var/cache/debconf/config.dat"
    base = question("one", "")
    united = merge(path, base, ("A", base, question("one, a", "")), ("B", base, question("one, b", "")))
    assert b"Owners: one, a, b" in (united.content or b"")
    assert united.conflicts == ()
    clash = merge(path, base, ("A", base, question("one", "hush")), ("B", base, question("one", "hush2")))
    assert "hush" not in clash.conflicts[0].detail
    assert "Value" in clash.conflicts[0].detail


def alternatives(*choices: tuple[str, int], status: str = "auto") -> str:
    rows = "".join(f"{p}\n{n}\n{p}.1.gz\n" for p, n in choices)
    return f"{status}\n/usr/bin/editor\neditor.1.gz\n/usr/share/man/man1/editor.1.gz\n\n{rows}\n"


EDITOR = "/var/lib/dpkg/alternatives/editor"


def test_choices_of_two_layers_come_together() -> None:
    base = alternatives(("/bin/nano", 40))
    result = merge(
        EDITOR,
        base,
        ("A", base, alternatives(("/bin/nano", 40), ("/bin/vim", 30))),
        ("B", base, alternatives(("/bin/nano", 40), ("/bin/mg", 10))),
    )
    assert result.content == alternatives(("/bin/nano", 40), ("/bin/vim", 30), ("/bin/mg", 10)).encode()
    assert result.conflicts == ()


def test_a_group_survives_the_removal_of_its_first_choice() -> None:
    base = alternatives(("/bin/nano", 40))
    result = merge(
        EDITOR,
        base,
        ("A", base, None),
        ("B", base, alternatives(("/bin/nano", 40), ("/bin/mg", 10))),
    )
    assert result.content == alternatives(("/bin/mg", 10)).encode()


def test_a_group_without_choices_is_gone() -> None:
    base = alternatives(("/bin/nano", 40), ("/bin/mg", 10))
    result = merge(
        EDITOR,
        base,
        ("A", base, alternatives(("/bin/mg", 10))),
        ("B", base, alternatives(("/bin/nano", 40))),
    )
    assert result.content is None


@pytest.mark.parametrize("text", ["", "auto\n", "auto\n/a\nx\n", "auto\n/a\n\n/b\nmany\n\n"])
def test_damaged_alternatives_are_refused(text: str) -> None:
    with pytest.raises(DamagedInputError):
        merge(EDITOR, text, ("A", alternatives(("/b", 1)), alternatives(("/c", 1))))


def test_diversions_are_groups_of_three_lines() -> None:
    path = "/var/lib/dpkg/diversions"
    one, two = "/bin/a\n/bin/a.real\npkg-a\n", "/bin/b\n/bin/b.real\npkg-b\n"
    assert merge(path, "", ("A", "", one), ("B", "", two)).content == (one + two).encode()
    with pytest.raises(DamagedInputError):
        merge(path, one, ("A", "/bin/a\n", one), ("B", one, two))


def test_certificates_of_two_layers_come_together() -> None:
    def block(text: str) -> str:
        return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"

    path, base = "/etc/ssl/certs/ca-certificates.crt", block("base")
    result = merge(path, base, ("A", base, base + block("a")), ("B", base, base + block("b")))
    assert sorted((result.content or b"").decode().split("-----END")) == sorted(
        (base + block("a") + block("b")).split("-----END")
    )


def test_a_derived_file_is_kept_only_while_one_layer_determines_it() -> None:
    path = "/etc/ld.so.cache"
    assert merge(path, "base", ("A", "base", "a")).content == b"a"
    assert merge(path, "base", ("A", "base", "a"), ("B", "base", "base")).content == b"a"
    assert merge(path, "base", ("A", "base", "a"), ("B", "base", "b")).content is None
    assert merge(path, "newer", ("A", "base", "a")).content is None
    assert merge(path, "newer", ("A", "base", "base")).content == b"newer"


def test_new_lines_follow_the_line_they_follow_in_their_layer() -> None:
    path = "/etc/shells"
    result = merge(path, "/bin/sh\n/bin/new\n", ("A", "/bin/sh\n/bin/old\n", "/bin/sh\n/bin/zsh\n/bin/old\n"))
    assert result.content == b"/bin/sh\n/bin/zsh\n/bin/new\n"


def test_without_layers_the_current_content_stays() -> None:
    for path in (STATUS, PASSWD, EDITOR, "/etc/ld.so.cache"):
        assert merge(path, "anything") == Merged(b"anything")
        assert merge(path, None) == Merged(None)
