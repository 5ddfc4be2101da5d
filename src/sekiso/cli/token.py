"""`sekiso token`: API tokens of the user who is logged in."""

from __future__ import annotations

import click

from sekiso.cli.help import SekisoGroup
from sekiso.cli.language import say
from sekiso.cli.options import Name, json_option
from sekiso.cli.output import print_json, print_table
from sekiso.cli.remote import connect, find, listed, moment, names_of, part, views
from sekiso.cli.reporting import hint

_DAY_S = 86_400


@click.group(cls=SekisoGroup)
def token() -> None:
    """API tokens.

    A token lets a program do what its user may do, by SEKISO_TOKEN or the header Authorization: Bearer.
    """


@token.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List your API tokens; their secrets are not kept."""
    with connect() as appliance:
        answer = appliance.get("/tokens")
    if as_json:
        print_json(listed("tokens", answer))
        return
    rows = [
        (
            t.get("id"),
            t.get("name"),
            moment(t.get("created_s")),
            moment(t.get("expires_s")) or say("never"),
            moment(t.get("last_used_s")),
        )
        for t in views(answer)
    ]
    print_table(["Identifier", "Name", "Made", "Expires", "Last used"], rows)


@token.command("create")
@click.argument("name", type=Name())
@click.option(
    "--valid-days",
    type=click.IntRange(1, 3650),
    default=90,
    show_default=True,
    help="How long it is valid.",
)
@click.option("--forever", is_flag=True, help="It is valid until it is revoked.")
@json_option
def create(name: str, valid_days: int, forever: bool, as_json: bool) -> None:
    """Make an API token and print its secret, this once."""
    valid_s = None if forever else valid_days * _DAY_S
    with connect() as appliance:
        answer = appliance.post("/tokens", {"name": name, "valid_s": valid_s})
    if as_json:
        print_json(answer)
        return
    click.echo(answer["token"])
    hint(say("It is shown this once. Keep it as you keep a password."))


@token.command("revoke")
@click.argument("reference", metavar="TOKEN", shell_complete=names_of("/tokens"))
@json_option
def revoke(reference: str, as_json: bool) -> None:
    """Revoke one of your API tokens, by identifier or name."""
    with connect() as appliance:
        found = find(
            views(appliance.get("/tokens")),
            reference,
            "The API token",
            "Your tokens are shown by: sekiso token list",
        )
        appliance.delete(f"/tokens/{part(found['id'])}")
    print_json({"revoked": found["id"]}) if as_json else click.echo(say("The API token was revoked."))
