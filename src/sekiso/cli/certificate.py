"""`sekiso certificate`: the certificate of the appliance."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from sekiso.cli.errors import WrongUsageError
from sekiso.cli.help import SekisoGroup
from sekiso.cli.language import say
from sekiso.cli.login import read_secret
from sekiso.cli.options import Name, OutputFile, json_option
from sekiso.cli.output import print_json, print_notes, print_pairs
from sekiso.cli.pinning import shown_fingerprint
from sekiso.cli.profile import current_profile, load_profile, profile_path, save_profile
from sekiso.cli.remote import confirm, connect, moment, yes_no, yes_option
from sekiso.cli.words import word
from sekiso.errors import AlreadyExistsError, SekisoError

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_PKCS12 = (".p12", ".pfx")
_NAMES = click.option(
    "--name", "names", multiple=True, type=Name(), help="Host name or address; repeat (default: as now)."
)
_FORGET = click.option(
    "--forget-former",
    is_flag=True,
    help="Do not show the former certificate to agents any more, even if they know no other.",
)


@click.group(cls=SekisoGroup)
def certificate() -> None:
    """The certificate of the appliance.

    Console, REST API, transfers over HTTPS and the link to the agents show it. It is exchanged while
    everything runs. Agents that are connected learn of it before; those that are away find the former one on
    the link until every agent knows the new one.
    """


@certificate.command("show")
@json_option
def show(as_json: bool) -> None:
    """Show the certificate of the appliance."""
    with connect() as appliance:
        view = appliance.get("/certificate")
    print_json(view) if as_json else _show(view)


@certificate.command("generate")
@_NAMES
@click.option(
    "--days", type=click.IntRange(1, 3650), default=825, show_default=True, help="Valid for so long."
)
@_FORGET
@yes_option
@json_option
def generate(names: tuple[str, ...], days: int, forget_former: bool, yes: bool, as_json: bool) -> None:
    """Generate a new self-signed certificate and put it into force."""
    _confirm(yes=yes)
    body = {"names": list(names) or None, "days": days, "forget_former": forget_former}
    with connect() as appliance:
        view = appliance.post("/certificate/generate", body)
    _exchanged(view, as_json=as_json)


@certificate.command("upload")
@click.argument("certificate_file", metavar="CERTIFICATE", type=_FILE)
@click.option("--key", "key_file", type=_FILE, metavar="PATH", help="Its private key (PEM).")
@click.option(
    "--passphrase-file",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="PATH",
    help="File with the passphrase of the key or of the PKCS#12 file.",
)
@_FORGET
@yes_option
@json_option
def upload(
    certificate_file: Path,
    key_file: Path | None,
    passphrase_file: str | None,
    forget_former: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Put a certificate into force that was issued elsewhere.

    CERTIFICATE is a PEM file with the certificate and those of its issuers, or a PKCS#12 file (.p12, .pfx).
    Without --key the key of the certificate request is used.
    """
    body: dict[str, Any] = {"forget_former": forget_former}
    if certificate_file.suffix.lower() in _PKCS12:
        if key_file is not None:
            raise WrongUsageError(
                reason="A PKCS#12 file has its key with it.", command="sekiso certificate upload"
            )
        body["pkcs12"] = base64.b64encode(certificate_file.read_bytes()).decode()
    else:
        body["certificate"] = certificate_file.read_text(encoding="utf-8", errors="replace")
        if key_file is not None:
            body["key"] = key_file.read_text(encoding="utf-8", errors="replace")
    if passphrase_file is not None:
        body["passphrase"] = read_secret(passphrase_file)
    _confirm(yes=yes)
    with connect() as appliance:
        view = appliance.post("/certificate/upload", body)
    _exchanged(view, as_json=as_json)


@certificate.command("request")
@_NAMES
@click.option(
    "--key",
    type=click.Choice(["ec-p256", "ec-p384", "rsa-3072"]),
    default="ec-p256",
    show_default=True,
    help="Kind of the key.",
)
@click.option("--organization", default="", help="Name of the organization.")
@click.option("--out", type=OutputFile(".csr", ".pem"), help="File to write; else it is printed.")
@json_option
def request(names: tuple[str, ...], key: str, organization: str, out: Path | None, as_json: bool) -> None:
    """Make a certificate request for a certificate authority.

    The key stays at the appliance. Upload the certificate that is issued, without a key.
    """
    body = {"names": list(names) or None, "key": key, "organization": organization}
    with connect() as appliance:
        view = appliance.post("/certificate/request", body)
    if out is not None:
        _write(out, view["pem"])
    if as_json:
        print_json(view)
    elif out is None:
        click.echo(view["pem"].rstrip("\n"))
    else:
        click.echo(say("Written: {path}", path=out))


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="ascii") as file:
            file.write(text)
    except FileExistsError:
        raise AlreadyExistsError(what="The file", name=path, remedy="Choose another name.") from None


def _confirm(*, yes: bool) -> None:
    confirm(say("Exchange the certificate of the appliance?"), yes=yes)


def _exchanged(view: dict[str, Any], *, as_json: bool) -> None:
    _follow(view["sha256"])
    if as_json:
        print_json(view)
        return
    click.echo(say("The certificate is in force."))
    _show(view)
    click.echo(say("Other command lines confirm the new fingerprint at their next login."))


def _follow(fingerprint: str) -> None:
    """Know the appliance by its new certificate: it said so itself, over a connection that was verified."""
    path = profile_path()
    try:
        known = load_profile(path)
    except SekisoError:
        return
    if known.fingerprint and known == current_profile():
        save_profile(path, replace(known, fingerprint=fingerprint))


def _show(view: dict[str, Any]) -> None:
    print_pairs(
        [
            ("Subject", view["subject"]),
            ("Issuer", view["issuer"]),
            ("Host names", ", ".join(view["names"])),
            ("Valid from", moment(view["valid_from_s"])),
            ("Valid until", moment(view["valid_until_s"])),
            ("Fingerprint (SHA-256)", shown_fingerprint(view["sha256"])),
            ("Key", view["key"]),
            ("Self-signed", yes_no(view["self_signed"])),
            ("Used by", ", ".join(f"{word(u['service'])} ({u['port']})" for u in view["used_by"])),
            ("Certificate request", view["request"]["subject"] if view["request"] else None),
        ]
    )
    print_notes(view["warnings"])
