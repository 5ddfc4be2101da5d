"""`sekiso layer change`, `clone`, `delete`, `delete-version`."""

from __future__ import annotations

import click

from sekiso.cli.errors import WrongUsageError
from sekiso.cli.following import finish
from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import say
from sekiso.cli.layer.look import complete_layers
from sekiso.cli.options import Name, json_option, quiet_option
from sekiso.cli.output import print_json
from sekiso.cli.remote import confirm, connect, no_wait_option, part, yes_option
from sekiso.cli.version_refs import Library, complete_versions

_layer_argument = click.argument("reference", metavar="LAYER", shell_complete=complete_layers)


@click.command(cls=SekisoCommand)
@_layer_argument
@click.option("--name", type=Name(), help="New name.")
@click.option("--notes", help="New notes.")
@click.option("--icon", help="Name of a new icon.")
@click.option("--priority", type=int, help="Merge order among app layers; the higher one wins.")
@json_option
def change(
    reference: str, name: str | None, notes: str | None, icon: str | None, priority: int | None, as_json: bool
) -> None:
    """Change what is said of a layer; its content never changes."""
    wanted = {"name": name, "notes": notes, "icon": icon, "priority": priority}
    body = {key: value for key, value in wanted.items() if value is not None}
    if not body:
        raise WrongUsageError(reason="Nothing is to be changed.", command="sekiso layer change")
    with connect() as appliance:
        answer = appliance.patch(f"/layers/{part(reference)}", body)
    print_json(answer) if as_json else click.echo(say("The layer {name} was changed.", name=reference))


@click.command(cls=SekisoCommand)
@_layer_argument
@click.argument("new_name", type=Name())
@json_option
def clone(reference: str, new_name: str, as_json: bool) -> None:
    """Make a layer with the deployable versions of another; content is shared, nothing is copied."""
    with connect() as appliance:
        answer = appliance.post(f"/layers/{part(reference)}/clone", {"name": new_name})
    print_json(answer) if as_json else click.echo(say("The layer {name} was made.", name=new_name))


@click.command(cls=SekisoCommand)
@_layer_argument
@yes_option
@no_wait_option
@quiet_option
@json_option
def delete(reference: str, yes: bool, no_wait: bool, quiet: bool, as_json: bool) -> None:
    """Delete a layer with all its versions, if nothing uses them."""
    confirm(say("Delete the layer {name} with all its versions?", name=reference), yes=yes)
    with connect() as appliance:
        answer = appliance.delete(f"/layers/{part(reference)}")
        finish(appliance, answer or [], no_wait=no_wait, as_json=as_json, quiet=quiet)
    if not answer and not as_json:
        click.echo(say("The layer {name} was deleted.", name=reference))


@click.command("delete-version", cls=SekisoCommand)
@click.argument("reference", metavar="LAYER:VERSION", shell_complete=complete_versions)
@yes_option
@no_wait_option
@quiet_option
@json_option
def delete_version(reference: str, yes: bool, no_wait: bool, quiet: bool, as_json: bool) -> None:
    """Delete a version of a layer that nothing uses."""
    with connect() as appliance:
        version = Library(appliance).version(reference)
        name = f"{version['layer_name']} {version['name']}"
        confirm(say("Delete the layer version {name}?", name=name), yes=yes)
        answer = appliance.delete(f"/layer-versions/{part(version['id'])}")
        finish(appliance, answer, no_wait=no_wait, as_json=as_json, quiet=quiet)
