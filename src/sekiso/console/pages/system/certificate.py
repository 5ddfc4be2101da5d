"""The appliance's certificate: shown, generated, uploaded, requested (OP-4)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from sekiso.console.access import Who, pages
from sekiso.console.answers import go
from sekiso.console.failures import Failure, failure_of
from sekiso.console.forms import Form, Sent, checked
from sekiso.console.rendering import show
from sekiso.errors import NotFoundError, RuleError, SekisoError
from sekiso.i18n import mark
from sekiso.model.library import Role
from sekiso.services.certificate_making import DEFAULT_DAYS, KeyKind
from sekiso.services.certificates import CertificateUpload, CertificateView
from sekiso.services.core import Actor
from sekiso.web.auth import Use
from sekiso.web.bodies import CertificateRequestWish, CertificateWish
from sekiso.web.services import Services

_PATH = "/system/certificate"
#: Names of the servers that show the certificate.
SERVICES = {
    "api": mark("Console and REST API"),
    "agent-link": mark("Link to the agents"),
    "transfer-https": mark("Transfers over HTTPS"),
}
#: Kinds of keys: their names are the same in every language.
KEY_KINDS = (
    (KeyKind.EC_P256, "EC P-256"),
    (KeyKind.EC_P384, "EC P-384"),
    (KeyKind.RSA_3072, "RSA 3072"),
)

_pages = pages(_PATH, role=Role.ADMINISTRATOR)


@_pages.get("")
def certificate(request: Request, use: Use) -> Response:
    """Show the certificate that is in force."""
    context = {"certificate": use.certificates.show(), "services": SERVICES}
    return show(request, "system/certificate.html", context)


@_pages.get("/generate")
def generate_dialog(request: Request, use: Use) -> Response:
    """Ask for names and validity of a new certificate."""
    names = "\n".join(use.certificates.show().names)
    return _dialog(request, use, "generate", {"names": names, "days": DEFAULT_DAYS})


@_pages.post("/generate")
def generate(request: Request, use: Use, who: Who, form: Sent) -> Response:
    """Put a new self-signed certificate into force."""
    days = form.number("days")
    try:
        wish = checked(CertificateWish, {"names": _lines(form), "days": days, **_forgetting(form)})
        view = use.certificates.generate(
            who, names=wish.names, days=wish.days, forget_former=wish.forget_former
        )
    except SekisoError as error:
        typed = {"names": form.text("names"), "days": days}
        return _dialog(request, use, "generate", typed, failure_of(error, request))
    return _exchanged(request, use, view)


@_pages.get("/upload")
def upload_dialog(request: Request, use: Use) -> Response:
    """Ask for a certificate that was issued elsewhere."""
    return _dialog(request, use, "upload", {"format": "pem"})


@_pages.post("/upload")
def upload(request: Request, use: Use, who: Who, form: Sent) -> Response:
    """Put a certificate into force that was issued elsewhere."""
    try:
        view = _upload(use, who, form)
    except SekisoError as error:
        typed = {"format": form.text("format", "pem")}
        return _dialog(request, use, "upload", typed, failure_of(error, request))
    return _exchanged(request, use, view)


@_pages.get("/request")
def request_dialog(request: Request, use: Use) -> Response:
    """Ask for what a certificate request is to say."""
    names = "\n".join(use.certificates.show().names)
    return _dialog(request, use, "request", {"names": names, "key": KeyKind.EC_P256, "organization": ""})


@_pages.post("/request")
def make_request(request: Request, use: Use, who: Who, form: Sent) -> Response:
    """Make a certificate request; its key stays at the appliance."""
    typed = {name: form.text(name) for name in ("names", "key", "organization")}
    try:
        wish = checked(CertificateRequestWish, {**typed, "names": _lines(form)})
        use.certificates.request(who, names=wish.names, kind=wish.key, organization=wish.organization)
    except SekisoError as error:
        return _dialog(request, use, "request", typed, failure_of(error, request))
    return go(request, _PATH, "The certificate request was created.")


@_pages.delete("/request")
def forget_request(request: Request, use: Use, who: Who) -> Response:
    """Remove the certificate request and its key."""
    use.certificates.forget_request(who)
    return go(request, _PATH, "The certificate request was deleted.")


@_pages.get("/request.csr")
def download_request(use: Use) -> Response:
    """Send the certificate request as a file."""
    found = use.certificates.show().request
    if found is None:
        raise NotFoundError(what="The certificate request", name="", remedy="Create one.")
    headers = {"Content-Disposition": 'attachment; filename="sekiso.csr"'}
    return Response(found.pem, media_type="application/pkcs10", headers=headers)


def _upload(use: Services, who: Actor, form: Form) -> CertificateView:
    passphrase, is_pkcs12 = form.secret("passphrase") or None, form.text("format") == "pkcs12"
    needed = "pkcs12" if is_pkcs12 else "certificate"
    if form.file(needed) is None:
        raise RuleError(field=needed, reason="No file was chosen.", remedy="Choose a file.")
    if is_pkcs12:
        sent = CertificateUpload(pkcs12=_content(form, "pkcs12"), passphrase=passphrase)
    else:
        chain, key = (_content(form, name).decode("ascii", "replace") for name in ("certificate", "key"))
        sent = CertificateUpload(certificate=chain, key=key or None, passphrase=passphrase)
    return use.certificates.upload(who, sent, forget_former=form.flag("forget_former"))


def _content(form: Form, name: str) -> bytes:
    found = form.file(name)
    return found.file.read() if found is not None else b""


def _lines(form: Form) -> tuple[str, ...]:
    return tuple(line.strip() for line in form.text("names").splitlines() if line.strip())


def _forgetting(form: Form) -> dict[str, bool]:
    return {"forget_former": form.flag("forget_former")}


def _dialog(
    request: Request, use: Services, name: str, typed: dict[str, Any], failure: Failure | None = None
) -> Response:
    """Show a dialog with what was typed, and who has to learn of a new certificate."""
    view = use.certificates.show()
    away = [a for a in use.agents.list() if not a.online and not a.revoked]
    context: dict[str, Any] = {
        **typed,
        "away": away,
        "has_request": view.request is not None,
        "waiting": view.waiting_agents,
        "key_kinds": KEY_KINDS,
        "failure": failure,
    }
    return show(request, f"system/certificate_{name}.html", context, status=422 if failure else 200)


def _exchanged(request: Request, use: Services, view: CertificateView) -> Response:
    use.appliance_settings.look_again()
    # No other page yet: the browser may have to be asked first whether it trusts the new certificate.
    return show(request, "system/certificate_done.html", {"certificate": view})


router = APIRouter()
router.include_router(_pages)
