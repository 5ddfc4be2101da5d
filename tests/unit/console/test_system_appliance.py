"""The appliance itself: certificate, settings, logs, health; and the guide (OP-3, OP-4)."""

from __future__ import annotations

import io
import re
import tarfile

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from sekiso.agent.pki import key_pem, new_key, self_signed
from sekiso.console.guide import guide
from sekiso.model.library import Role

from .conftest import Browser, Make, text_of

CERTIFICATE = "/system/certificate"
OTHERS = [Role.LAYER_MANAGER, Role.PUBLISHER, Role.READ_ONLY]


@pytest.mark.parametrize("role", OTHERS)
@pytest.mark.parametrize(
    "path",
    [CERTIFICATE, f"{CERTIFICATE}/request.csr", "/system/settings", "/system/logs", "/system/logs/bundle"],
)
def test_only_administrators(browse: Make, role: Role, path: str) -> None:
    browser = browse(role)
    answer = browser.get(path)
    assert answer.status_code == 403 and f"{role.value} may not do this." in text_of(answer)
    assert f'href="{path}"' not in browser.get("/system/health").text


@pytest.mark.parametrize("role", OTHERS)
def test_others_change_nothing(browse: Make, role: Role) -> None:
    browser = browse(role)
    paths = [f"{CERTIFICATE}/{what}" for what in ("generate", "upload", "request")] + ["/system/settings"]
    assert {browser.send(path).status_code for path in paths} == {403}
    assert browser.send(f"{CERTIFICATE}/request", method="DELETE").status_code == 403


def test_the_certificate_is_shown(console: Browser) -> None:
    view = console.world.services.certificates.show()
    page = text_of(console.get(CERTIFICATE))
    assert view.sha256 in page and view.names[0] in page and "Self-signed" in page
    assert "Link to the agents 8444 in force" in page


def test_generating(console: Browser) -> None:
    before = console.world.services.certificates.show().sha256
    dialog = console.part(f"{CERTIFICATE}/generate")
    assert "These agents are not connected now: spare" in text_of(dialog)
    answer = console.send(f"{CERTIFICATE}/generate", {"names": "a.example\r\n192.0.2.1\r\n", "days": "30"})
    view = console.world.services.certificates.show()
    assert (
        view.sha256 != before and view.sha256 in text_of(answer) and view.names == ("a.example", "192.0.2.1")
    )


@pytest.mark.parametrize("changes", [{"names": "a b"}, {"names": ""}, {"days": "0"}, {"days": "soon"}])
def test_what_cannot_be_generated_is_said_at_its_field(browse: Make, changes: dict[str, str]) -> None:
    form = {"names": "a.example", "days": "30", **changes}
    for language in ("en", "ja"):
        browser = browse(language=language)
        answer = browser.send(f"{CERTIFICATE}/generate", form)
        assert answer.status_code == 422 and f'id="{next(iter(changes))}-problem"' in answer.text
        assert form["names"] in answer.text and f'value="{form["days"]}"' in answer.text


def _pair() -> tuple[bytes, bytes]:
    key = new_key()
    return self_signed(key, ("b.example",), days=10), key_pem(key)


def test_uploading_pem(console: Browser) -> None:
    chain, key = _pair()
    files = {"certificate": ("a.pem", chain), "key": ("a.key", key)}
    answer = console.send(f"{CERTIFICATE}/upload", {"format": "pem"}, files=files)
    assert answer.status_code == 200 and "The new certificate is in force" in text_of(answer)
    assert console.world.services.certificates.show().names == ("b.example",)


def test_uploading_pkcs12(console: Browser) -> None:
    chain, key = _pair()
    private = serialization.load_pem_private_key(key, None)
    locked = serialization.BestAvailableEncryption(b"open it")
    leaf = x509.load_pem_x509_certificate(chain)
    data = pkcs12.serialize_key_and_certificates(b"x", private, leaf, None, locked)  # type: ignore[arg-type]
    files = {"pkcs12": ("a.pfx", data)}
    form = {"format": "pkcs12", "passphrase": "Geheim"}
    answer = console.send(f"{CERTIFICATE}/upload", form, files=files)
    assert (
        answer.status_code == 422 and 'id="passphrase-problem"' in answer.text and "Geheim" not in answer.text
    )
    assert re.search(r'value="pkcs12" checked', answer.text)
    answer = console.send(f"{CERTIFICATE}/upload", {**form, "passphrase": "open it"}, files=files)
    assert answer.status_code == 200 and console.world.services.certificates.show().names == ("b.example",)


def test_uploads_that_are_none(console: Browser) -> None:
    chain, _ = _pair()
    _, other = _pair()
    wrong = (
        {},
        {"certificate": ("a.pem", b"\xff\x00")},
        {"certificate": ("a.pem", chain), "key": ("a.key", other)},
        {"certificate": ("a.pem", chain)},
    )
    for files in wrong:
        answer = console.send(f"{CERTIFICATE}/upload", {"format": "pem"}, files=files)
        assert answer.status_code == 422 and "-problem" in answer.text
    answer = console.send(f"{CERTIFICATE}/upload", {"format": "pkcs12"})
    assert answer.status_code == 422 and 'id="pkcs12-problem"' in answer.text


def test_a_certificate_request(console: Browser) -> None:
    form = {"names": "c.example", "key": "ec-p384", "organization": "Example & Co"}
    assert console.send(f"{CERTIFICATE}/request", form).headers["hx-redirect"] == CERTIFICATE
    page = console.get(CERTIFICATE)
    assert "c.example" in text_of(page) and "Example &amp; Co" in page.text
    answer = console.get(f"{CERTIFICATE}/request.csr")
    assert "sekiso.csr" in answer.headers["content-disposition"]
    assert x509.load_pem_x509_csr(answer.content).is_signature_valid
    assert console.send(f"{CERTIFICATE}/request", method="DELETE").headers["hx-redirect"] == CERTIFICATE
    assert console.get(f"{CERTIFICATE}/request.csr").status_code == 404


@pytest.mark.parametrize("changes", [{"names": "a b"}, {"key": "wax"}, {"organization": "x" * 65}])
def test_requests_that_cannot_be_made(console: Browser, changes: dict[str, str]) -> None:
    form = {"names": "c.example", "key": "ec-p256", "organization": "", **changes}
    answer = console.send(f"{CERTIFICATE}/request", form)
    assert answer.status_code == 422 and f'id="{next(iter(changes))}-problem"' in answer.text


def test_settings_are_changed(console: Browser) -> None:
    form = {
        "session_idle_minutes": "30",
        "host_names": "A.example\r\n b.example \r\n",
        "default_language": "ja",
    }
    assert console.send("/system/settings", form).headers["hx-redirect"] == "/system/settings"
    values = console.world.services.appliance_settings.get().values
    assert (values["session_idle_minutes"], values["default_language"]) == (30, "ja")
    assert list(values["host_names"]) == ["a.example", "b.example"] and values["session_hours"] == 12
    page = console.get("/system/settings")
    assert 'value="30"' in page.text and "a.example" in text_of(page)


def test_settings_that_cannot_be_are_said_at_their_fields(browse: Make) -> None:
    form = {"session_idle_minutes": "1", "session_hours": "many", "host_names": "a b", "lockout_minutes": "7"}
    for language in ("en", "ja"):
        browser = browse(language=language)
        answer = browser.send("/system/settings", form)
        assert answer.status_code == 422
        for name in ("session_idle_minutes", "session_hours", "host_names"):
            assert f'id="{name}-problem"' in answer.text
        assert all(f'value="{typed}"' in answer.text for typed in ("1", "many", "7")) and "a b" in answer.text
        assert browser.world.services.appliance_settings.get().values["lockout_minutes"] == 5


def test_the_support_bundle(console: Browser) -> None:
    assert "Download support bundle" in text_of(console.get("/system/logs"))
    answer = console.get("/system/logs/bundle", days=1)
    assert re.search(r"sekiso-support-[\d-]+\.tar\.gz", answer.headers["content-disposition"])
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        assert "sekiso-support/health.json" in archive.getnames()
    assert "Support bundle downloaded" in text_of(console.get("/system/audit"))
    assert console.get("/system/logs/bundle", days=0).status_code == 422


@pytest.mark.parametrize("role", list(Role))
def test_everyone_sees_the_health(browse: Make, role: Role) -> None:
    page = browse(role).get("/system/health")
    said = text_of(page)
    assert "These agents are not connected: spare." in said and "Start their services" in said
    assert 'href="/system/agents" id="health-agents"' in page.text
    assert 'hx-trigger="every 60s' in page.text


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_guide(browse: Make, language: str) -> None:
    page = browse(Role.READ_ONLY, language=language).get("/help")
    assert page.status_code == 200
    anchors = re.findall(r'<a href="#([^"]+)">', page.text)
    assert anchors and all(f'id="{anchor}"' in page.text for anchor in anchors)
    assert len(set(anchors)) == len(anchors) and "register-an-agent" in anchors
    # Files that the console does not have are no links.
    assert not re.search(r'href="[^"#/?][^"]*\.md"', page.text)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_pictures_of_the_guide_are_served(browse: Make, language: str) -> None:
    reader = browse(Role.READ_ONLY, language=language)
    pictures = re.findall(r'<img src="([^"]+)"', reader.get("/help").text)
    own = [path for path in pictures if path.startswith("/help/pictures/")]
    assert own and all(path.startswith(f"/help/pictures/{language}/") for path in own)
    shown = reader.get(own[0])
    assert shown.headers["content-type"] == "image/png" and shown.content.startswith(b"\x89PNG")


def test_a_picture_that_is_not_there(console: Browser) -> None:
    assert console.get("/help/pictures/en/nothing.png").status_code == 404
    assert console.get("/help/pictures/fr/login.png").status_code in (404, 422)
    assert console.get("/help/pictures/en/..%2f..%2flogin.png").status_code in (404, 422)


def test_the_guide_in_the_other_language(console: Browser) -> None:
    assert (
        '<article class="card"><div class="card-body markdown guide" lang="ja"'
        in console.get("/help", language="ja").text
    )
    assert 'lang="en"' in console.get("/help", language="../../etc/passwd").text


def test_lines_of_japanese_text_are_joined_without_spaces() -> None:
    body = re.sub(r"<pre.*?</pre>", "", guide("ja").body, flags=re.DOTALL)
    assert re.findall(r"[\u3041-\u30f6\u4e00-\u9fff。、]\n[^\n<]", body) == []
    assert re.search(r"\w\n\w", guide("en").body)


def test_chapters_have_the_same_places_in_every_language() -> None:
    shapes = [
        [(heading.anchor, heading.level) for heading in guide(language).headings] for language in ("en", "ja")
    ]
    assert shapes[0] == shapes[1]


def test_only_names_in_a_japanese_text_are_kept_from_translation() -> None:
    assert '<span translate="no">' not in guide("en").body
    assert '<span translate="no">VHDX</span>' in guide("ja").body
