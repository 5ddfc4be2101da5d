"""`sekiso layer list` and `show`."""

from __future__ import annotations

import click

from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import say
from sekiso.cli.options import json_option, page_options
from sekiso.cli.output import human_bytes, print_json, print_pairs, print_table
from sekiso.cli.remote import View, connect, flat, listed, moment, names_of, part, subjects_text, views
from sekiso.cli.version_refs import versions_of
from sekiso.cli.words import word
from sekiso.model.layer import LayerKind

KINDS = click.Choice([kind.value for kind in LayerKind])
complete_layers = names_of("/layers")


@click.command("list", cls=SekisoCommand)
@click.option("--kind", type=KINDS, help="Only layers of this kind.")
@click.option("--versions", "with_versions", is_flag=True, help="Show each version on a line of its own.")
@page_options
@json_option
def list_(
    kind: str | None,
    with_versions: bool,
    text: str | None,
    offset: int | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """List the layers."""
    with connect() as appliance:
        answer = appliance.get("/layers", {"kind": kind, "text": text, "offset": offset, "limit": limit})
    if as_json:
        print_json(listed("layers", answer))
        return
    layers = views(answer)
    _print_versions(layers) if with_versions else _print_layers(layers)


def _print_layers(layers: list[View]) -> None:
    rows = [
        (
            found["name"],
            word(found["kind"]),
            str(found.get("family") or "").capitalize(),
            found.get("os_layer_name") or "",
            found["priority"] if found["kind"] == LayerKind.APP.value else "",
            ", ".join(str(v["name"]) for v in versions_of(found)),
            human_bytes(found.get("file_bytes") or 0),
        )
        for found in layers
    ]
    print_table(["Name", "Kind", "System", "Made on", "Priority", "Versions", "Size"], rows, right=[4, 6])


def _print_versions(layers: list[View]) -> None:
    rows = [
        (
            found["name"],
            v["name"],
            word(found["kind"]),
            word(v["state"]),
            v["generation"],
            human_bytes(v["file_bytes"]),
            ", ".join(v.get("made_on") or ()),
            v["id"],
        )
        for found in layers
        for v in versions_of(found)
    ]
    print_table(
        ["Layer", "Version", "Kind", "State", "Generation", "Size", "Made on", "Identifier"],
        rows,
        right=[4, 5],
    )


@click.command(cls=SekisoCommand)
@click.argument("reference", metavar="LAYER", shell_complete=complete_layers)
@click.option("--kind", type=KINDS, help="Kind of the layer, where several have the name.")
@json_option
def show(reference: str, kind: str | None, as_json: bool) -> None:
    """Show a layer, its versions, and what uses them."""
    with connect() as appliance:
        answer = appliance.get(f"/layers/{part(reference)}", {"kind": kind})
    if as_json:
        print_json(answer)
        return
    found = flat(answer)
    print_pairs(
        [
            ("Layer", found["name"]),
            ("Identifier", found["id"]),
            ("Kind", word(found["kind"])),
            ("System", str(found.get("family") or "").capitalize()),
            ("Made on", found.get("os_layer_name")),
            ("Priority", found["priority"] if found["kind"] == LayerKind.APP.value else ""),
            ("Icon", found.get("icon")),
            ("Notes", found.get("notes")),
            ("Made", moment(found.get("created_s"))),
            ("Size", human_bytes(found.get("file_bytes") or 0)),
        ]
    )
    for version in versions_of(found):
        click.echo()
        _show_version(version)


def _show_version(version: View) -> None:
    packaging: View = version.get("packaging") or {}
    print_pairs(
        [
            ("Version", version["name"]),
            ("Identifier", version["id"]),
            ("State", word(version["state"])),
            ("Generation", version["generation"]),
            ("Content", human_bytes(version["content_bytes"]) if version["content_bytes"] else ""),
            ("File", human_bytes(version["file_bytes"]) if version["file_bytes"] else ""),
            ("Identity", version.get("identity")),
            ("Made on", ", ".join(version.get("made_on") or ())),
            ("Notes", version.get("notes")),
            ("Packaging machine", packaging.get("machine_name")),
            ("Unfinished", ", ".join(packaging.get("gate") or ())),
            ("Task", version.get("holder_task_id")),
            ("Used by", subjects_text(version.get("used_by")) or say("nothing")),
        ]
    )
