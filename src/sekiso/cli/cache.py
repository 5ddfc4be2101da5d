"""`sekiso cache`: the layer disk cache at the storage path of a connector configuration."""

from __future__ import annotations

from typing import Any

import click

from sekiso.cli.help import SekisoGroup
from sekiso.cli.language import number, plural, say
from sekiso.cli.options import json_option
from sekiso.cli.output import human_bytes, print_json, print_pairs, print_table
from sekiso.cli.remote import confirm, connect, moment, names_of, part, yes_option

_COMPLETE = names_of("/connector-configurations")


@click.group(cls=SekisoGroup)
def cache() -> None:
    """Caches.

    Boot disks and packaging disks are kept at the storage path of a connector configuration, up to the size
    that it sets, and used again.
    """


@cache.command("show")
@click.argument("configuration", shell_complete=_COMPLETE)
@json_option
def show(configuration: str, as_json: bool) -> None:
    """Show what the cache of a connector configuration holds."""
    with connect() as appliance:
        facts = appliance.get(f"/connector-configurations/{part(configuration)}/cache")
    print_json(facts) if as_json else _show(facts)


@cache.command("clear")
@click.argument("configuration", shell_complete=_COMPLETE)
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@yes_option
@json_option
def clear(configuration: str, keys: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Remove disks from the cache of a connector configuration.

    Those with the KEYs are removed, or all that are not in use.
    """
    if not keys:
        confirm(say("Remove all disks from the cache of {name}?", name=configuration), yes=yes)
    with connect() as appliance:
        facts = appliance.post(
            f"/connector-configurations/{part(configuration)}/cache/clear", {"keys": list(keys) or None}
        )
    if as_json:
        print_json(facts)
        return
    click.echo(say("The cache was cleared."))
    _show(facts)


def _show(facts: dict[str, Any] | None) -> None:
    if not facts or "disks" not in facts:
        return
    disks: list[dict[str, Any]] = facts["disks"]
    print_pairs(
        [
            ("Disks", f"{plural(len(disks), '1 disk', '{count} disks')}, {human_bytes(facts['file_bytes'])}"),
            ("Hits", number(facts["hits"])),
            ("Misses", number(facts["misses"])),
            ("Evicted", number(facts["evictions"])),
            ("Rebuilt", number(facts["rebuilt"])),
        ]
    )
    rows = [
        (
            d["key"],
            d["disk_format"].upper(),
            d["generation"],
            human_bytes(d["file_bytes"]),
            len(d["identities"]),
            d["hits"],
            moment(d["used_s"]),
            len(d.get("in_use_by") or ()),
        )
        for d in disks
    ]
    if rows:
        print_table(
            ["Key", "Format", "Generation", "Size", "Layers", "Hits", "Last used", "Used by"],
            rows,
            right=[2, 3, 4, 5, 7],
        )
