"""The settings of a connector configuration as options of the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from sekiso.cli.errors import BadValueError
from sekiso.cli.options import Name
from sekiso.cli.remote import names_of

_F = TypeVar("_F", bound=Callable[..., Any])
_INTEGER = re.compile(r"-?[0-9]{1,18}")

#: Options by the setting that each gives; an empty value takes an optional setting away.
SETTING_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "agent": click.option(
        "--agent", shell_complete=names_of("/agents"), help="Agent on the server where machines are made."
    ),
    "storage_path": click.option(
        "--storage-path", help="Folder for layer disks, machines and image disks; a local or UNC path."
    ),
    "storage_unc_path": click.option("--unc-path", "storage_unc_path", help="The same folder as a UNC path."),
    "template_vm": click.option(
        "--template-vm", help="Machine whose hardware settings new machines take over."
    ),
    "cpus": click.option("--cpus", type=int, help="Virtual processors of machines."),
    "memory_mb": click.option("--memory-mb", type=int, help="Memory of machines in MB."),
    "network": click.option("--network", help="Network switch that machines are connected to."),
    "generation": click.option("--generation", type=int, help="Generation of machines: 1 or 2."),
    "disk_format": click.option("--disk-format", help="Format of disks: vhd or vhdx."),
    "offload": click.option(
        "--offload/--no-offload", default=None, help="Whether compositing runs on the agent's host."
    ),
    "cache_gb": click.option(
        "--cache-gb", type=int, help="Size limit of the layer disk cache in GB; 0 switches it off."
    ),
}


def setting_options(command: _F) -> _F:
    """Add an option for each setting, and `--set` for those of other connectors."""
    command = click.option(
        "--set", "others", multiple=True, metavar="NAME=VALUE", help="Give a setting by its name."
    )(command)
    for option in reversed(SETTING_OPTIONS.values()):
        command = option(command)
    return command


def given_settings(options: Mapping[str, Any], others: tuple[str, ...], command: str) -> dict[str, Any]:
    """Return the settings that were given, as plain values; an empty text is no value.

    Raises:
        BadValueError: `--set` has no name or no value.
    """
    given = {name: options.get(name) for name in SETTING_OPTIONS if options.get(name) is not None}
    return {name: None if value == "" else value for name, value in (given | pairs(others, command)).items()}


def pairs(texts: tuple[str, ...], command: str) -> dict[str, Any]:
    """Return `NAME=VALUE` texts as plain values: numbers, true, false, null, else text.

    Raises:
        BadValueError: one is not of that form.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise BadValueError(name=text, reason="It is not of the form NAME=VALUE.", command=command)
        found[name.strip()] = _value(value.strip())
    return found


def _value(text: str) -> Any:
    plain = text in ("true", "false", "null") or _INTEGER.fullmatch(text)
    return json.loads(str(int(text)) if _INTEGER.fullmatch(text) else text) if plain else text


name_argument = click.argument("name", type=Name())
reference_argument = click.argument(
    "reference", metavar="CONFIGURATION", shell_complete=names_of("/connector-configurations")
)
