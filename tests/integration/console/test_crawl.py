"""Every page that a link or a button leads to: nothing untranslated, nothing from elsewhere, axe content."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from playwright.sync_api import Browser

from tests.support.chromium import Reader, accessibility_faults, overflow, reading, untranslated
from tests.unit.web.world import PASSWORD

from .conftest import Served

pytestmark = pytest.mark.slow

_LINKS = """() => [...document.querySelectorAll('a[href]')]
  .filter((a) => a.origin === location.origin && !a.hasAttribute('download'))
  .map((a) => a.pathname + a.search)"""
_OPENERS = '[hx-get][hx-target="#dialog"]'
_DIALOGS = f"() => [...document.querySelectorAll('{_OPENERS}')].map((e) => e.getAttribute('hx-get'))"
_ID = re.compile(r"(?<=/)(?:[a-z]-[\w-]+|[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{64})(?=/|\?|$)")
_MOST_PAGES = 150
#: Names of the small world that sentences hold.
_NAMES = "spare hv01 prod web nginx Debian"


def shape(path: str) -> str:
    """What pages of one kind have in common: two layers have the same page."""
    place, _, query = path.partition("?")
    keys = (part if part.startswith("kind=") else part.partition("=")[0] for part in query.split("&"))
    return f"{_ID.sub('*', place)}?{','.join(sorted(keys))}"


class Crawler:
    """Follows links from the start page."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.seen: set[str] = set()
        self.dialogs: set[str] = set()
        self.pages: list[str] = []

    def paths(self) -> Iterable[str]:
        """Yield each page once, opened."""
        waiting = ["/"]
        while waiting:
            path = waiting.pop(0)
            if shape(path) in self.seen or path.startswith(("/static/", "/api/")):
                continue
            self.seen.add(shape(path))
            assert len(self.seen) < _MOST_PAGES, sorted(self.seen)
            self.reader.open(path)
            self.pages.append(path)
            links: list[str] = self.reader.page.evaluate(_LINKS)
            waiting += links
            yield path

    def open_dialogs(self) -> Iterable[str]:
        """Yield each dialog of the page once, opened."""
        page = self.reader.page
        addresses: list[str] = page.evaluate(_DIALOGS)
        for index, address in enumerate(addresses):
            if shape(address) in self.dialogs:
                continue
            self.dialogs.add(shape(address))
            button = page.locator(_OPENERS).nth(index)
            for menu in button.locator("xpath=ancestor::details[not(@open)]").all():
                menu.locator("summary").first.click()
            button.click()
            page.locator("#dialog[open]").wait_for()
            self.reader.settle()
            yield address
            page.keyboard.press("Escape")
            page.locator("#dialog:not([open])").wait_for(state="attached")


def _lines(faults: dict[str, list[str]]) -> str:
    return "\n".join(f"{path}: {fault}" for path, found in faults.items() for fault in found)


def test_every_page_in_japanese(chromium: Browser, served: Served) -> None:
    faults: dict[str, list[str]] = {}
    with reading(chromium, served.base, "ja") as reader:
        reader.open("/login")
        faults["/login"] = untranslated(reader.page, _NAMES)
        reader.log_in("administrator", PASSWORD)
        crawler = Crawler(reader)
        for path in crawler.paths():
            faults[path] = reader.take() + untranslated(reader.page, _NAMES)
            for dialog in crawler.open_dialogs():
                faults[f"{path} → {dialog}"] = reader.take() + untranslated(reader.page, _NAMES)
    assert _lines(faults) == ""
    assert len(crawler.pages) > 25, crawler.pages


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_accessible(chromium: Browser, served: Served, theme: str) -> None:
    faults: dict[str, list[str]] = {}
    with reading(chromium, served.base, "en", theme="dark" if theme == "dark" else "light") as reader:
        reader.open("/login")
        faults["/login"] = accessibility_faults(reader.page)
        reader.log_in("administrator", PASSWORD)
        crawler = Crawler(reader)
        for path in crawler.paths():
            faults[path] = reader.take() + accessibility_faults(reader.page)
            for dialog in crawler.open_dialogs():
                faults[f"{path} → {dialog}"] = reader.take() + accessibility_faults(reader.page)
    assert _lines(faults) == ""


@pytest.mark.parametrize("language", ["ja", "en"])
def test_every_page_fits_a_phone(chromium: Browser, served: Served, language: str) -> None:
    wide: list[str] = []
    with reading(chromium, served.base, language, width=390) as reader:
        reader.log_in("administrator", PASSWORD)
        crawler = Crawler(reader)
        for path in crawler.paths():
            if overflow(reader.page):
                wide.append(path)
            for dialog in crawler.open_dialogs():
                if overflow(reader.page):
                    wide.append(f"{path} → {dialog}")
        faults = reader.take()
    assert (wide, faults) == ([], [])
