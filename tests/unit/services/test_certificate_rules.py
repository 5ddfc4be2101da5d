"""Which certificates and keys the appliance takes, and what it says of the others (OP-4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from sekiso.services.certificate_making import KeyKind, make_request, make_self_signed
from sekiso.services.certificate_rules import (
    CertificateRefusedError,
    check,
    checked_names,
    is_host,
    is_self_signed,
    key_words,
    names_of,
    read_chain,
    read_key,
    read_pkcs12,
)

from ...support.certificates import Made, authority, make, usage

ROOT = authority("Root")
MIDDLE = authority("Middle", ROOT)
LEAF = make(issuer=MIDDLE)


def taken(leaf: Made, *chain: Made, key: str | None = None, passphrase: str | None = None) -> None:
    pem = "".join(made.pem for made in (leaf, *chain))
    check(read_key(key or leaf.key_pem(), passphrase), read_chain(pem))


def refusal(run: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(CertificateRefusedError) as caught:
        run()
    params = caught.value.params
    assert str(params["reason"]).endswith(".") and str(params["remedy"]).endswith(".")
    return str(params["field"]), str(params["reason"])


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (rsa.generate_private_key(65537, 2048), "RSA 2048"),
        (ec.generate_private_key(ec.SECP256R1()), "EC P-256"),
        (ec.generate_private_key(ec.SECP384R1()), "EC P-384"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
    ],
    ids=["rsa", "p256", "p384", "ed25519"],
)
def test_kinds_of_keys_that_are_taken(key: Any, words: str) -> None:
    made = make(key=key)
    taken(made)
    assert key_words(made.certificate.public_key()) == words


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (rsa.generate_private_key(65537, 1024), "1024 bits"),
        (ec.generate_private_key(ec.SECP521R1()), "kind that is not used"),
        (ed448.Ed448PrivateKey.generate(), "kind that is not used"),
        (dsa.generate_private_key(1024), "kind that is not used"),
    ],
    ids=["rsa-1024", "p521", "ed448", "dsa"],
)
def test_kinds_of_keys_that_are_not(key: Any, says: str) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    field, reason = refusal(lambda: read_key(pem, None))
    assert field == "key" and says in reason


def test_a_chain_in_order_with_or_without_its_root() -> None:
    taken(LEAF)
    taken(LEAF, MIDDLE)
    taken(LEAF, MIDDLE, ROOT)


@pytest.mark.parametrize(
    "chain",
    [(MIDDLE, LEAF), (LEAF, ROOT), (LEAF, ROOT, MIDDLE), (LEAF, LEAF), (LEAF, MIDDLE, MIDDLE)],
    ids=["issuer first", "gap", "swapped", "twice", "issuer twice"],
)
def test_a_chain_that_is_not_in_order(chain: tuple[Made, ...]) -> None:
    pem = "".join(made.pem for made in chain)
    field, reason = refusal(lambda: check(read_key(LEAF.key_pem(), None), read_chain(pem)))
    assert field == "certificate" and "not in order" in reason


def test_an_issuer_that_is_no_authority() -> None:
    false = make("Not an authority", issuer=ROOT)
    field, reason = refusal(lambda: taken(make(issuer=false), false))
    assert field == "certificate" and "no certificate authority" in reason


def test_the_key_of_another_certificate() -> None:
    field, reason = refusal(lambda: taken(LEAF, key=make().key_pem()))
    assert field == "key" and "does not belong" in reason


@pytest.mark.parametrize(
    ("made", "field", "says"),
    [
        (make(days=(-90, -1)), "certificate", "has expired on"),
        (make(days=(2, 90)), "certificate", "not valid before"),
        (make(names=()), "names", "names no host"),
        (authority(), "certificate", "certificate authority, not of a server"),
        (make(usages=(ExtendedKeyUsageOID.CLIENT_AUTH,)), "certificate", "not issued for servers"),
        (make(key_usage=usage(signature=False)), "certificate", "not issued for servers"),
    ],
    ids=["expired", "not yet", "no names", "authority", "for clients", "no signature"],
)
def test_certificates_that_are_refused(made: Made, field: str, says: str) -> None:
    found, reason = refusal(lambda: taken(made))
    assert found == field and says in reason


def test_an_issuer_that_has_expired() -> None:
    old = make("Old", issuer=ROOT, names=(), ca=True, usages=None, days=(-90, -1))
    _, reason = refusal(lambda: taken(make(issuer=old), old))
    assert "CN=Old has expired" in reason


def test_what_need_not_be_said() -> None:
    taken(make(usages=None, ca=None))
    taken(make(usages=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), key_usage=usage(signature=True)))


@pytest.mark.parametrize(
    "text", ["", "nothing", LEAF.key_pem(), "-----BEGIN CERTIFICATE-----\nMA==\n", "é\0"]
)
def test_no_certificate(text: str) -> None:
    assert refusal(lambda: read_chain(text))[0] == "certificate"


def test_too_many_certificates() -> None:
    assert "more than 10" in refusal(lambda: read_chain(LEAF.pem * 11))[1]


@pytest.mark.parametrize(
    "text", ["", LEAF.pem, "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n"]
)
def test_no_key(text: str) -> None:
    assert refusal(lambda: read_key(text, None))[0] == "key"


@pytest.mark.parametrize(
    "form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL]
)
def test_an_encrypted_key(form: Any) -> None:
    pem = LEAF.key_pem("right", form)
    assert refusal(lambda: read_key(pem, None)) == ("passphrase", "The private key is encrypted.")
    assert refusal(lambda: read_key(pem, ""))[0] == "passphrase"
    assert refusal(lambda: read_key(pem, "wrong"))[0] == "passphrase"
    assert read_key(pem, "right").public_key() == LEAF.certificate.public_key()
    # One that is not encrypted needs none; a passphrase does no harm.
    read_key(LEAF.key_pem(None, form), "unneeded")


def test_pkcs12_is_brought_into_order() -> None:
    data = LEAF.pkcs12("right", [ROOT, MIDDLE])
    key, chain = read_pkcs12(data, "right")
    assert [c.subject for c in chain] == [m.certificate.subject for m in (LEAF, MIDDLE, ROOT)]
    check(key, chain)
    assert refusal(lambda: read_pkcs12(data, "wrong"))[0] == "passphrase"
    assert refusal(lambda: read_pkcs12(data, None))[0] == "passphrase"
    assert refusal(lambda: read_pkcs12(b"no such file", "right"))[0] == "passphrase"


def test_no_secret_in_what_is_kept_in_view() -> None:
    kept = check(read_key(LEAF.key_pem(), None), read_chain(LEAF.pem))
    assert "PRIVATE" not in repr(kept) and b"PRIVATE KEY" in kept.key


@pytest.mark.parametrize("days", [0, -1, 3651])
def test_days_that_cannot_be(days: int) -> None:
    assert refusal(lambda: make_self_signed(["a"], days))[0] == "days"


def test_self_signed() -> None:
    made = make_self_signed(["appliance.example", "*.example.org", "::1", "appliance.example"], 30)
    (certificate,) = chain = read_chain(made.chain.decode())
    assert is_self_signed(certificate)
    assert names_of(certificate) == ("appliance.example", "*.example.org", "::1")
    check(read_key(made.key.decode(), None), chain)


@pytest.mark.parametrize("kind", KeyKind)
def test_a_request_leads_to_a_certificate(kind: KeyKind) -> None:
    from ...support.certificates import sign_request

    key, pem = make_request(["appliance.example", "192.0.2.1"], kind, "Example")
    issued = sign_request(pem.decode(), MIDDLE)
    check(read_key(key.decode(), None), read_chain(issued.pem + MIDDLE.pem))


def test_an_organization_that_cannot_be() -> None:
    assert refusal(lambda: make_request(["a"], KeyKind.EC_P256, "x" * 65))[0] == "organization"
    assert refusal(lambda: make_request(["a"], KeyKind.EC_P256, "a\nb"))[0] == "organization"


@pytest.mark.parametrize(
    "name", ["a", "a.example", "*.a.example", "192.0.2.1", "::1", "xn--wgv71a.example", "a_b"]
)
def test_hosts(name: str) -> None:
    assert is_host(name)


@pytest.mark.parametrize(
    "name",
    ["", " ", "-a", "a-", "a..b", "a.", "*", "a*.b", "https://a", "a:8443", "1.2.3", "日本", "a" * 64, "a b"],
)
def test_no_hosts(name: str) -> None:
    assert not is_host(name)
    assert refusal(lambda: checked_names([name]))[0] == "names"


def test_how_many_names() -> None:
    assert refusal(lambda: checked_names([]))[0] == "names"
    assert refusal(lambda: checked_names([f"a{i}" for i in range(101)]))[0] == "names"
