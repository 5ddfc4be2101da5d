"""The administrator's guide: both languages say the same, in the console's own words (OP-3, CC-6)."""

from __future__ import annotations

import re
import shlex
import struct
from pathlib import Path

import click
import pytest

from sekiso.cli.main import cli
from sekiso.i18n import _catalogue  # pyright: ignore[reportPrivateUsage]

from ..conftest import REPOSITORY

LANGUAGES = ("en", "ja")
PICTURES = REPOSITORY / "docs/images/console"
#: Bold in English, but no words of the console: what is explained there.
TERMS = {"appliance", "agent", "management console", "packaging machine"}


def text_of(language: str) -> str:
    return (REPOSITORY / "docs/guide" / f"{language}.md").read_text(encoding="utf-8")


def chapters(language: str) -> list[tuple[int, str]]:
    return [(len(m[1]), m[2]) for m in re.finditer(r"(?m)^(#+) (.+)$", text_of(language))]


def commands(language: str) -> list[str]:
    """What is to be typed: lines that stand by themselves."""
    return re.findall(r"(?m)^ {4,}(\S.*)$", text_of(language))


def named_pictures(language: str) -> list[str]:
    return re.findall(r"!\[[^\]]+\]\(\.\./images/console/([a-z]+/[a-z0-9-]+)\.png\)", text_of(language))


def console_words(language: str) -> set[str]:
    """What is written as a word of the console: bold in English, in brackets in Japanese."""
    if language == "ja":
        plain = re.sub(r"(?m)^ {4}.*$|`[^`]*`", "", text_of("ja"))
        return set(re.findall(r"(?<!!)\[([^\]\n]+)\](?!\()", plain))
    bold = {" ".join(found.split()) for found in re.findall(r"\*\*([^*]+)\*\*", text_of("en"))}
    return {word for word in bold if word not in TERMS and not re.search(r"[.”\"]$", word)}


def test_both_languages_have_the_same_chapters() -> None:
    assert [level for level, _ in chapters("en")] == [level for level, _ in chapters("ja")]


def test_both_languages_have_the_same_commands() -> None:
    assert commands("en") == commands("ja")
    assert len(commands("en")) > 60


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_picture_is_named_once_and_every_name_has_its_picture(language: str) -> None:
    there = sorted(f"{language}/{path.stem}" for path in (PICTURES / language).glob("*.png"))
    assert sorted(named_pictures(language)) == there
    assert len(there) > 25


def test_both_languages_show_the_same_pictures_in_the_same_order() -> None:
    names = [[name.partition("/")[2] for name in named_pictures(language)] for language in LANGUAGES]
    assert names[0] == names[1]


@pytest.mark.parametrize("path", sorted(PICTURES.rglob("*.png")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_pictures_are_as_large_as_the_page_says(path: Path) -> None:
    assert struct.unpack(">II", path.read_bytes()[16:24]) == (1280, 800)


def test_pictures_are_small_enough_for_the_package() -> None:
    assert sum(path.stat().st_size for path in PICTURES.rglob("*.png")) < 4_000_000


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_of_the_console_are_written_as_in_the_console(language: str) -> None:
    catalogue = _catalogue("ja")
    known = set(catalogue if language == "en" else catalogue.values())
    assert console_words(language) - known == set()
    assert len(console_words(language)) > 80


def test_both_languages_name_about_the_same_words_of_the_console() -> None:
    catalogue = _catalogue("ja")
    translated = {catalogue[word] for word in console_words("en")}
    assert translated - console_words("ja") == set()


def command_lines() -> list[list[str]]:
    """Every command of `sekiso` in the guide, alone in its line or inside a sentence."""
    joined = re.sub(r"\\\n\s+", "", text_of("en"))
    alone = re.findall(r"(?m)^ {4,}(?:\S+=\S+ )?(sekiso .*)$", joined)
    inside = re.findall(r"`(sekiso [^`]+)`", joined)
    return [shlex.split(line) for line in alone + inside]


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_every_command_exists_with_its_options(words: list[str]) -> None:
    command: click.Command = cli
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest[0])
        assert found is not None, f"no command {rest[0]}"
        command, rest = found, rest[1:]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in rest if word.startswith("-")} - options - {"--help"} == set()
