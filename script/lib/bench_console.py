"""The console's pages over a large estate: time of the server, and until a person sees the page.

Reference: the same page, in the same round, over a small estate that just fills one page of each list. What
a page costs must not grow with what the appliance holds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from lib.bench_measure import say
from lib.console_estate import Size, make_estate
from lib.estate import Estate
from playwright.sync_api import Browser, Page, sync_playwright

LARGE = Size()
SMALL = Size(layers=150, tasks=60, agents=60, templates=60, images=60, audit=100)
GOAL_RATIO, GOAL_SERVER_MS, GOAL_SEEN_MS = 2.0, 100.0, 1000.0
PAGES = {
    "start page": "/",
    "app layers": "/layers?kind=app",
    "app layers, page 100": "/layers?kind=app&offset=5000",
    "app layers, search": "/layers?kind=app&text=office",
    "published images": "/images",
    "image templates": "/images/templates",
    "connector configurations": "/connectors",
    "new image template": "/images/templates/new",
    "tasks": "/tasks",
    "task bar": "/tasks/bar",
    "agents": "/system/agents",
    "audit history": "/system/audit",
    "audit history, search": "/system/audit?text=layer",
}
#: Parts of pages: nobody sees them alone.
_PARTS = ("/tasks/bar",)
_SEEN = """() => new Promise((done) => {
  new PerformanceObserver((list) => done(list.getEntries().at(-1).startTime))
    .observe({ type: 'largest-contentful-paint', buffered: true });
})"""
_REQUESTS = 15


@dataclass
class Times:
    """Of one page: milliseconds of each round, large and small estate side by side."""

    server: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    seen: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    def line(self, name: str) -> str:
        large, small = (statistics.median(pair[i] for pair in self.server) for i in (0, 1))
        ratios = [a / b for a, b in self.server]
        text = f"{name:<28}{large:>9.1f}{small:>9.1f}{statistics.median(ratios):>8.2f}"
        text += f"{min(ratios):>8.2f}–{max(ratios):<6.2f}"
        if self.seen:
            large, small = (statistics.median(pair[i] for pair in self.seen) for i in (0, 1))
            text += f"{large:>9.0f}{small:>9.0f}{large / small:>8.2f}"
        return text


def measure_console(work: Path, runs: int) -> dict[str, Times]:
    """Measure every page; print the table; return the times."""
    times = {name: Times() for name in PAGES}
    with _console(work / "large", LARGE) as large, _console(work / "small", SMALL) as small:
        for _ in range(runs):
            for name, path in PAGES.items():
                times[name].server.append((large.server_ms(path), small.server_ms(path)))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            pages = (large.open(browser), small.open(browser))
            for _ in range(runs):
                for name, path in PAGES.items():
                    if path not in _PARTS:
                        times[name].seen.append(
                            (large.seen_ms(pages[0], path), small.seen_ms(pages[1], path))
                        )
            browser.close()
    _print(times)
    return times


def _print(times: dict[str, Times]) -> None:
    print(f"\nThe console over {_words(LARGE)}; in brackets the reference, over {_words(SMALL)}\n")
    server = f"{'server ms':>9}{'(small)':>9}{'ratio':>8}{'min–max':>14}"
    print(f"{'':<28}{server}{'seen ms':>10}{'(small)':>9}{'ratio':>8}")
    for name, found in times.items():
        print(found.line(name))
    print(f"\ngoals: ratio ≤ {GOAL_RATIO:g}, server ≤ {GOAL_SERVER_MS:g} ms, seen ≤ {GOAL_SEEN_MS:g} ms")


def _words(size: Size) -> str:
    return f"{size.layers} layers, {size.tasks} tasks, {size.agents} agents, {size.images} images"


@dataclass
class _Console:
    estate: Estate
    client: httpx.Client

    def server_ms(self, path: str) -> float:
        """Median of some requests over a connection that is open."""
        taken: list[float] = []
        for _ in range(_REQUESTS):
            begun = time.perf_counter()
            answer = self.client.get(path)
            taken.append((time.perf_counter() - begun) * 1000)
            if answer.status_code != 200:
                raise SystemExit(f"{path} answered {answer.status_code}")
        return statistics.median(taken)

    def open(self, browser: Browser) -> Page:
        page = browser.new_context(ignore_https_errors=True, locale="en-GB").new_page()
        page.goto(self.estate.url + "/login")
        page.locator("#name").fill("admin")
        page.locator("#password").fill(self.estate.password())
        page.locator("main form button[type=submit]").click()
        page.wait_for_url(lambda url: "/login" not in url)
        return page

    def seen_ms(self, page: Page, path: str) -> float:
        """Until the largest part of the page is painted, counted from the click (assets are cached)."""
        page.goto(self.estate.url + path, wait_until="load")
        return float(page.evaluate(_SEEN))


@contextmanager
def _console(folder: Path, size: Size) -> Iterator[_Console]:
    estate = Estate(folder)
    estate.appliance_state.mkdir(parents=True, mode=0o700)
    begun = time.monotonic()
    make_estate(estate.appliance_state / "sekiso.db", size)
    say(f"an estate of {size.layers} layers: made in {time.monotonic() - begun:.1f} s")
    estate.write_password()
    try:
        estate.start_appliance()
        with httpx.Client(base_url=estate.url, verify=False) as client:
            answer = client.post("/login", data={"name": "admin", "password": estate.password()})
            if answer.status_code != 303:
                raise SystemExit(f"logging in answered {answer.status_code}")
            yield _Console(estate, client)
    finally:
        estate.close()
