"""What an image template is to be, as options of the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from sekiso.cli.options import Name, Size
from sekiso.cli.remote import names_of
from sekiso.cli.version_refs import Library, complete_versions
from sekiso.model.library import GeneralizationChoice
from sekiso.model.machine import DiskAllocation

_F = TypeVar("_F", bound=Callable[..., Any])
_FORMATS = ("vhd", "vhdx")
NO_PLATFORM: dict[str, Any] = {"platform_version_id": None}
#: What the appliance is told of a template; the configuration by identifier or name.
_FIELDS = (
    *("name", "notes", "configuration", "os_version_id", "app_version_ids", "platform_version_id"),
    *("disk_name", "disk_format", "allocation", "size_bytes", "generalization", "boot_test", "keep_last"),
)

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--connector",
        "configuration",
        metavar="CONFIGURATION",
        shell_complete=names_of("/connector-configurations"),
        help="Connector configuration to publish through.",
    ),
    click.option(
        "--os",
        "os_version",
        metavar="LAYER[:VERSION]",
        shell_complete=complete_versions,
        help="Version of the OS layer.",
    ),
    click.option(
        "--app",
        "apps",
        multiple=True,
        metavar="LAYER[:VERSION]",
        shell_complete=complete_versions,
        help="Version of an app layer.",
    ),
    click.option(
        "--platform",
        metavar="LAYER[:VERSION]",
        shell_complete=complete_versions,
        help="Version of the platform layer.",
    ),
    click.option("--disk-name", type=Name(), help="Name of the disk file without suffix."),
    click.option(
        "--disk-format", type=click.Choice(_FORMATS), help="Disk format (default: the configuration's)."
    ),
    click.option(
        "--allocation",
        type=click.Choice([a.value for a in DiskAllocation]),
        help="Whether the disk holds every block or grows.",
    ),
    click.option("--size", "size_bytes", type=Size("64M"), help="Disk size (default: as the layers need)."),
    click.option(
        "--generalize",
        "generalization",
        type=click.Choice([g.value for g in GeneralizationChoice]),
        help="What happens to the machine's identity.",
    ),
    click.option(
        "--boot-test/--no-boot-test",
        default=None,
        help="Start each image once before it counts as published.",
    ),
    click.option("--keep-last", type=int, help="How many images are kept; 0 keeps all."),
    click.option("--notes", help="Notes."),
)


def template_options(command: _F) -> _F:
    """Add all options of a template."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def given_wish(options: Mapping[str, Any], library: Library) -> dict[str, Any]:
    """Return what was given, versions by identifier.

    Raises:
        NotFoundError, AmbiguousNameError: as for `Library.version`.
    """
    plain = (
        *("configuration", "disk_name", "disk_format", "allocation", "size_bytes"),
        *("generalization", "boot_test", "notes"),
    )
    found = {name: options[name] for name in plain if options.get(name) is not None}
    if options.get("keep_last") is not None:
        found["keep_last"] = options["keep_last"] or None
    if options.get("os_version"):
        found["os_version_id"] = library.ids([options["os_version"]], kinds=["os"])[0]
    if options.get("apps"):
        found["app_version_ids"] = library.ids(options["apps"], kinds=["app"])
    if options.get("platform"):
        found["platform_version_id"] = library.ids([options["platform"]], kinds=["platform"])[0]
    return found


def wish_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body that makes or changes a template, from what is given or from its view."""
    named = {"configuration": values.get("configuration_id"), **values}
    return {name: named[name] for name in _FIELDS if name in named}
