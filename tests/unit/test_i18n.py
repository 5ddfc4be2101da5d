"""The catalogues are complete, and texts with values in them are found."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso import i18n
from sekiso.errors import DamagedInputError, NotFoundError, gaps
from sekiso.i18n import LANGUAGES, preferred_language, render_error, translate

from .test_errors import load_script

SCRIPT = load_script("i18n")
OTHERS = [language for language in LANGUAGES if language != "en"]


@pytest.mark.parametrize("language", OTHERS)
def test_catalogue_is_complete(language: str) -> None:
    assert list(SCRIPT.problems(language)) == []


@pytest.mark.parametrize("language", OTHERS)
def test_every_template_keeps_its_gaps(language: str) -> None:
    table = SCRIPT.translations(language)
    assert {t for t, v in table.items() if gaps(t) != gaps(v)} == set()


@pytest.mark.parametrize("language", OTHERS)
def test_every_template_is_found_again_when_filled(language: str) -> None:
    table = SCRIPT.translations(language)
    lost: list[str] = []
    for text, translation in table.items():
        values = {name: f"Q{index}Q" for index, name in enumerate(sorted(gaps(text)))}
        matchable = values and i18n._is_matchable(text)  # pyright: ignore[reportPrivateUsage]
        if matchable and translate(text.format(**values), language) != translation.format(**values):
            lost.append(text)
    assert lost == []


def test_errors_page_is_up_to_date() -> None:
    page = SCRIPT.REPOSITORY / "docs" / "errors.md"
    assert page.read_text(encoding="utf-8") == SCRIPT.errors_page(), "python script/i18n.py errors"


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {
        "No disk.": "ディスクがありません。",
        "Try again.": "もう一度お試しください。",
        "The disk {name} has {count} parts.": "ディスク{name}には{count}個の部分があります。",
        "It failed: {reason}": "失敗しました: {reason}",
        "{reason}": "{reason}",
    }
    monkeypatch.setattr(i18n, "_catalogue", lambda _: table)  # pyright: ignore[reportUnknownLambdaType]
    i18n._templates.cache_clear()  # pyright: ignore[reportPrivateUsage]


@pytest.fixture(autouse=True)
def fresh_templates() -> object:
    yield
    i18n._templates.cache_clear()  # pyright: ignore[reportPrivateUsage]


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize(
    ("english", "japanese"),
    [
        ("No disk.", "ディスクがありません。"),
        ("No disk. Try again.", "ディスクがありません。もう一度お試しください。"),
        ("No disk.\nTry again.", "ディスクがありません。\nもう一度お試しください。"),
        ("The disk C: {x} has 2 parts.", "ディスクC: {x}には2個の部分があります。"),
        ("It failed: No disk.", "失敗しました: ディスクがありません。"),
        ("No disk. It failed: 3", "ディスクがありません。失敗しました: 3"),
        ("Something else.", "Something else."),
        ("No disk. Something else.", "No disk. Something else."),
        ("", ""),
    ],
)
def test_translate(english: str, japanese: str) -> None:
    assert translate(english, "ja") == japanese
    assert translate(english, "en") == english


@pytest.mark.usefixtures("catalogue")
@given(st.text(alphabet=string.printable + "積層", max_size=60))
def test_translate_takes_anything(text: str) -> None:
    assert isinstance(translate(text, "ja"), str)


def test_long_texts_are_not_searched() -> None:
    text = "The machine " * 2000
    assert translate(text, "ja") == text


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({}, "en"),
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "ja_JP.UTF-8", "LC_ALL": "de_DE.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "SEKISO_LANG": "ja"}, "ja"),
        ({"LANG": "", "LC_MESSAGES": "ja"}, "ja"),
    ],
)
def test_preferred_language(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], language: str
) -> None:
    for name in ("SEKISO_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert preferred_language() == language
    assert preferred_language("ja") == "ja"


def test_reasons_are_translated_inside_errors() -> None:
    error = DamagedInputError(path="a.wim", offset=3, reason="Generation 2 needs offload compositing.")
    brief, why, resolution = render_error(error, "ja")
    assert "a.wim" in brief and "3" in brief
    assert "オフロードコンポジティング" in why
    assert resolution.endswith("。")


def test_names_are_no_words_even_when_they_are_spelled_like_one() -> None:
    told = translate("The template VM nothing has a disk attached: none.", "ja")
    assert "nothing" in told and "none" in told
    error = NotFoundError(what="The machine", name="nothing", remedy="")
    assert "nothing" in render_error(error, "ja")[0]
