"""`sekiso layer import-os`, `create`, `add-version`, `finalize`, `discard`: the commands that make layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sekiso.cli.errors import WrongUsageError
from sekiso.cli.following import exit_by, finish, has_ended, show_end, task_record
from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import say
from sekiso.cli.layer.look import complete_layers
from sekiso.cli.layer.run_once import packed
from sekiso.cli.layer.until_deployable import follow_until_deployable, works_by_itself
from sekiso.cli.options import Name, json_option, quiet_option
from sekiso.cli.output import print_json
from sekiso.cli.remote import confirm, connect, names_of, no_wait_option, part, yes_option
from sekiso.cli.version_refs import BEING_EDITED, Library, complete_versions
from sekiso.model.layer import LayerKind

if TYPE_CHECKING:
    from sekiso.cli.client import ApplianceClient

_TAR = "application/x-tar"
_connector_option = click.option(
    "--connector",
    "configuration",
    required=True,
    metavar="CONFIGURATION",
    shell_complete=names_of("/connector-configurations"),
    help="Connector configuration to work through.",
)
_version_option = click.option("--version", required=True, type=Name(), help="Name of the version.")
_notes_option = click.option("--notes", default="", help="Notes.")
_icon_option = click.option("--icon", default="", help="Name of an icon.")
_requires_option = click.option(
    "--requires",
    multiple=True,
    metavar="LAYER[:VERSION]",
    shell_complete=complete_versions,
    help="App layer that has to be there.",
)
_run_once_option = click.option(
    "--run-once",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="PATH",
    help="Folder with run.sh and what it needs; it installs by itself on the packaging machine.",
)
_finalize_option = click.option(
    "--auto-finalize/--no-auto-finalize",
    default=None,
    help="Whether it is finalized as soon as the machine has shut down (default: with offload).",
)
_wait_option = click.option(
    "--wait",
    "until_deployable",
    is_flag=True,
    help="Follow it until the version is deployable, as is done anyway when a script installs.",
)
version_argument = click.argument("reference", metavar="LAYER[:VERSION]", shell_complete=complete_versions)


@click.command("import-os", cls=SekisoCommand)
@click.argument("name", type=Name())
@_version_option
@_connector_option
@click.option("--disk", metavar="PATH", help="Disk file at the agent's host.")
@click.option("--machine", help="Machine at the agent's host that is off.")
@click.option("--guest-tools/--no-guest-tools", default=True, show_default=True, help="Add the guest tools.")
@_notes_option
@_icon_option
@click.option("--wait", is_flag=True, hidden=True, help="Follow the task, as it does anyway.")
@no_wait_option
@quiet_option
@json_option
def import_os(
    name: str,
    version: str,
    configuration: str,
    disk: str | None,
    machine: str | None,
    guest_tools: bool,
    notes: str,
    icon: str,
    wait: bool,
    no_wait: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Import an operating system as an OS layer.

    It comes from a disk file or from a machine at the agent's host. With the NAME of an OS layer that
    exists, a version is added to it.
    """
    del wait
    if (disk is None) == (machine is None):
        raise WrongUsageError(
            reason="Give either --disk or --machine.", command=click.get_current_context().command_path
        )
    body = {
        "configuration": configuration,
        "source": {"disk_path": disk, "machine": machine},
        "name": name,
        "version": version,
        "guest_tools": guest_tools,
        "notes": notes,
        "icon": icon,
    }
    with connect() as appliance:
        answer = appliance.post("/layers/import-os", body)
        finish(appliance, answer, no_wait=no_wait, as_json=as_json, quiet=quiet)


@click.command(cls=SekisoCommand)
@click.argument("name", type=Name())
@click.option(
    "--kind",
    required=True,
    type=click.Choice([LayerKind.APP.value, LayerKind.PLATFORM.value]),
    help="Kind of the layer.",
)
@_version_option
@click.option(
    "--os",
    "os_version",
    required=True,
    metavar="LAYER[:VERSION]",
    shell_complete=complete_versions,
    help="OS layer that it is made on.",
)
@_requires_option
@_connector_option
@_run_once_option
@_finalize_option
@click.option("--priority", type=int, help="Merge order among app layers (default: above all others).")
@_notes_option
@_icon_option
@_wait_option
@no_wait_option
@quiet_option
@json_option
def create(
    name: str,
    kind: str,
    version: str,
    os_version: str,
    requires: tuple[str, ...],
    configuration: str,
    run_once: Path | None,
    auto_finalize: bool | None,
    priority: int | None,
    notes: str,
    icon: str,
    until_deployable: bool,
    no_wait: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make a platform or app layer on a packaging machine.

    The machine starts from the OS layer and the layers it requires. Install there and shut it down, or let
    a run-once script do it.
    """
    with connect() as appliance:
        library = Library(appliance)
        body = {
            "kind": kind,
            "name": name,
            "version": version,
            "notes": notes,
            "icon": icon,
            "priority": priority,
            "os_version_id": library.ids([os_version], kinds=["os"])[0],
            "prerequisite_version_ids": library.ids(requires, kinds=["app"]),
            "configuration": configuration,
            "run_once_upload_id": _upload(appliance, run_once),
            "auto_finalize": auto_finalize,
        }
        answer = appliance.post("/layers", body)
        _finish(appliance, answer, until_deployable, no_wait=no_wait, quiet=quiet, as_json=as_json)


@click.command("add-version", cls=SekisoCommand)
@click.argument("reference", metavar="LAYER", shell_complete=complete_layers)
@_version_option
@click.option("--from", "from_version", metavar="VERSION", help="Version to continue (default: the newest).")
@click.option(
    "--os",
    "os_version",
    metavar="LAYER[:VERSION]",
    shell_complete=complete_versions,
    help="OS layer that it is made on (default: as before).",
)
@_requires_option
@click.option("--requires-nothing", is_flag=True, help="Drop the app layers that were required before.")
@_connector_option
@_run_once_option
@_finalize_option
@_notes_option
@_wait_option
@no_wait_option
@quiet_option
@json_option
def add_version(
    reference: str,
    version: str,
    from_version: str | None,
    os_version: str | None,
    requires: tuple[str, ...],
    requires_nothing: bool,
    configuration: str,
    run_once: Path | None,
    auto_finalize: bool | None,
    notes: str,
    until_deployable: bool,
    no_wait: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Begin a new version of a layer on a packaging machine.

    A connector configuration of generation 2 gives an OS layer of generation 1 its generation 2 version.
    """
    with connect() as appliance:
        library = Library(appliance)
        layer = library.layer(reference)
        prerequisites = library.ids(requires, kinds=["app"]) if requires or requires_nothing else None
        body = {
            "name": version,
            "notes": notes,
            "configuration": configuration,
            "from_version_id": library.ids([f"{layer['id']}:{from_version}"])[0] if from_version else None,
            "os_version_id": library.ids([os_version], kinds=["os"])[0] if os_version else None,
            "prerequisite_version_ids": prerequisites,
            "run_once_upload_id": _upload(appliance, run_once),
            "auto_finalize": auto_finalize,
        }
        answer = appliance.post(f"/layers/{part(layer['id'])}/versions", body)
        _finish(appliance, answer, until_deployable, no_wait=no_wait, quiet=quiet, as_json=as_json)


@click.command(cls=SekisoCommand)
@version_argument
@click.option("--override-gate", is_flag=True, help="Finalize although the guest reported unfinished work.")
@no_wait_option
@quiet_option
@json_option
def finalize(reference: str, override_gate: bool, no_wait: bool, quiet: bool, as_json: bool) -> None:
    """Turn what was installed on a packaging machine into a deployable version."""
    with connect() as appliance:
        version = Library(appliance).version(reference, states=BEING_EDITED)
        answer = appliance.post(
            f"/layer-versions/{part(version['id'])}/finalize", {"override_gate": override_gate}
        )
        finish(appliance, answer, no_wait=no_wait, as_json=as_json, quiet=quiet)


@click.command(cls=SekisoCommand)
@version_argument
@yes_option
@no_wait_option
@quiet_option
@json_option
def discard(reference: str, yes: bool, no_wait: bool, quiet: bool, as_json: bool) -> None:
    """Give up a version that is being edited, with its packaging machine and disks."""
    with connect() as appliance:
        version = Library(appliance).version(reference, states=BEING_EDITED)
        name = f"{version['layer_name']} {version['name']}"
        confirm(say("Discard {name} and its packaging machine?", name=name), yes=yes)
        answer = appliance.post(f"/layer-versions/{part(version['id'])}/discard")
        _finish_discard(appliance, answer, no_wait=no_wait, quiet=quiet, as_json=as_json)


def _finish_discard(
    appliance: ApplianceClient, answer: Any, *, no_wait: bool, quiet: bool, as_json: bool
) -> None:
    """Follow the task; when it is the one that made the version, its cancellation is what was asked for."""
    from sekiso.cli.following import follow  # noqa: PLC0415 (beside `finish`, which judges by other rules)
    from sekiso.model.task import TaskKind, TaskState  # noqa: PLC0415

    task = task_record(answer)
    if not no_wait:
        task = follow(appliance, [task], quiet=quiet or as_json, stop=has_ended)[0]
    as_wished = task.kind is TaskKind.CREATE_LAYER and task.state is TaskState.CANCELED
    if as_json:
        print_json(task)
    elif as_wished:
        click.echo(say("The version was discarded."))
    else:
        show_end(task)
    if not as_wished:
        exit_by([task], no_wait=no_wait)


def _upload(appliance: ApplianceClient, folder: Path | None) -> str | None:
    if folder is None:
        return None
    with packed(folder) as file:
        upload: str = appliance.upload("/uploads/run-once", file, _TAR)["id"]
        return upload


def _finish(
    appliance: ApplianceClient,
    answer: Any,
    until_deployable: bool,
    *,
    no_wait: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    task = task_record(answer)
    if no_wait or not (until_deployable or works_by_itself(task)):
        finish(appliance, answer, no_wait=no_wait, as_json=as_json, quiet=quiet)
        return
    tasks = follow_until_deployable(appliance, task, quiet=quiet or as_json)
    if as_json:
        print_json(tasks[-1])
    else:
        show_end(tasks[-1])
    exit_by(tasks[-1:])
