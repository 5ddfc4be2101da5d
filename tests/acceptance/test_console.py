"""The whole job by a person at the console alone, in both languages, in a real browser (CC-6, OP-2, OP-3)."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from script.lib.console_job import Console
from script.lib.estate import Estate

from sekiso.i18n import translate
from tests.support.chromium import Reader, accessibility_faults, open_chromium, reading, untranslated

from .conftest import ROOT, turn_all_off
from .test_must_fail import CASES, Case, make_templates

pytestmark = [pytest.mark.boot, pytest.mark.root]

SCRIPT = """set -eux
mkdir -p /etc/sekiso/report.d /opt/hello
echo hello from the layer > /opt/hello/hello.txt
cat > /etc/sekiso/report.d/10-hello <<'HOOK'
#!/bin/sh
cat /opt/hello/hello.txt
HOOK
chmod 755 /etc/sekiso/report.d/10-hello
# Somebody looks at the screen meanwhile.
sleep 12
"""
#: Answers that the job provokes on purpose: forms that are refused.
REFUSED = {"422 /connectors", "422 /connectors/form"}


def archive(path: Path) -> Path:
    """A run-once archive as a person packs it."""
    with tarfile.open(path, "w") as out:
        for name, content in (("run.sh", SCRIPT.encode()), ("finalize", b"")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


@dataclass
class Job:
    """The job of one language, as far as it has come.

    Attributes:
        estate: appliance and agent.
        console: the person.
        reader: the browser's page, with what it did wrong.
        pictures: folder of the pictures.
        said: what was read: name of a MUST FAIL, and the text.
        untranslated: texts that were not Japanese.
        inaccessible: what axe found, by page.
    """

    estate: Estate
    console: Console
    reader: Reader
    pictures: Path
    said: dict[str, str] = field(default_factory=dict[str, str])
    untranslated: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    inaccessible: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    picture_bytes: int = 0

    def look(self, name: str) -> None:
        """At each moment worth a picture: the picture, axe, and the words."""
        page, faults = self.reader.page, self.reader.take()
        if self.reader.language == "ja" and (found := untranslated(page)):
            self.untranslated[name] = found
        if found := accessibility_faults(page):
            self.inaccessible[name] = found
        page.screenshot(path=self.pictures / f"{len(list(self.pictures.iterdir())):02}-{name}.png")
        self.reader.settle()
        # Looking changes styles of the page, which its policy complains about.
        self.reader.faults[:] = faults


def run_agent(estate: Estate, command: str) -> None:
    """Do what the console says: on the agent's host, in a shell."""
    sekiso = f"{sys.executable} -c 'from sekiso.cli.main import main; main()'"
    assert "sudo sekiso agent register" in command
    command = command.replace("sudo sekiso", sekiso)
    command += f" --state {estate.folder / 'agent'} --storage {estate.machines}"
    subprocess.run(["sh", "-c", command], check=True, env=estate.variables(), capture_output=True)
    make_templates(estate, estate.folder)
    estate.spawn_agent()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, guest_cache: Path) -> Path:
    disk = tmp_path_factory.mktemp("console-source") / "source.vhd"
    words = ["--tiny", "--generation", "1", "--quiet", "--out", str(disk), "--cache", str(guest_cache)]
    subprocess.run([ROOT / "script/make-debian-guest", *words], check=True)
    return disk


@pytest.fixture(scope="module", params=["ja", "en"])
def job(
    request: pytest.FixtureRequest, chromium: Browser, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Job]:
    language = str(request.param)
    folder = tmp_path_factory.mktemp(f"console-{language}")
    estate = Estate(folder / "estate")
    estate.write_password()
    try:
        estate.start_appliance()
        estate.log_in()
        with reading(chromium, estate.url, language) as reader:
            pictures = folder / "pictures"
            pictures.mkdir()
            console = Console(reader.page, estate.url, language)
            made = Job(estate, console, reader, pictures)
            console.shot = made.look
            try:
                _do(made, source, archive(folder / "hello.tar"))
            except Exception:
                reader.page.screenshot(path=pictures / "broken.png", full_page=True)
                print(
                    f"pictures: {pictures}; {reader.take()}\n{estate.log('appliance')}\n{estate.log('agent')}"
                )
                raise
            yield made
    finally:
        estate.close()
        turn_all_off(estate)


def _do(job: Job, source: Path, tar: Path) -> None:
    """Do everything, in the order of a new user's way."""
    console, estate = job.console, job.estate
    console.log_in("admin", estate.password())
    console.sees("The way to the first image")
    console.register_agent("host1", lambda command: run_agent(estate, command))
    job.reader.expected |= REFUSED
    _try_what_must_fail(job)
    console.begin_configuration()
    console.fill_configuration("prod", "host1", estate.storage)
    console.test_configuration()
    console.save_configuration("prod")
    job.reader.expected.clear()
    console.import_os("Debian", "12", "prod", source)
    console.create_layer("hello", "1.0", "Debian 12", "prod", tar)
    console.open_machine("hello")
    _look_at_the_screen(job)
    console.wait_for_layer("hello", "app")
    console.shot("layers")
    console.create_template("web", "Debian 12", ["hello 1.0"], "prod")
    console.publish()
    console.wait_for_image("web")
    console.open("/")
    console.shot("overview")


def _try_what_must_fail(job: Job) -> None:
    """Try each MUST FAIL of a connector configuration, and read what the page says."""
    console = job.console
    console.begin_configuration()
    console.fill_configuration("taken", "host1", job.estate.storage)
    console.save_configuration("taken")
    for case in CASES:
        console.open("/connectors/new?connector=hyperv")
        console.enter("name", "new")
        console.choose_containing("agent", "host1")
        console.enter("memory_mb", "1024")
        console.enter("cpus", "1")
        console.choose_containing("network", "Isolated")
        console.enter("storage_path", str(job.estate.storage))
        job.said[case.rule] = _try(job, case)
    console.open("/connectors")
    expect(console.page.locator("body")).not_to_contain_text("new (")


def _try(job: Job, case: Case) -> str:
    """Enter the values of a case as far as the form offers them; return why they cannot be."""
    console, page = job.console, job.console.page
    for name, value in case.values.items():
        control = page.locator(f"#{name}")
        if name not in {"generation", "disk_format"} and control.count() == 0:
            return f"no field {name}"
        if name == "offload":
            control.set_checked(bool(value))
            console.settle()
        elif name in ("generation", "disk_format"):
            choice = page.locator(f'input[name="{name}"][value="{value}"]')
            if choice.is_disabled():
                return page.locator(f"#{name}").inner_text()
            choice.locator("xpath=..").click()
            console.settle()
        elif control.evaluate("e => e.tagName") == "SELECT":
            labels = control.locator("option").all_inner_texts()
            fitting = [label for label in labels if label.startswith(str(value))]
            if not fitting:
                return f"not offered: {value} ({', '.join(label.strip() for label in labels)})"
            option = control.locator("option", has_text=fitting[0])
            if option.is_disabled():
                refused = page.locator("details.not-offered li", has_text=str(value))
                return refused.first.inner_text()
            console.choose(name, fitting[0].strip())
        else:
            console.enter(name, str(value))
    if case.field in ("generation", "disk_format"):
        # What cannot be together is not offered: the form says which, and why.
        notes = page.locator(f"#{case.field} .field-note")
        expect(notes.first).to_be_visible()
        return " ".join(notes.all_inner_texts())
    if case.values.get("offload", False) != page.locator("#offload").is_checked():
        # A template VM that needs offload compositing has switched it on, and says so.
        notes = page.locator(".mb-3:has(> .form-check #offload) .field-note")
        expect(notes.first).to_be_visible()
        return " ".join(notes.all_inner_texts())
    console.press("Save")
    assert "/connectors/new" in page.url, f"{case.rule}: it was saved"
    problem = page.locator(f"#{case.field}-problem")
    expect(problem).to_be_visible()
    # What was typed stays.
    expect(page.locator("#storage_path")).not_to_have_value("") if case.field != "storage_path" else None
    return problem.inner_text()


def _look_at_the_screen(job: Job) -> None:
    """See the machine's screen move in the browser, and press keys in it."""
    page = job.console.page
    canvas = page.locator("[data-screen-view] canvas")
    size = canvas.evaluate("c => [c.width, c.height]")
    assert size[0] >= 640 and size[1] >= 400, size
    colours = "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    for _ in range(60):
        job.picture_bytes = canvas.evaluate(colours)
        if job.picture_bytes > 2:
            break
        page.wait_for_timeout(1000)
    page.locator("[data-screen-keyboard]").click()
    page.keyboard.press("Enter")
    job.console.shot("machine")


def test_each_must_fail_is_read_in_the_readers_language_and_nothing_is_saved(job: Job) -> None:
    assert len(job.said) == len(CASES)
    for rule, text in job.said.items():
        print(f"{rule} | {' '.join(text.split())}")
        assert text.strip()
    # By values that are typed: the rule's own text.
    small = translate("Number of CPUs is at least 1, not 0.", job.console.language)
    assert small in job.said["CC-1 CPUs"]
    names = [c["name"] for c in job.estate.json("connector", "list")["configurations"]]
    assert names == ["prod", "taken"] or sorted(names) == ["prod", "taken"]


def test_the_screen_was_seen_in_the_browser(job: Job) -> None:
    assert job.picture_bytes > 2


def test_the_published_image_starts_with_what_was_layered(job: Job) -> None:
    image = job.estate.json("image", "list")["images"][0]["image"]
    assert image["state"] == "published"
    hooks = {hook["name"]: hook["output"] for hook in image["boot_test"]["report"]["hooks"]}
    assert "hello from the layer" in hooks["10-hello"]
    assert image["boot_test"]["report"]["firmware"] == "uefi"


def test_no_page_did_what_it_must_not(job: Job) -> None:
    # The screen's library reads its canvas; looking (axe, pictures) leaves styles behind; pages are left
    # while parts of them are on their way.
    noise = ("willReadFrequently", "Applying inline style", "htmx:afterRequest", "htmx:sendAbort")
    assert [fault for fault in job.reader.faults if not any(word in fault for word in noise)] == []


def test_every_moment_was_translated_and_accessible(job: Job) -> None:
    assert (job.untranslated, job.inaccessible) == ({}, {})
    assert len(list(job.pictures.glob("*.png"))) > 15


def test_a_restart_of_the_appliance_is_seen_and_gone_through(job: Job) -> None:
    console = job.console
    console.open("/tasks")
    job.estate.kill("appliance")
    console.sees(
        "The appliance cannot be reached. The page goes on as soon as it is back.", timeout_ms=60_000
    )
    job.estate.start_appliance()
    message = console.say("The appliance cannot be reached. The page goes on as soon as it is back.")
    expect(console.page.locator("body")).not_to_contain_text(message, timeout=60_000)
    job.reader.take()
    console.open("/images")
    console.sees("Published")
