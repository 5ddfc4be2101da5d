"""The command line: both languages, errors and exit codes, checks of what is given (OP-3)."""

from __future__ import annotations

import errno
import json
import re

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from sekiso.cli.engine import engine
from sekiso.cli.errors import from_os_error
from sekiso.cli.help import EXIT_CODES, wrap_cells
from sekiso.cli.main import cli, main
from sekiso.cli.options import size_bytes
from sekiso.cli.output import printable
from sekiso.errors import Family

COMMANDS = [[], ["engine"], *(["engine", name] for name in engine.commands)]


@pytest.fixture(autouse=True)
def signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekiso.cli.main.signal.signal", lambda *_: None)  # pyright: ignore[reportUnknownLambdaType]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
    out, err = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    code, english, _ = run(capsys, "--lang", "en", *words, "--help")
    assert code == 0 and english.startswith("Usage: ")
    code, japanese, _ = run(capsys, "--lang", "ja", *words, "--help")
    assert code == 0 and japanese.startswith("使い方: ")
    examples = [line for line in japanese.splitlines() if "sekiso " not in line and "--out" not in line]
    assert [line for line in examples if re.search(r"[a-z]{3,} [a-z]{2,} [a-z]{2,}", line)] == []
    assert max(map(cell_len, japanese.splitlines())) <= 100


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["engine", "frobnicate"], "usage.command"),
        (["engine", "inspect"], "usage.missing"),
        (["engine", "inspect", "--fils", "x"], "usage.option"),
        (["engine", "inspect", "x", "y"], "usage"),
        (["engine", "compose", "a.wim", "--out", "a.vhd", "--generation", "3"], "usage.value"),
        (["engine", "compose", "a.wim", "--out", "a.vhd", "--generation", "1", "--size", "4"], "usage.value"),
        (
            ["engine", "compose", "a.wim", "--out", "a.vhd", "--generation", "1", "--format", "vhdx"],
            "usage",
        ),
        (["engine", "compose", "a.wim", "--out", "no/such/a.vhd", "--generation", "1"], "usage.value"),
        (["engine", "import", "a", "--out", "a.wim", "--name", " ", "--version", "1"], "usage.value"),
        (["engine", "import", "a", "--out", "a.wim", "--name", "a\tb", "--version", "1"], "usage.value"),
        (["engine", "import", "a", "--out", "a.wim", "--name", "a" * 201, "--version", "1"], "usage.value"),
    ],
)
def test_usage_errors(capsys: pytest.CaptureFixture[str], words: list[str], code: str) -> None:
    status, _, err = run(capsys, "--lang", "ja", *words)
    assert status == Family.USAGE.value
    assert err.startswith("エラー: ") and "--help" in err
    status, out, err = run(capsys, "--lang", "en", *words, "--json")
    error = json.loads(out)["error"]
    assert (status, err, error["code"]) == (2, "", code)
    assert set(error) == {"code", "family", "retryable", "params", "brief", "why", "resolution"}


def test_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "engine", "inspect", "no-such-file.vhd")[0] == Family.NOT_FOUND.value


@pytest.mark.parametrize(
    ("number", "family"),
    [
        (errno.ENOENT, Family.NOT_FOUND),
        (errno.EACCES, Family.ENVIRONMENT),
        (errno.EISDIR, Family.INPUT),
        (errno.ENOSPC, Family.ENVIRONMENT),
        (errno.EIO, Family.ENVIRONMENT),
    ],
)
def test_system_errors(number: int, family: Family) -> None:
    error = from_os_error(OSError(number, "words of the system", "/some/file"))
    assert error.family is family and "/some/file" in error.render()


def test_every_family_has_its_words() -> None:
    assert {code for code, _ in EXIT_CODES} == {0, *(f.value for f in Family)}
    assert isinstance(cli, click.Group)


@given(st.integers(0, 10**15), st.sampled_from(["", "K", "m", "G", "T"]), st.sampled_from(["", "B", "iB"]))
def test_sizes(count: int, unit: str, end: str) -> None:
    expected = count * 1024 ** " KMGT".index(unit.upper() or " ")
    assert size_bytes(f"{count}{unit}{end}") == (None if end == "iB" and not unit else expected)


@given(st.text(max_size=30))
def test_sizes_take_anything(text: str) -> None:
    assert size_bytes(text) is None or re.match(r"\s*[0-9]", text)


@given(st.text(max_size=60))
def test_printable(text: str) -> None:
    shown = printable(text)
    assert all(c.isprintable() or c == "\n" for c in shown)


@given(st.text(alphabet="積層、。ab c（）", max_size=80))
def test_wrapping_keeps_every_character(text: str) -> None:
    assert re.sub(r"\s", "", "".join(wrap_cells(text, 20))) == re.sub(r"\s", "", text)
