"""`sekiso login`, `logout`, `whoami`: which appliance is spoken to, and as whom."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sekiso.cli.errors import BadValueError, WrongUsageError
from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import language, say
from sekiso.cli.options import json_option
from sekiso.cli.output import print_json, print_pairs
from sekiso.cli.profile import (
    Profile,
    address_of,
    current_profile,
    load_profile,
    plain_fingerprint,
    profile_path,
    save_profile,
)
from sekiso.cli.remote import flat
from sekiso.cli.reporting import hint
from sekiso.cli.words import word
from sekiso.errors import NotFoundError

if TYPE_CHECKING:
    from sekiso.cli.client import ApplianceClient

_FINGERPRINT_DIGITS = 64
_SECRET_CHARS = 1000


@click.command(cls=SekisoCommand)
@click.argument("url")
@click.option("--user", help="Login name; asked for if it is not given.")
@click.option(
    "--password-file",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="PATH",
    help="File with the password, - for standard input; asked for if it is not given.",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="PATH",
    help="File with an API token, - for standard input; used instead of a login name and password.",
)
@click.option(
    "--fingerprint",
    envvar="SEKISO_FINGERPRINT",
    help="SHA-256 fingerprint that the certificate must have (or SEKISO_FINGERPRINT); asked otherwise.",
)
@click.option(
    "--system-ca",
    is_flag=True,
    help="Trust the certificate authorities of the operating system instead of one certificate.",
)
@json_option
def login(
    url: str,
    user: str | None,
    password_file: str | None,
    token_file: str | None,
    fingerprint: str | None,
    system_ca: bool,
    as_json: bool,
) -> None:
    """Log in.

    The certificate of the appliance at URL is shown and has to be confirmed; from then on nothing is sent
    to a server with another one. What was confirmed, and a session, is kept in a file that only you can
    read: ~/.config/sekiso/profile.json, or what SEKISO_PROFILE names.

    Programs can set SEKISO_URL, SEKISO_TOKEN and SEKISO_FINGERPRINT instead.
    """
    if system_ca and fingerprint:
        raise WrongUsageError(
            reason="Either one certificate is trusted or the system's authorities, not both.",
            command="sekiso login",
        )
    if token_file and (user or password_file):
        raise WrongUsageError(
            reason="A token stands for its user: neither a login name nor a password goes with it.",
            command="sekiso login",
        )
    address = address_of(url)
    profile = Profile(address, "" if system_ca else _confirmed(address, fingerprint))
    profile = _with_token(profile, token_file) if token_file else _with_session(profile, user, password_file)
    save_profile(profile_path(), profile)
    if as_json:
        print_json({"url": profile.url, "fingerprint": profile.fingerprint, "user": profile.user})
        return
    click.echo(say("Logged in as {user} at {url}.", user=profile.user, url=profile.url))


@click.command(cls=SekisoCommand)
@json_option
def logout(as_json: bool) -> None:
    """Log out.

    The session ends at the appliance, and the profile is removed. An API token stays valid: revoke it with
    sekiso token revoke.
    """
    path = profile_path()
    profile = load_profile(path)
    try:
        if profile.session:
            with _client(profile) as appliance:
                appliance.delete("/session")
    finally:
        path.unlink(missing_ok=True)
    print_json({"url": profile.url}) if as_json else click.echo(say("Logged out."))


@click.command(cls=SekisoCommand)
@json_option
def whoami(as_json: bool) -> None:
    """Show appliance, user, role."""
    profile = current_profile()
    with _client(profile) as appliance:
        session = flat(appliance.get("/session"))
    found = {
        "url": profile.url,
        "user": _user_name(session) or profile.user,
        "role": session.get("role", ""),
        "fingerprint": profile.fingerprint,
    }
    if as_json:
        print_json(found)
        return
    print_pairs(
        [
            ("Appliance", found["url"]),
            ("User", found["user"]),
            ("Role", word(str(found["role"]))),
            ("Certificate", _shown(profile.fingerprint)),
        ]
    )


def _client(profile: Profile) -> ApplianceClient:
    from sekiso.cli.client import ApplianceClient  # noqa: PLC0415 (slow import)

    return ApplianceClient(profile, language=language())


def _shown(fingerprint: str) -> str:
    from sekiso.cli.pinning import shown_fingerprint  # noqa: PLC0415 (slow import)

    return shown_fingerprint(fingerprint) if fingerprint else say("verified by the system's authorities")


def _confirmed(address: str, fingerprint: str | None) -> str:
    """Return the fingerprint of the certificate to trust: as given, or confirmed by the user."""
    from sekiso.cli.api_error import UnreachableError  # noqa: PLC0415 (as below)
    from sekiso.cli.client import reason_of  # noqa: PLC0415
    from sekiso.cli.pinning import fetch_certificate  # noqa: PLC0415 (slow import)

    if fingerprint:
        return _checked(fingerprint)
    try:
        shown = fetch_certificate(address)
    except OSError as exc:
        raise UnreachableError(url=address, reason=reason_of(exc)) from exc
    hint(say("The appliance at {url} shows this certificate:", url=address))
    hint("  " + say("Issued to {subject} by {issuer}", subject=shown.subject, issuer=shown.issuer))
    hint("  " + say("Valid until {day}", day=shown.expires))
    hint("  SHA-256 " + _shown(shown.fingerprint))
    if not sys.stdin.isatty():
        raise WrongUsageError(
            reason="Nobody can be asked whether this is the right certificate: there is no terminal. "
            "Compare the fingerprint and give it with --fingerprint.",
            command="sekiso login",
        )
    click.confirm(say("Is this the certificate of your appliance?"), abort=True, err=True)
    return shown.fingerprint


def _checked(fingerprint: str) -> str:
    plain = plain_fingerprint(fingerprint)
    if len(plain) != _FINGERPRINT_DIGITS or not set(plain) <= set("0123456789abcdef"):
        raise BadValueError(
            name="--fingerprint",
            reason="A SHA-256 fingerprint has 64 hexadecimal digits.",
            command="sekiso login",
        )
    return plain


def _with_session(profile: Profile, user: str | None, password_file: str | None) -> Profile:
    name = user or click.prompt(say("User"), err=True)
    password = read_secret(password_file) if password_file else ask_secret(say("Password"))
    with _client(profile) as appliance:
        session, csrf = appliance.login(name, password)
    return replace(profile, user=name, session=session, csrf=csrf)


def _with_token(profile: Profile, token_file: str) -> Profile:
    profile = replace(profile, token=read_secret(token_file))
    with _client(profile) as appliance:
        return replace(profile, user=_user_name(flat(appliance.get("/session"))))


def _user_name(session: dict[str, object]) -> str:
    user = session.get("user")
    named: object = flat(user).get("name") if isinstance(user, dict) else user
    return str(session.get("name") or named or "")


def read_secret(path: str) -> str:
    """Return a secret from the first line of a file; `-` is standard input.

    Raises:
        NotFoundError: it is empty.
    """
    if path == "-":
        text = sys.stdin.readline(_SECRET_CHARS)
    else:
        with Path(path).open(encoding="utf-8", errors="surrogateescape") as file:
            text = file.readline(_SECRET_CHARS)
    secret = text.rstrip("\r\n")
    if not secret:
        raise NotFoundError(
            what="A secret in the file", name=path, remedy="Write it into the file's first line."
        )
    return secret


def ask_secret(text: str, *, twice: bool = False) -> str:
    """Ask for a secret without showing it.

    Raises:
        WrongUsageError: there is no terminal.
    """
    if not sys.stdin.isatty():
        raise WrongUsageError(
            reason="A password cannot be asked for without a terminal. Give a file with it.",
            command=click.get_current_context().command_path,
        )
    answer: str = click.prompt(text, hide_input=True, confirmation_prompt=twice, err=True)
    return answer
