"""The administrator's guide as a page; from the package, or from the work tree it is written in (OP-3)."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

_MOST_CHARS_OF_ANCHOR = 60
#: Where a picture of the guide is served, by language and name.
PICTURES = "/help/pictures"
_PICTURE = re.compile(r"\.\./images/console/(en|ja)/([a-z0-9-]+)\.png")
_PICTURE_WIDTH, _PICTURE_HEIGHT = "1280", "800"
#: Hiragana, katakana, kanji: U+3041 to U+30F6, U+4E00 to U+9FFF.
_JAPANESE = re.compile("[\u3041-\u30f6\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of the guide.

    Attributes:
        anchor: name of its place in the page, the same in every language.
        text: what it says.
        level: 2 for chapters, 3 for sections.
    """

    anchor: str
    text: str
    level: int


@dataclass(frozen=True, slots=True)
class Guide:
    """The guide in one language.

    Attributes:
        title: its title.
        headings: chapters and sections, in order.
        body: the text, without the title.
    """

    title: str
    headings: tuple[Heading, ...]
    body: Markup


@cache
def guide(language: str) -> Guide:
    """Return the guide in a language, `en` or `ja`."""
    tokens = _parsed(language)
    anchors = _anchors(language, tokens)
    title, headings = _arrange(tokens, anchors, language)
    # HTML in the text is off, so all that it holds was written by the renderer.
    return Guide(title, headings, Markup(_markdown().renderer.render(tokens, _markdown().options, {})))  # noqa: S704


@cache
def picture(language: str, name: str) -> bytes | None:
    """Return a picture of the guide as PNG; None if there is none of this name.

    Args:
        language: `en` or `ja`.
        name: its name without suffix, of small letters, digits and hyphens.
    """
    file = _pictures() / language / f"{name}.png"
    return file.read_bytes() if file.is_file() else None


def _pictures() -> Traversable:
    packed = _source() / "pictures"
    return packed if packed.is_dir() else Path(__file__).parents[3] / "docs" / "images" / "console"


def _source() -> Traversable:
    """Return the folder of the guide: wheels carry it; from a work tree it is read where it is written."""
    packed = resources.files("sekiso.console") / "guide"
    return packed if packed.is_dir() else Path(__file__).parents[3] / "docs" / "guide"


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _parsed(language: str) -> list[Token]:
    return _markdown().parse((_source() / f"{language}.md").read_text(encoding="utf-8"))


def _anchors(language: str, tokens: Sequence[Token]) -> Sequence[str]:
    """Return the anchors of all headings: named after the English ones, which stand at the same places."""
    english = [_slug(text) for text in _headings(_parsed("en"))]
    own = _headings(tokens)
    return english if len(english) == len(own) else [_slug(text) for text in own]


def _headings(tokens: Sequence[Token]) -> list[str]:
    pairs = itertools.pairwise(tokens)
    return [_text(after) for token, after in pairs if token.type == "heading_open"]


def _text(inline: Token) -> str:
    return "".join(child.content for child in inline.children or ())


def _slug(text: str) -> str:
    return re.sub(r"\W+", "-", text.casefold()).strip("-")[:_MOST_CHARS_OF_ANCHOR] or "section"


def _arrange(tokens: list[Token], anchors: Sequence[str], language: str) -> tuple[str, tuple[Heading, ...]]:
    """Take the title out, give headings their anchors, and all others what they need in the console."""
    title, headings, remaining = "", list[Heading](), iter(anchors)
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            level, text, anchor = int(token.tag[1]), _text(tokens[index + 1]), next(remaining)
            if level == 1:
                title = text
                _drop(tokens[index : index + 3])
            else:
                token.attrSet("id", anchor)
                headings.append(Heading(anchor, text, level))
        elif token.type == "inline":
            _unlink(token.children or [])
            token.children = _joined([child for child in token.children or () if _is_there(child)])
            if language == "ja":
                token.children = [_named(child) for child in token.children]
        else:
            _dress(token)
    return title, tuple(headings)


#: What the console's style sheet and a keyboard need; code is no text to be translated.
_ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    "table_open": {"class": "table table-sm guide-table", "tabindex": "0"},
    "fence": {"translate": "no"},
    "code_block": {"translate": "no", "tabindex": "0"},
}


def _dress(token: Token) -> None:
    for name, value in _ATTRIBUTES.get(token.type, {}).items():
        token.attrSet(name, value)


def _drop(tokens: Sequence[Token]) -> None:
    for token in tokens:
        token.type, token.hidden, token.children, token.content, token.tag = "text", True, [], "", ""


def _unlink(children: Sequence[Token]) -> None:
    """Keep links inside the guide, and turn those to files that the console does not have into text."""
    kept = list[bool]()
    for token in children:
        if token.type == "link_open":
            kept.append(_is_shown(token))
        if token.type in ("link_open", "link_close"):
            is_kept = kept[-1] if token.type == "link_open" else kept.pop()
            if not is_kept:
                token.tag, token.attrs = "span", {}
        elif token.type == "code_inline":
            token.attrSet("translate", "no")


def _joined(children: Sequence[Token]) -> list[Token]:
    """Leave out ends of lines beside Japanese text, which browsers would show as spaces."""
    kept = list[Token]()
    for index, token in enumerate(children):
        before = next((t.content[-1] for t in reversed(children[:index]) if t.content), "")
        after = next((t.content[0] for t in children[index + 1 :] if t.content), "")
        if token.type != "softbreak" or not (_is_wide(before) or _is_wide(after)):
            kept.append(token)
    return kept


def _is_wide(character: str) -> bool:
    return character != "" and unicodedata.east_asian_width(character) in "WF"


def _is_there(token: Token) -> bool:
    """Have a picture shown from where the console serves it; say no to one that an installation lacks."""
    if token.type != "image":
        return True
    found = _PICTURE.fullmatch(str(token.attrs.get("src", "")))
    if found is None or picture(found[1], found[2]) is None:
        return False
    token.attrs |= {
        "src": f"{PICTURES}/{found[1]}/{found[2]}.png",
        "class": "img-fluid border rounded",
        "loading": "lazy",
        "width": _PICTURE_WIDTH,
        "height": _PICTURE_HEIGHT,
    }
    return True


def _named(token: Token) -> Token:
    """Mark names in a Japanese text (`VHDX`, `Default Switch`): whole pieces without a Japanese character."""
    if token.type != "text" or _JAPANESE.search(token.content) or not re.search("[A-Za-z]", token.content):
        return token
    return Token("html_inline", "", 0, content=f'<span translate="no">{escape(token.content)}</span>')


def _is_shown(link: Token) -> bool:
    target: Any = link.attrs.get("href", "")
    found = re.fullmatch(r"(en|ja)\.md", str(target))
    if found:
        link.attrSet("href", f"/help?language={found[1]}")
        link.attrSet("hreflang", found[1])
    return found is not None or str(target).startswith("#")
