"""Debian's Chromium, driven by Playwright; what a page did that it must not do is collected.

Debian packages: chromium, fonts-noto-cjk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, sync_playwright
from script.lib.console_job import settle

from sekiso.i18n import _catalogue  # pyright: ignore[reportPrivateUsage]

CHROMIUM = "/usr/bin/chromium"
Theme = Literal["light", "dark"]
LOCALES = {"en": "en-GB", "ja": "ja-JP"}
_LATIN = re.compile(r"[A-Za-z][A-Za-z'’.-]*[A-Za-z]")
_JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
#: Units are written the same in every language.
_UNITS = re.compile(r"(?<![A-Za-z])(?:[KMGTP]i?B|[MG]Hz)\b")
_PATHS = re.compile(r"/[\w./-]+")


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """Start the browser; end it afterwards."""
    with sync_playwright() as playwright:
        # Its own sandbox needs another user than root.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Reader:
    """A person at a page, and what went wrong there.

    Attributes:
        page: the page.
        base: address of the appliance.
        language: language of the browser.
        faults: what the page did that it must not do; empty it by `take`.
        expected: answers that a test provokes: `status path`.
    """

    page: Page
    base: str
    language: str
    faults: list[str] = field(default_factory=list[str])
    expected: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("request", self._on_request)
        self.page.on("response", self._on_response)

    def open(self, path: str) -> None:
        """Open a page, and wait until it is still."""
        self.page.goto(self.base + path)
        self.settle()

    def settle(self) -> None:
        """Wait until the parts of the page have come; the stream of events never ends."""
        settle(self.page)

    def take(self) -> list[str]:
        """Return the faults, and forget them."""
        found, self.faults[:] = list(self.faults), []
        return found

    def log_in(self, name: str, password: str) -> None:
        """Log in."""
        self.open("/login")
        self.page.locator("#name").fill(name)
        self.page.locator("#password").fill(password)
        self.page.locator("main form button[type=submit]").click()
        self.page.wait_for_url(lambda url: "/login" not in url)
        self.settle()

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.faults.append(f"console: {message.text}")

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and not request.url.startswith(self.base):
            self.faults.append(f"leaves the appliance: {request.url}")

    def _on_response(self, response: Response) -> None:
        shown = f"{response.status} {urlsplit(response.url).path}"
        if response.status >= 400 and shown not in self.expected:
            self.faults.append(f"answer: {shown}")


@contextmanager
def reading(
    browser: Browser, base: str, language: str, *, width: int = 1280, theme: Theme = "light"
) -> Iterator[Reader]:
    """Open a page as a person with this language sees it."""
    context = browser.new_context(
        ignore_https_errors=True,
        locale=LOCALES[language],
        viewport={"width": width, "height": 800},
        color_scheme=theme,
        timezone_id="Asia/Tokyo",
        accept_downloads=True,
    )
    # A machine that does much at once is slow.
    context.set_default_timeout(60_000)
    try:
        yield Reader(context.new_page(), base, language)
    finally:
        context.close()


def accessibility_faults(page: Page) -> list[str]:
    """Return the violations that axe finds, with the elements."""
    found: dict[str, Any] = Axe().run(page).response
    return [
        f"axe {violation['id']}: {node['html'][:200]}"
        for violation in found["violations"]
        for node in violation["nodes"][:5]
    ]


def overflow(page: Page) -> bool:
    """Whether the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1")


_TEXTS = """() => {
  const found = [];
  const skipped = '[translate=no], [lang]:not(html), script, style, code, pre';
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const element = node.parentElement;
    if (element && !element.closest(skipped)) found.push(node.textContent.trim().replace(/\\s+/g, ' '));
  }
  for (const name of ['title', 'aria-label', 'placeholder', 'alt', 'data-title']) {
    for (const element of document.querySelectorAll(`[${name}]`)) {
      if (!element.closest('[translate=no]')) found.push(element.getAttribute(name).trim());
    }
  }
  return [...new Set(found)].filter((text) => /[A-Za-z]{2}/.test(text));
}"""


_DATA = """() => [
  ...[...document.querySelectorAll('[translate=no]')].map((element) => element.textContent),
  ...[...document.querySelectorAll('input, textarea, select')].map((element) => element.value),
  location.href,
  ...[...document.links].map((link) => link.href),
].join('\\n')"""


def untranslated(page: Page, known: str = "") -> list[str]:
    """Return texts of a Japanese page that are not from the Japanese catalogue.

    Data is marked on pages (`translate="no"`). A text may hold the Latin words that translations hold: names
    of products, formats, units; and a Japanese sentence names what the page shows as data, or is `known`.
    """
    values, words = _japanese()
    found: list[str] = []
    data = f"{page.evaluate(_DATA)} {known}"
    for text in page.evaluate(_TEXTS):
        plain = _PATHS.sub("", _UNITS.sub("", text))
        if text in values or not _LATIN.search(plain):
            continue
        strange = [word for word in _LATIN.findall(plain) if word not in words and word not in data]
        if strange or not _JAPANESE.search(plain):
            found.append(text)
    return found


@cache
def _japanese() -> tuple[frozenset[str], frozenset[str]]:
    values = frozenset(_catalogue("ja").values())
    return values, frozenset(word for value in values for word in _LATIN.findall(value))
