"""Takes the pictures of the administrator's guide from a console that runs. Start it by script/screenshots.

`prepare` builds the guest and fetches its packages, which needs the network. `take` runs in namespaces of its
own: the host is called hv-host01, the appliance appliance.example, and everything lies in /srv/sekiso.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import FloatRect, Page, expect

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from script.lib import demo_apps
from script.lib.console_job import Console
from script.lib.demo_packages import fetch
from script.lib.estate import Estate
from tests.support.chromium import open_chromium, reading

from sekiso.hypervisors.qemu.driver import QemuDriver

ROOT = Path(__file__).resolve().parents[2]
RELEASE = "bookworm"
LANGUAGES = ("ja", "en")
HOST, APPLIANCE = "hv-host01", "appliance.example"
PORTS = {"api": 8443, "link": 8444, "http": 8021, "https": 8022}
CONFIGURATION, OS_LAYER, OS_VERSION = "Production", "Debian", "12"
NGINX, REDIS = demo_apps.NGINX, demo_apps.REDIS
MACHINE_MS = 600_000
#: All pictures together, so that they may be part of the package.
MOST_BYTES = 4_000_000
#: The picture leaves out the room of the scroll bar, which a browser without a window does not draw.
VIEW = FloatRect(x=0, y=0, width=1280, height=800)
SCROLL_BAR = 15
#: Pictures of tasks that run: not of tasks that are about to.
MOVING = ("task-bar", "publishing")
USERS = (("sato", "layer-manager"), ("suzuki", "publisher"), ("tanaka", "read-only"))


class Stage(Estate):
    """The appliance and the agent, at the address that the pictures show."""

    @property
    def url(self) -> str:
        return f"https://{APPLIANCE}:{self.ports['api']}"


@dataclass(frozen=True)
class Places:
    """Where things are: in the work folder, which the pictures see as /srv."""

    work: Path

    @property
    def disk(self) -> Path:
        return self.work / "disks" / "debian-12.vhd"

    def archive(self, app: demo_apps.App) -> Path:
        return self.work / "disks" / f"{app.name}.tar"


def cache() -> Path:
    folder = Path(os.environ.get("SEKISO_CACHE", Path.home() / ".cache" / "sekiso")) / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# --- what has to be there before --------------------------------------------------------------------------


def prepare(places: Places) -> None:
    """Build the guest's disk and the run-once archives."""
    shutil.rmtree(places.work, ignore_errors=True)
    places.disk.parent.mkdir(parents=True)
    guest = [str(ROOT / "script/make-debian-guest"), "--release", RELEASE, "--cache", str(cache())]
    subprocess.run([*guest, "--generation", "1", "--quiet", "--out", str(places.disk)], check=True)
    shown = subprocess.run([*guest, "--tree-only"], check=True, stdout=subprocess.PIPE, text=True).stdout
    with tarfile.open(shown.split()[-1]) as tree:
        status = tree.extractfile("./var/lib/dpkg/status")
        assert status is not None
        known = status.read()
    for app in (NGINX, REDIS):
        pack(app, fetch(RELEASE, known, app.packages, cache()), places.archive(app))


def pack(app: demo_apps.App, debs: Sequence[Path], archive: Path) -> None:
    """Pack what a packaging machine runs once; that of redis leaves the machine on, for its picture."""
    folder = archive.with_suffix("")
    app.write(folder, debs)
    if app is REDIS:
        (folder / "finalize").unlink()
    with tarfile.open(archive, "w") as out:
        for path in sorted(folder.iterdir()):
            out.add(path, path.name)
    shutil.rmtree(folder)


def set_stage(places: Places) -> None:
    """Make this process's namespaces what the pictures show."""
    hosts = places.work / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {APPLIANCE} {HOST}\n")
    for command in (
        ("mount", "--bind", hosts, "/etc/hosts"),
        ("mount", "--bind", places.work, "/srv"),
        ("mount", "-t", "sysfs", "sysfs", "/sys"),
        ("hostname", HOST),
        ("ip", "link", "set", "lo", "up"),
    ):
        subprocess.run([str(word) for word in command], check=True)


# --- the pictures -----------------------------------------------------------------------------------------


@dataclass
class Album:
    """The pictures of one language.

    Attributes:
        page: the browser's page.
        folder: where they go.
        taken: names so far.
    """

    page: Page
    folder: Path
    taken: list[str] = field(default_factory=list[str])

    def take(self, name: str) -> None:
        """Take a picture of what the window shows; of each name only the first."""
        if name in self.taken:
            return
        self.taken.append(name)
        if name in MOVING:
            expect(self.page.locator("#task-bar")).to_contain_text("%", timeout=30_000)
        # What follows upon the last click.
        self.page.wait_for_timeout(500)
        for close in self.page.locator("#notices .btn-close").all():
            close.click(timeout=2_000)
        target = self.folder / f"{name}.png"
        self.page.screenshot(path=target, caret="initial", animations="disabled", clip=VIEW)
        subprocess.run(
            ["pngquant", "--force", "--skip-if-larger", "--speed", "1", "--strip", "--ext", ".png", target],
            check=False,
        )
        print(f"{time.strftime('%X')} {target.relative_to(ROOT)} {target.stat().st_size}", flush=True)

    def scroll_to(self, selector: str, *, above: int = 110) -> None:
        """Bring something to the upper end of the window, below the menu."""
        place = "(e, above) => window.scrollTo(0, e.getBoundingClientRect().top + window.scrollY - above)"
        self.page.locator(selector).first.evaluate(place, above)
        self.page.wait_for_timeout(300)


@dataclass
class Session:
    """One language: the appliance, the person, and the pictures."""

    estate: Stage
    console: Console
    album: Album
    places: Places

    def do(self) -> None:
        console = self.console
        console.log_in("admin", self.estate.password())
        console.register_agent(HOST, self.run_agent)
        self.configure()
        console.import_os(OS_LAYER, OS_VERSION, CONFIGURATION, Path("/srv/disks") / self.places.disk.name)
        self.make_layers()
        self.show_layers()
        apps = [f"{app.name} {app.version}" for app in (NGINX, REDIS)]
        console.create_template("web", f"{OS_LAYER} {OS_VERSION}", apps, CONFIGURATION)
        console.publish()
        console.wait_for_image("web")
        self.show_the_rest()

    def run_agent(self, command: str) -> None:
        """Do what the console says on the agent's host; there is a template VM on it."""
        sekiso = f"{sys.executable} -c 'from sekiso.cli.main import main; main()'"
        command = command.replace("sudo sekiso", sekiso)
        command += f" --state {self.estate.folder / 'agent'} --storage {self.estate.machines}"
        subprocess.run(["sh", "-c", command], check=True, env=self.estate.variables(), capture_output=True)
        self.estate.run(
            *("host", "add-template", "Gen2-Template", "--storage", self.estate.machines),
            *("--generation", 2, "--secure-boot", "--cpus", 2, "--memory", "2G"),
        )
        self.estate.spawn_agent()

    def configure(self) -> None:
        console, album = self.console, self.album
        storage = self.estate.storage
        console.begin_configuration()
        console.enter("name", CONFIGURATION)
        console.choose_containing("agent", HOST)
        console.enter("storage_path", str(storage))
        console.enter("cpus", "0")
        console.press("Save")
        album.scroll_to(".card:has(> * #cpus), .card:has(#cpus)")
        album.take("connector-refused")
        console.begin_configuration()
        console.fill_configuration(CONFIGURATION, HOST, storage, memory_mb=2048, cpus=2)
        album.scroll_to(".card:has(#cpus)")
        album.take("connector-form")
        console.test_configuration()
        console.save_configuration(CONFIGURATION)
        self.show("/connectors/settings", "connector-settings")
        console.open("/")

    def make_layers(self) -> None:
        """Make one layer by a script alone, and another whose machine a person shuts down."""
        console = self.console
        for app in (NGINX, REDIS):
            base = f"{OS_LAYER} {OS_VERSION}"
            console.create_layer(app.name, app.version, base, CONFIGURATION, self.places.archive(app))
        console.open_machine(REDIS.name)
        self.wait_for_script(REDIS.name)
        # The prompt is drawn after the console has been quiet for a moment.
        console.page.wait_for_timeout(8_000)
        self.album.scroll_to(".page-title", above=140)
        self.album.take("machine")
        console.press("Shut down")
        for app in (NGINX, REDIS):
            console.wait_for_layer(app.name, "app")

    def wait_for_script(self, layer: str) -> None:
        """Wait until a packaging machine has begun its script and ended it."""
        begun = False
        for _ in range(MACHINE_MS // 1000):
            state = self.estate.json("layer", "machine", layer)
            if begun and not state["run_once_running"]:
                return
            begun = begun or bool(state["run_once_running"])
            self.console.page.wait_for_timeout(1_000)
        raise AssertionError(f"the script of {layer} did not end")

    def show_layers(self) -> None:
        nginx, redis = self.version("nginx"), self.version("redis")
        self.show("/layers?kind=app", "layers")
        self.show(f"/layers/{nginx['layer_id']}", "layer")
        self.show(f"/layers/versions/{nginx['id']}/contents?path=/etc/nginx", "version-contents")
        self.console.open(f"/layers/versions/{nginx['id']}/conflicts?with={redis['id']}")
        self.console.page.locator("#clashes table").wait_for(timeout=120_000)
        self.album.take("conflicts")

    def version(self, layer: str) -> dict[str, Any]:
        return self.estate.json("layer", "show", layer)["versions"][-1]["version"]

    def show_the_rest(self) -> None:
        password = ("--password-file", self.estate.folder / "password")
        for name, role in USERS:
            self.estate.run("user", "add", name, "--role", role, *password)
        published = next(t for t in self.estate.json("task", "list")["tasks"] if t["kind"] == "publish-image")
        for path, name in (
            ("/", "overview"),
            ("/tasks", "tasks"),
            (f"/tasks/{published['id']}", "task"),
            ("/system/users", "users"),
            ("/system/audit", "audit"),
            ("/system/certificate", "certificate"),
            ("/system/health", "health"),
            ("/system/settings", "settings"),
        ):
            self.show(path, name)

    def show(self, path: str, name: str) -> None:
        """Open a page and take its picture."""
        self.console.open(path)
        self.console.page.wait_for_timeout(1_000)
        self.console.settle()
        self.album.take(name)


def take(places: Places, language: str) -> None:
    """Do the job in one language."""
    folder = Path("/srv/sekiso")
    shutil.rmtree(folder, ignore_errors=True)
    target = ROOT / "docs" / "images" / "console" / language
    target.mkdir(parents=True, exist_ok=True)
    stage = Stage(folder, say=print, ports=dict(PORTS), appliance_options=("--name", APPLIANCE))
    stage.write_password()
    try:
        stage.start_appliance()
        stage.log_in()
        # The language of the browser's own controls.
        os.environ["LANGUAGE"] = language
        with (
            open_chromium() as browser,
            reading(browser, stage.url, language, width=1280 + SCROLL_BAR) as reader,
        ):
            album = Album(reader.page, target)
            console = Console(reader.page, stage.url, language, album.take)
            try:
                Session(stage, console, album, places).do()
            except Exception:
                reader.page.screenshot(path=places.work / f"broken-{language}.png", full_page=True)
                print(reader.take(), stage.log("appliance"), stage.log("agent"), sep="\n", file=sys.stderr)
                raise
        for path in target.glob("*.png"):
            if path.stem not in album.taken:
                path.unlink()
    finally:
        stage.close()
        turn_all_off(stage)


def turn_all_off(stage: Stage) -> None:
    """Turn off what something that went wrong has left running."""
    driver = QemuDriver(stage.machines)
    for machine in driver.list_machines():
        driver.turn_off(machine.id)


def weigh() -> None:
    pictures = list((ROOT / "docs" / "images" / "console").rglob("*.png"))
    total = sum(path.stat().st_size for path in pictures)
    print(f"{len(pictures)} pictures, {total / 1e6:.2f} MB")
    if total > MOST_BYTES:
        raise SystemExit("They are too large for the package.")


def main() -> int:
    parser = argparse.ArgumentParser(description="Take the pictures of the administrator's guide.")
    parser.add_argument("step", choices=["prepare", "take"])
    parser.add_argument("--language", choices=LANGUAGES, action="append")
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "screenshots")
    arguments = parser.parse_args()
    places = Places(arguments.work.resolve())
    if arguments.step == "prepare":
        prepare(places)
        return 0
    set_stage(places)
    for language in arguments.language or LANGUAGES:
        take(places, language)
    shutil.rmtree(places.work, ignore_errors=True)
    weigh()
    return 0


if __name__ == "__main__":
    sys.exit(main())
