"""The main job through an appliance and an agent as processes of their own, by the command line alone."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from script.lib.estate import Estate

from sekiso.agent import pki
from sekiso.agent.settings import load_settings

from .conftest import HOOK, ROOT, build_deb, turn_all_off

pytestmark = [pytest.mark.boot, pytest.mark.root]

PLAIN, OFFLOAD1, OFFLOAD2 = "plain", "offload one", "offload two"
MEMORY_MB = 512


@dataclass
class World:
    estate: Estate
    images: dict[str, dict[str, Any]]

    def images_of(self, template: str) -> list[dict[str, Any]]:
        every = [i["image"] for i in self.estate.json("image", "list")["images"]]
        found = [i for i in every if i["template_name"] == template]
        return sorted(found, key=lambda i: i["created_s"])

    def publish(self, template: str) -> dict[str, Any]:
        before = {i["id"] for i in self.images_of(template)}
        self.estate.run("image", "publish", template, "--quiet")
        return next(i for i in self.images_of(template) if i["id"] not in before)


def once(folder: Path, script: str, deb: Path | None = None) -> Path:
    folder.mkdir()
    if deb is not None:
        shutil.copyfile(deb, folder / deb.name)
    install = 'dpkg --install "$SEKISO_RUN_DIR"/*.deb\n' if deb is not None else ""
    (folder / "run.sh").write_text(f"set -eux\n{install}{script}")
    (folder / "finalize").touch()
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, guest_cache: Path) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("appliance")
    source = folder / "source.vhd"
    words = ["--tiny", "--generation", "1", "--quiet", "--out", str(source), "--cache", str(guest_cache)]
    subprocess.run([ROOT / "script/make-debian-guest", *words], check=True)
    estate = Estate(folder / "estate")
    try:
        estate.start()
        yield World(estate, _main_job(estate, folder, source))
    finally:
        estate.close()
        turn_all_off(estate)


def _main_job(estate: Estate, folder: Path, source: Path) -> dict[str, dict[str, Any]]:
    words = ("--storage", estate.machines, "--generation", 2, "--secure-boot")
    estate.run("host", "add-template", "secure", *words, "--cpus", 1, "--memory", f"{MEMORY_MB}M")
    common = ("--agent", "host1", "--storage-path", estate.storage, "--network", "Isolated", "--cache-gb", 10)
    hardware = ("--cpus", 1, "--memory-mb", MEMORY_MB)
    estate.run("connector", "create", PLAIN, *common, *hardware, "--no-offload", "--disk-format", "vhd")
    estate.run("connector", "create", OFFLOAD1, *common, *hardware, "--offload", "--disk-format", "vhd")
    words = ("--template-vm", "secure", "--offload", "--generation", 2, "--disk-format", "vhdx")
    estate.run("connector", "create", OFFLOAD2, *common, *words)
    estate.run(
        "layer", "import-os", "Debian", "--version", "12", "--connector", PLAIN, "--disk", source, "-q"
    )

    alpha = once(
        folder / "alpha",
        "echo from alpha > /etc/motd\nmkdir -p /opt/alpha\necho x > /opt/alpha/obsolete\n"
        + HOOK.format(name="10-alpha", body="alpha; ls /opt/alpha"),
        build_deb(folder, "alpha"),
    )
    beta = once(
        folder / "beta", HOOK.format(name="20-beta", body="beta; cat /etc/motd"), build_deb(folder, "beta")
    )
    with ThreadPoolExecutor(2) as pool:
        for job in (
            pool.submit(_layer, estate, "alpha", alpha, OFFLOAD2),
            pool.submit(_layer, estate, "beta", beta, PLAIN),
        ):
            job.result()
    second = once(folder / "alpha2", "rm /opt/alpha/obsolete\necho second > /opt/alpha/second\n")
    marked = once(
        folder / "gen2", HOOK.format(name="05-os", body="echo patched") + "echo patched > /etc/patched\n"
    )
    platform = once(folder / "platform", HOOK.format(name="90-platform", body="echo on top"))
    with ThreadPoolExecutor(2) as pool:
        for job in (
            pool.submit(_layer, estate, "tools", platform, OFFLOAD2, kind="platform"),
            pool.submit(_version, estate, "alpha", "2", second, PLAIN),
            # The user's document: a generation 1 OS layer gets a generation 2 version.
            pool.submit(_version, estate, "Debian", "12 gen2", marked, OFFLOAD2),
        ):
            job.result()
    apps = ("--app", "alpha:2", "--app", "beta:1", "--boot-test")
    estate.run("template", "create", "one", "--connector", PLAIN, "--os", "Debian:12", *apps)
    words = ("--connector", OFFLOAD2, "--os", "Debian:12 gen2", "--platform", "tools")
    estate.run("template", "create", "two", *words, *apps)
    estate.run("image", "publish", "one", "two", "--quiet")
    every = [i["image"] for i in estate.json("image", "list")["images"]]
    return {image["template_name"]: image for image in every}


def _layer(estate: Estate, name: str, script: Path, connector: str, *, kind: str = "app") -> None:
    words = ("layer", "create", name, "--kind", kind, "--version", "1", "--os", "Debian:12")
    estate.run(*words, "--connector", connector, "--run-once", script, "--auto-finalize", "--quiet")


def _version(estate: Estate, layer: str, name: str, script: Path, connector: str) -> None:
    words = ("layer", "add-version", layer, "--version", name, "--connector", connector)
    estate.run(*words, "--run-once", script, "--auto-finalize", "--quiet")


def said(image: dict[str, Any]) -> dict[str, str]:
    return {hook["name"]: hook["output"] for hook in image["boot_test"]["report"]["hooks"]}


def test_both_images_started_and_their_guests_report_the_applications(world: World) -> None:
    one, two = world.images["one"], world.images["two"]
    for image in (one, two):
        assert image["state"] == "published"
        assert "alpha works" in said(image)["10-alpha"] and "beta works" in said(image)["20-beta"]
        assert image["boot_test"]["report"]["gate"]["ok"]
    report = one["boot_test"]["report"]
    assert (report["firmware"], report["secure_boot"]) == ("bios", False)
    report = two["boot_test"]["report"]
    assert (report["firmware"], report["secure_boot"]) == ("uefi", True)


def test_a_version_continues_the_one_before(world: World) -> None:
    for image in world.images.values():
        assert "second" in said(image)["10-alpha"] and "obsolete" not in said(image)["10-alpha"]
        assert "from alpha" in said(image)["20-beta"]


def test_an_os_layer_of_generation_1_got_a_generation_2_version(world: World) -> None:
    versions = world.estate.json("layer", "show", "Debian")["versions"]
    assert [v["version"]["generation"] for v in versions] == [1, 2]
    assert "patched" in said(world.images["two"])["05-os"]
    # A generation 2 platform layer goes with app layers that were made on generation 1 machines.
    assert "on top" in said(world.images["two"])["90-platform"]
    assert "05-os" not in said(world.images["one"])


def test_machines_are_off_and_nothing_is_left(world: World) -> None:
    estate = world.estate
    found = json.loads(estate.run("host", "machines", "--storage", estate.machines, "--json").stdout)
    states = {m["spec"]["name"]: m["state"] for m in found["machines"]}
    assert states == {"secure": "off", **{i["name"]: "off" for i in world.images.values()}}
    for name in ("Packaging", "Tasks"):
        assert list((estate.storage / name).iterdir()) == []
    assert [p.name for p in (estate.appliance_state / "scratch").iterdir() if p.name != "probes"] == []


def test_again_nothing_travels_and_the_disk_comes_from_the_cache(world: World) -> None:
    for name in ("one", "two"):
        world.estate.run("template", "change", name, "--no-boot-test")
        facts = world.publish(name)["facts"]
        assert facts["cache_hit"]
        assert (facts["layer_wire_bytes"], facts["disk_wire_bytes"]) == (0, 0)


def digest(path: str) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def test_at_the_agent_or_at_the_appliance_byte_for_byte_the_same(world: World) -> None:
    estate = world.estate
    here = world.images_of("one")[-1]
    estate.run("cache", "clear", PLAIN, "--yes")
    estate.run("template", "change", "one", "--connector", OFFLOAD1)
    there = world.publish("one")
    assert not there["facts"]["cache_hit"] and there["facts"]["disk_wire_bytes"] == 0
    assert there["facts"]["layer_wire_bytes"] > 0 or here["facts"]["disk_wire_bytes"] >= 0
    assert digest(here["disk_path"]) == digest(there["disk_path"])


def test_a_damaged_disk_in_the_cache_is_made_again(world: World) -> None:
    estate = world.estate
    good = world.publish("one")
    cached = max((estate.storage / "Cache").glob("*.vhd"), key=lambda p: p.stat().st_mtime)
    with cached.open("r+b") as stream:
        stream.seek(cached.stat().st_size // 2)
        stream.write(b"damaged")
    again = world.publish("one")
    assert not again["facts"]["cache_hit"]
    assert digest(good["disk_path"]) == digest(again["disk_path"])
    assert estate.json("cache", "show", PLAIN)["rebuilt"] == 1


def test_a_canceled_publication_leaves_nothing(world: World) -> None:
    estate = world.estate
    estate.run("cache", "clear", PLAIN, "--yes")
    before = {i["id"] for i in world.images_of("one")}
    task = estate.json("image", "publish", "one", "--no-wait")["tasks"][0]
    deadline = time.monotonic() + 60.0
    while estate.json("task", "show", task["id"])["step"] != "Making the disk at the agent":
        assert time.monotonic() < deadline
    estate.run("task", "cancel", task["id"], check=False)
    while (shown := estate.json("task", "show", task["id"]))["state"] == "canceling":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert shown["state"] == "canceled", shown
    assert {i["id"] for i in world.images_of("one")} == before
    names = {p.name for p in (estate.storage / "Images").iterdir()}
    assert names == {i["image"]["name"] for i in estate.json("image", "list")["images"]}
    assert list((estate.storage / "Tasks").iterdir()) == []


def test_what_is_in_use_is_not_deleted(world: World) -> None:
    for words in (
        ("connector", "delete", OFFLOAD1, "--yes"),
        ("layer", "delete-version", "alpha:2", "--yes"),
        ("layer", "delete", "Debian", "--yes"),
        ("agent", "revoke", "host1", "--yes"),
    ):
        done = world.estate.run(*words, check=False)
        assert done.returncode == 5, (words, done.stdout, done.stderr)
        assert "in use" in done.stderr


def test_an_expired_certificate_fails_the_copy_and_says_so_in_both_languages(world: World) -> None:
    estate = world.estate
    values = ("useHttpsFileTransfer=true", "ignoreCertificateErrors=false")
    estate.run("connector", "set", "hyperv", *values)
    estate.run("connector", "restart", "hyperv")
    passed = estate.run("connector", "test", PLAIN)
    assert "HTTPS" in passed.stdout
    _give_expired_certificate(estate)
    failed = estate.run("connector", "test", PLAIN, check=False)
    assert failed.returncode == 3
    assert "The certificate authority is invalid or incorrect." in failed.stdout
    assert "expired" in failed.stdout
    failed = estate.run("--lang", "ja", "connector", "test", PLAIN, check=False)
    assert "証明機関が無効または不正確です" in failed.stdout


def _give_expired_certificate(estate: Estate) -> None:
    """Replace the appliance's certificate by one that has expired; the agent has pinned it."""
    estate.close()
    place = estate.appliance_state / "pki"
    key = pki.new_key()
    (place / "server.key").write_bytes(pki.key_pem(key))
    (place / "server.pem").write_bytes(pki.self_signed(key, ["127.0.0.1"], days=-0.01))
    pin = pki.ServerCertificate(place / "server.pem", place / "server.key").sha256
    state = estate.folder / "agent"
    settings = json.loads((state / "agent.json").read_text())
    settings["pins"] = [pin]
    (state / "agent.json").write_text(json.dumps(settings))
    assert load_settings(state).pins == (pin,)
    estate.start()
