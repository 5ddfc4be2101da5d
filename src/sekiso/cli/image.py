"""`sekiso image`: published images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sekiso.cli.following import finish
from sekiso.cli.help import SekisoGroup
from sekiso.cli.language import say
from sekiso.cli.layer.machine import save_picture
from sekiso.cli.options import OutputFile, json_option, page_options, quiet_option
from sekiso.cli.output import human_bytes, print_json, print_pairs, print_table, printable
from sekiso.cli.remote import (
    View,
    confirm,
    connect,
    flat,
    listed,
    moment,
    names_of,
    no_wait_option,
    part,
    views,
    yes_option,
)
from sekiso.cli.words import word

_image_argument = click.argument("reference", metavar="IMAGE", shell_complete=names_of("/images"))


@click.group(cls=SekisoGroup)
def image() -> None:
    """Published images."""


@image.command("list")
@page_options
@json_option
def list_(text: str | None, offset: int | None, limit: int | None, as_json: bool) -> None:
    """List the published images."""
    with connect() as appliance:
        answer = appliance.get("/images", {"text": text, "offset": offset, "limit": limit})
    if as_json:
        print_json(listed("images", answer))
        return
    rows = [
        (
            i["name"],
            word(i["state"]),
            ", ".join(i.get("layers") or ()),
            i["generation"],
            i["disk_format"].upper(),
            human_bytes(i["file_bytes"]) if i.get("file_bytes") else "",
            i.get("agent_name"),
            i.get("disk_path"),
        )
        for i in views(answer)
    ]
    print_table(
        ["Name", "State", "Layers", "Generation", "Format", "Size", "Agent", "Disk"], rows, right=[3, 5]
    )


@image.command("show")
@_image_argument
@json_option
def show(reference: str, as_json: bool) -> None:
    """Show a published image."""
    with connect() as appliance:
        answer = appliance.get(f"/images/{part(reference)}")
    print_json(answer) if as_json else _show(flat(answer))


def _show(found: View) -> None:
    print_pairs(
        [
            ("Image", found["name"]),
            ("Identifier", found["id"]),
            ("State", word(found["state"])),
            ("Template", f"{found.get('template_name')}, {say('revision')} {found.get('template_revision')}"),
            ("Layers", ", ".join(found.get("layers") or ())),
            ("Connector configuration", found.get("configuration_name")),
            ("Agent", found.get("agent_name")),
            ("Disk", found.get("disk_path")),
            ("Machine", found.get("machine_id")),
            ("Generation", found["generation"]),
            ("Disk format", found["disk_format"].upper()),
            ("Size", human_bytes(found["file_bytes"]) if found.get("file_bytes") else ""),
            ("Plan", found.get("plan_id")),
            ("Task", found.get("holder_task_id")),
            ("Published", moment(found.get("created_s"))),
            ("Boot test", _facts(found.get("boot_test")) or say("not made")),
            ("Figures", _facts(found.get("facts"))),
        ]
    )


def _facts(facts: dict[str, Any] | None) -> str:
    plain = {k: v for k, v in (facts or {}).items() if isinstance(v, str | int | float | bool)}
    return ", ".join(f"{key}={printable(str(value))}" for key, value in plain.items())


@image.command("publish")
@click.argument(
    "templates", nargs=-1, required=True, metavar="TEMPLATE...", shell_complete=names_of("/image-templates")
)
@click.option(
    "--count", type=click.IntRange(1, 50), default=1, show_default=True, help="How many images of each."
)
@no_wait_option
@quiet_option
@json_option
def publish(templates: tuple[str, ...], count: int, no_wait: bool, quiet: bool, as_json: bool) -> None:
    """Publish images from templates.

    Each image is a disk at the storage path and a machine that is off, named after its template with date and
    time.
    """
    with connect() as appliance:
        answer = appliance.post("/image-templates/publish", {"templates": list(templates), "count": count})
        finish(appliance, answer, no_wait=no_wait, as_json=as_json, quiet=quiet, always_list=True)


@image.command("delete")
@_image_argument
@yes_option
@no_wait_option
@quiet_option
@json_option
def delete(reference: str, yes: bool, no_wait: bool, quiet: bool, as_json: bool) -> None:
    """Delete a published image, with its machine and its disk."""
    confirm(say("Delete the image {name} with its machine and disk?", name=reference), yes=yes)
    with connect() as appliance:
        answer = appliance.delete(f"/images/{part(reference)}")
        finish(appliance, answer, no_wait=no_wait, as_json=as_json, quiet=quiet)


@image.command("boot-test")
@_image_argument
@no_wait_option
@quiet_option
@json_option
def boot_test(reference: str, no_wait: bool, quiet: bool, as_json: bool) -> None:
    """Start an image once, without writing to it, and wait for its guest's report."""
    with connect() as appliance:
        answer = appliance.post(f"/images/{part(reference)}/boot-test")
        finish(appliance, answer, no_wait=no_wait, as_json=as_json, quiet=quiet)


@image.command("screenshot")
@_image_argument
@click.option("--out", type=OutputFile(".png"), required=True, help="File for the picture.")
@json_option
def screenshot(reference: str, out: Path, as_json: bool) -> None:
    """Save the picture of the last boot test of an image."""
    with connect() as appliance:
        save_picture(out, appliance.get_bytes(f"/images/{part(reference)}/screenshot"), as_json=as_json)
