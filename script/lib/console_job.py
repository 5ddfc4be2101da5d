"""The main job by a person at the console, step by step; for the acceptance tests and the guide's pictures.

Everything is found by what the page says, in the person's language.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Locator, Page, expect

from sekiso.i18n import translate

#: A packaging machine or an image that starts, without hardware acceleration.
LONG_MS = 420_000
_BUSY = ".htmx-request, .htmx-swapping, .htmx-settling"


def settle(page: Page) -> None:
    """Wait until the parts of a page have come, for half a minute at most."""
    for _ in range(300):
        page.wait_for_timeout(100)
        # Not by `wait_for_function`, which has the page run a string: its policy forbids that.
        try:
            if not page.evaluate(f"document.querySelector('{_BUSY}') !== null"):
                return
        except PlaywrightError:
            continue  # the page is being left
    raise AssertionError(f"the page {page.url} does not come to rest")


@dataclass
class Console:
    """A person at the console.

    Attributes:
        page: the browser's page.
        url: address of the appliance.
        language: `en` or `ja`.
        shot: is told the name of each moment worth a picture.
    """

    page: Page
    url: str
    language: str
    shot: Callable[[str], None] = lambda _: None

    # --- what every step needs ----------------------------------------------------------------------------

    def say(self, text: str, **gaps: object) -> str:
        """Return a text of the console in the person's language."""
        return translate(text, self.language).format_map(gaps)

    def settle(self) -> None:
        """Wait until the parts of the page have come."""
        settle(self.page)

    def open(self, path: str) -> None:
        self.page.goto(self.url + path)
        self.settle()

    def button(self, text: str, **gaps: object) -> Locator:
        return self.page.get_by_role("button", name=self.say(text, **gaps), exact=True)

    def press(self, text: str, **gaps: object) -> None:
        """Press a button or follow a link."""
        self.button(text, **gaps).or_(
            self.page.get_by_role("link", name=self.say(text, **gaps), exact=True)
        ).first.click()
        self.settle()

    def enter(self, field: str, value: str) -> None:
        """Type into a field and leave it."""
        control = self.page.locator(f"#{field}")
        control.fill(value)
        control.blur()
        self.settle()

    def choose(self, field: str, label: str) -> None:
        self.page.locator(f"#{field}").select_option(label=label)
        self.settle()

    def pick(self, field: str, value: str) -> None:
        """Choose one of some radio buttons."""
        self.page.locator(f'input[name="{field}"][value="{value}"]').locator("xpath=..").click()
        self.settle()

    def sees(self, text: str, *, timeout_ms: int = 30_000, **gaps: object) -> None:
        """Wait until the page says something."""
        expect(self.page.locator("body")).to_contain_text(self.say(text, **gaps), timeout=timeout_ms)

    def next(self) -> None:
        """Go to the next step of a wizard."""
        self.page.locator("[data-wizard-next]").click()
        self.settle()

    # --- the steps ----------------------------------------------------------------------------------------

    def log_in(self, name: str, password: str) -> None:
        self.open("/")
        self.shot("login")
        self.page.get_by_label(self.say("User name")).fill(name)
        self.page.get_by_label(self.say("Password")).fill(password)
        self.press("Log in")
        self.page.wait_for_url(lambda url: "/login" not in url)
        self.settle()
        self.shot("start")

    def register_agent(self, name: str, run: Callable[[str], None]) -> None:
        """Register an agent: `run` is given the command that the console shows, and starts the agent."""
        self.press("Register an agent")
        self.press("Register agent")
        self.page.get_by_label(self.say("Name of the agent")).fill(name)
        self.press("Create the token")
        command = self.page.get_by_label(self.say("Command for a Linux machine"), exact=True).inner_text()
        self.shot("register-agent")
        run(command)
        self.sees("The agent {name} is registered and connected.", name=name, timeout_ms=90_000)
        self.press("Show the agent")
        self.shot("agent")

    def begin_configuration(self) -> None:
        """Open a new connector configuration, from the list."""
        self.open("/connectors")
        self.press("Add connector configuration")
        self.shot("connector-type")
        self.press("New")

    def fill_configuration(
        self, name: str, agent: str, storage: Path | str, *, memory_mb: int = 512, cpus: int = 1
    ) -> None:
        """Fill in generation 2 with offload compositing."""
        self.enter("name", name)
        self.choose_containing("agent", agent)
        self.page.locator("#offload").check()
        self.settle()
        self.pick("generation", "2")
        self.enter("cpus", str(cpus))
        self.enter("memory_mb", str(memory_mb))
        self.choose_containing("network", "Isolated")
        self.enter("storage_path", str(storage))
        self.enter("cache_gb", "10")

    def choose_containing(self, field: str, text: str) -> None:
        """Choose the option whose label begins with a text."""
        options = self.page.locator(f"#{field} option")
        label = next(o for o in options.all_inner_texts() if o.strip().startswith(text))
        self.choose(field, label.strip())

    def test_configuration(self) -> None:
        self.page.locator("[data-test-start]").click()
        self.sees("Every check has passed.", timeout_ms=120_000)
        self.shot("connector-test")

    def save_configuration(self, name: str) -> None:
        self.press("Save")
        self.page.wait_for_url(re.compile(r"/connectors$"))
        self.sees("The connector configuration {name} was saved.", name=name)
        expect(self.page.get_by_role("link", name=name, exact=True)).to_be_visible()
        self.shot("connectors")

    def import_os(self, name: str, version: str, configuration: str, disk: Path) -> None:
        self.open("/")
        self.press("Import OS layer")
        self.choose_containing("configuration", configuration)
        self.next()
        self.pick("source", "disk")
        self.enter("disk_path", str(disk))
        self.shot("import-os")
        self.next()
        self.enter("name", name)
        self.enter("version", version)
        self.next()
        self.page.locator("[data-wizard-finish]").click()
        self.page.wait_for_url(re.compile(r"/layers\?kind=os"))
        self.settle()
        self.shot("task-bar")
        self.wait_for_layer(name, "os")

    def wait_for_layer(self, name: str, kind: str) -> None:
        """Wait until the newest version of a layer is deployable."""
        self.open(f"/layers?kind={kind}")
        card = self.page.locator(".card, tr", has=self.page.get_by_role("link", name=name)).last
        expect(card).to_contain_text(self.say("Deployable"), timeout=LONG_MS)

    def create_layer(
        self, name: str, version: str, os_version: str, configuration: str, archive: Path
    ) -> None:
        """Create an app layer whose packaging machine installs by a run-once archive."""
        self.open("/layers?kind=app")
        self.press("Create app layer")
        self.enter("name", name)
        self.enter("version", version)
        self.next()
        self.page.locator('label:has(input[name="os_version_id"])', has_text=os_version).click()
        self.settle()
        self.shot("create-layer")
        self.next()
        self.choose_containing("configuration", configuration)
        self.page.locator("#run_once_file").set_input_files(archive)
        expect(self.page.locator("[data-run-once-chosen]")).to_be_visible()
        self.settle()
        self.next()
        self.page.locator("[data-wizard-finish]").click()
        self.page.wait_for_url(re.compile(r"/layers\?kind=app"))
        self.settle()

    def open_machine(self, name: str) -> None:
        """Open the page of a packaging machine, and wait until its screen is there."""
        self.page.get_by_role("link", name=name).first.click()
        self.settle()
        link = self.page.locator('a[href$="/machine"]').first
        link.wait_for(timeout=LONG_MS)
        link.click()
        self.settle()
        self.page.locator("[data-screen-view] canvas").wait_for(timeout=LONG_MS)

    def create_template(self, name: str, os_version: str, apps: list[str], configuration: str) -> None:
        self.open("/images/templates")
        self.press("New image template")
        self.enter("name", name)
        self.next()
        self.choose("os_version_id", os_version)
        self.next()
        self.next()
        for app in apps:
            self.button("Choose {name}", name=app).click()
            self.settle()
        self.shot("template-layers")
        self.next()
        self.choose_containing("configuration", configuration)
        self.next()
        self.page.locator("#boot_test").check()
        self.next()
        self.page.wait_for_timeout(500)
        self.settle()
        self.shot("template-review")
        self.press("Make the image template")
        self.sees("The image template {name} was made.", name=name)
        self.shot("template")

    def publish(self) -> None:
        """Publish from the page of a template, and wait for the boot test."""
        self.press("Publish")
        self.page.locator("#dialog").get_by_role("button", name=self.say("Publish"), exact=True).click()
        self.page.wait_for_url(re.compile(r"/images$"))
        self.settle()
        self.shot("publishing")

    def wait_for_image(self, template: str) -> None:
        """Wait until the newest image of a template is published, and open it."""
        row = self.page.locator(
            "tr, .card", has=self.page.get_by_role("link", name=re.compile(f"^{re.escape(template)} \\d"))
        ).last
        expect(row).to_contain_text(self.say("Published"), timeout=LONG_MS)
        self.shot("images")
        row.get_by_role("link", name=re.compile(f"^{re.escape(template)} \\d")).first.click()
        self.settle()
        self.page.locator("img.screenshot").wait_for(timeout=LONG_MS)
        self.shot("image")
