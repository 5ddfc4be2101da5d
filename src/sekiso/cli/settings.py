"""`sekiso settings`: settings of the appliance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import click

from sekiso.cli.errors import WrongUsageError
from sekiso.cli.help import SekisoGroup
from sekiso.cli.language import say
from sekiso.cli.options import json_option
from sekiso.cli.output import print_json, print_pairs, print_table
from sekiso.cli.remote import connect
from sekiso.cli.words import remark


@click.group(cls=SekisoGroup)
def settings() -> None:
    """Settings of the appliance."""


@settings.command("show")
@json_option
def show(as_json: bool) -> None:
    """Show the settings of the appliance, and what is decided where it is started."""
    with connect() as appliance:
        view = appliance.get("/settings")
    print_json(view) if as_json else _show(view)


@settings.command("set")
@click.argument("pairs", nargs=-1, required=True, metavar="NAME=VALUE...")
@json_option
def set_(pairs: tuple[str, ...], as_json: bool) -> None:
    """Change settings of the appliance, at once.

    Several host names are separated by commas; an empty value takes all of them away.
    """
    with connect() as appliance:
        kinds = {item["name"]: item["kind"] for item in appliance.get("/settings")["fields"]}
        view = appliance.patch("/settings", {"values": _values(pairs, kinds)})
    print_json(view) if as_json else _show(view)


def _values(pairs: Sequence[str], kinds: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise WrongUsageError(reason="A setting is given as NAME=VALUE.", command="sekiso settings set")
        found[name] = _value(text, kinds.get(name, ""))
    return found


def _value(text: str, kind: str) -> Any:
    match kind:
        case "number" if text.strip().removeprefix("-").isdecimal():
            return int(text)
        case "names":
            return [name.strip() for name in text.split(",") if name.strip()]
        case _:
            return text


def _show(view: dict[str, Any]) -> None:
    values = view["values"]
    rows = [
        (item["name"], _shown(values[item["name"]]), _range(item), remark(item["label"]))
        for item in view["fields"]
    ]
    print_table(["Setting", "Value", "Allowed", "Meaning"], rows)
    facts = view["facts"]
    click.echo()
    print_pairs(
        [
            ("Version", facts["version"]),
            ("Listens at", facts["listens_at"]),
            ("Ports", _ports(facts)),
            ("State folder", facts["state_folder"]),
            ("Layer store", facts["layer_folder"]),
            ("Log", facts["log_file"]),
            ("Database", facts["database"]),
            ("Host names", ", ".join(view["hosts"])),
        ]
    )


def _ports(facts: dict[str, Any]) -> str:
    names = ("api_port", "link_port", "transfer_http_port", "transfer_https_port")
    return ", ".join(str(facts[name]) for name in names)


def _shown(value: Any) -> str:
    return ", ".join(cast("list[str]", value)) if isinstance(value, list) else str(value)


def _range(item: dict[str, Any]) -> str:
    match item["kind"]:
        case "number":
            return f"{item['least']}–{item['most']}"
        case "choice":
            return ", ".join(item["choices"])
        case _:
            return say("host names")
