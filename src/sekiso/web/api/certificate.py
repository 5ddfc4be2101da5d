"""The appliance's certificate."""

from __future__ import annotations

import base64

from sekiso.services.certificate_rules import refused
from sekiso.services.certificates import CertificateRequestView, CertificateUpload, CertificateView
from sekiso.web.answers import topic
from sekiso.web.auth import Language, Use, Who
from sekiso.web.bodies import CertificateFiles, CertificateRequestWish, CertificateWish
from sekiso.web.shown import shown_certificate

router = topic("certificate")


@router.get("/certificate", operation_id="get_certificate")
def get_certificate(use: Use, language: Language) -> CertificateView:
    """Show the certificate of the appliance, and who does not know it yet."""
    return shown_certificate(use.certificates.show(), language)


@router.post("/certificate/generate", operation_id="generate_certificate")
def generate_certificate(
    use: Use, who: Who, language: Language, body: CertificateWish | None = None
) -> CertificateView:
    """Put a new self-signed certificate into force."""
    wish = body or CertificateWish()
    view = use.certificates.generate(who, names=wish.names, days=wish.days, forget_former=wish.forget_former)
    use.appliance_settings.look_again()
    return shown_certificate(view, language)


@router.post("/certificate/upload", operation_id="upload_certificate")
def upload_certificate(body: CertificateFiles, use: Use, who: Who, language: Language) -> CertificateView:
    """Put a certificate into force that was issued elsewhere."""
    upload = CertificateUpload(body.certificate, body.key, body.passphrase, _pkcs12(body.pkcs12))
    view = use.certificates.upload(who, upload, forget_former=body.forget_former)
    use.appliance_settings.look_again()
    return shown_certificate(view, language)


@router.post("/certificate/request", operation_id="request_certificate", status_code=201)
def request_certificate(
    use: Use, who: Who, body: CertificateRequestWish | None = None
) -> CertificateRequestView:
    """Make a certificate request; its key stays at the appliance."""
    wish = body or CertificateRequestWish()
    return use.certificates.request(who, names=wish.names, kind=wish.key, organization=wish.organization)


@router.delete("/certificate/request", operation_id="forget_certificate_request", status_code=204)
def forget_certificate_request(use: Use, who: Who) -> None:
    """Remove the certificate request and its key."""
    use.certificates.forget_request(who)


def _pkcs12(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise refused("pkcs12", "It is not written in Base64.", "Encode the file in Base64.") from None
