"""`sekiso user`: who may do what."""

from __future__ import annotations

import click

from sekiso.cli.errors import WrongUsageError
from sekiso.cli.help import SekisoGroup
from sekiso.cli.language import say
from sekiso.cli.login import ask_secret, read_secret
from sekiso.cli.options import Name, json_option
from sekiso.cli.output import print_json, print_table
from sekiso.cli.remote import confirm, connect, listed, moment, names_of, part, views, yes_no, yes_option
from sekiso.cli.words import word
from sekiso.model.library import Role

_ROLE = click.Choice([role.value for role in Role])
_PASSWORD_FILE = click.Path(dir_okay=False, allow_dash=True)


@click.group(cls=SekisoGroup)
def user() -> None:
    """Users.

    An administrator may do everything; a layer manager works on layers, templates and images; a publisher
    on templates and images; a read-only user looks.
    """


@user.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the users."""
    with connect() as appliance:
        answer = appliance.get("/users")
    if as_json:
        print_json(listed("users", answer))
        return
    rows = [
        (u.get("name"), word(str(u.get("role"))), yes_no(not u.get("disabled")), moment(u.get("created_s")))
        for u in views(answer)
    ]
    print_table(["Name", "Role", "May log in", "Since"], rows)


@user.command("add")
@click.argument("name", type=Name())
@click.option("--role", type=_ROLE, required=True, help="What the user may do.")
@click.option(
    "--password-file",
    type=_PASSWORD_FILE,
    metavar="PATH",
    help="File with the password; asked for otherwise.",
)
@json_option
def add(name: str, role: str, password_file: str | None, as_json: bool) -> None:
    """Add a user."""
    password = _new_password(password_file)
    with connect() as appliance:
        answer = appliance.post("/users", {"name": name, "role": role, "password": password})
    print_json(answer) if as_json else click.echo(say("The user {name} was added.", name=name))


@user.command("change")
@click.argument("name", shell_complete=names_of("/users"))
@click.option("--role", type=_ROLE, help="What the user may do.")
@click.option("--disable/--enable", "disabled", default=None, help="Whether the user may not log in.")
@click.option("--password-file", type=_PASSWORD_FILE, metavar="PATH", help="File with a new password.")
@json_option
def change(
    name: str,
    role: str | None,
    disabled: bool | None,
    password_file: str | None,
    as_json: bool,
) -> None:
    """Change a user's role or password, or lock the user out."""
    wanted = {"role": role, "disabled": disabled}
    body: dict[str, object] = {key: value for key, value in wanted.items() if value is not None}
    if password_file:
        body["password"] = read_secret(password_file)
    if not body:
        raise WrongUsageError(reason="Nothing is to be changed.", command="sekiso user change")
    with connect() as appliance:
        answer = appliance.patch(f"/users/{part(name)}", body)
    print_json(answer) if as_json else click.echo(say("The user {name} was changed.", name=name))


@user.command("remove")
@click.argument("name", shell_complete=names_of("/users"))
@yes_option
@json_option
def remove(name: str, yes: bool, as_json: bool) -> None:
    """Remove a user, with sessions and API tokens."""
    confirm(say("Remove the user {name}?", name=name), yes=yes)
    with connect() as appliance:
        appliance.delete(f"/users/{part(name)}")
    print_json({"removed": name}) if as_json else click.echo(say("The user {name} was removed.", name=name))


@user.command("password")
@click.option(
    "--old-password-file", type=_PASSWORD_FILE, metavar="PATH", help="File with the present password."
)
@click.option("--password-file", type=_PASSWORD_FILE, metavar="PATH", help="File with the new password.")
@json_option
def password(old_password_file: str | None, password_file: str | None, as_json: bool) -> None:
    """Change your own password."""
    old = read_secret(old_password_file) if old_password_file else ask_secret(say("Present password"))
    new = _new_password(password_file)
    with connect() as appliance:
        appliance.post("/users/me/password", {"old": old, "new": new})
    print_json({"changed": True}) if as_json else click.echo(say("The password was changed."))


def _new_password(path: str | None) -> str:
    return read_secret(path) if path else ask_secret(say("New password"), twice=True)
