"""Login, the profile file, and how the appliance is known: by its certificate, before anything is sent."""

from __future__ import annotations

import datetime
import hashlib
import json
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sekiso.cli.client import ApplianceClient
from sekiso.cli.pinning import CertificateChangedError, fetch_certificate, shown_fingerprint
from sekiso.cli.profile import (
    BadAddressError,
    NotLoggedInError,
    Profile,
    ProfileError,
    address_of,
    current_profile,
    load_profile,
    plain_fingerprint,
    profile_path,
    save_profile,
)
from sekiso.errors import SekisoError

from .conftest import Run
from .fake_appliance import FakeAppliance


@dataclass
class TlsServer:
    """A server with a self-signed certificate of another name, expired long ago."""

    url: str
    fingerprint: str
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "elsewhere.example")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC))
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return file, built.public_bytes(serialization.Encoding.DER)


@pytest.fixture
def server(certificate: tuple[Path, bytes]) -> Iterator[TlsServer]:
    file, der = certificate
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.send_header("Set-Cookie", "sekiso_session=s3cret")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, format: str, *args: object) -> None:
            return None

    class Server(ThreadingHTTPServer):
        daemon_threads = False

        def handle_error(self, request: object, client_address: object) -> None:
            return None

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with Server(("127.0.0.1", 0), Handler) as running:
        running.socket = context.wrap_socket(running.socket, server_side=True)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            url = f"https://127.0.0.1:{running.server_address[1]}"
            yield TlsServer(url, hashlib.sha256(der).hexdigest(), asked)
        finally:
            running.shutdown()
            thread.join()


def test_the_confirmed_certificate_is_enough(server: TlsServer) -> None:
    shown = fetch_certificate(server.url)
    assert shown.fingerprint == server.fingerprint
    assert (shown.subject, shown.expires) == ("CN=elsewhere.example", "2021-01-01")
    with ApplianceClient(Profile(server.url, server.fingerprint, token="t")) as client:
        assert client.get("/agents") == []
    assert server.asked == ["/api/v1/agents"]


def test_no_secret_is_logged(server: TlsServer, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level("DEBUG"),
        ApplianceClient(Profile(server.url, server.fingerprint, token="t0ken")) as client,
    ):
        client.get("/agents")
    assert "t0ken" not in caplog.text and "set-cookie" not in caplog.text and caplog.text


def test_nothing_is_sent_to_another_server(server: TlsServer) -> None:
    with (
        ApplianceClient(Profile(server.url, "ab" * 32, token="t")) as client,
        pytest.raises(CertificateChangedError) as caught,
    ):
        client.get("/agents")
    assert shown_fingerprint(server.fingerprint) in caught.value.render()
    assert server.asked == []


def test_system_authorities(server: TlsServer) -> None:
    with ApplianceClient(Profile(server.url, token="t")) as client, pytest.raises(SekisoError) as caught:
        client.get("/agents", patience_s=0)
    assert caught.value.code == "appliance.unreachable"
    assert "certificate is not trusted" in str(caught.value.params["reason"])
    assert server.asked == []


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{free.getsockname()[1]}"
        with (
            ApplianceClient(Profile(url, "ab" * 32)) as client,
            pytest.raises(SekisoError, match="refused"),
        ):
            client.post("/agents")


def test_login_needs_a_confirmed_certificate(
    sekiso: Run, appliance: FakeAppliance, server: TlsServer
) -> None:
    code, _, err = sekiso("login", server.url, "--user", "admin")
    assert code == 2
    assert shown_fingerprint(server.fingerprint) in err and "--fingerprint" in err
    assert appliance.requests == []


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("right\n")
    return file


@pytest.fixture
def profile(tmp_path: Path, appliance: FakeAppliance, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the profile is; nothing else tells how to log in."""
    monkeypatch.delenv("SEKISO_URL")
    monkeypatch.delenv("SEKISO_TOKEN")
    return tmp_path / "profile.json"


def test_login_and_logout(sekiso: Run, appliance: FakeAppliance, profile: Path, password: Path) -> None:
    pin = ":".join(["AB"] * 32)
    words = ("login", "appliance.example", "--user", "admin", "--fingerprint", pin)
    code, out, _ = sekiso(*words, "--password-file", str(password))
    assert (code, out) == (0, "Logged in as admin at https://appliance.example:8443.\n")
    assert stat.S_IMODE(profile.stat().st_mode) == 0o600
    saved = load_profile(profile)
    assert saved == Profile("https://appliance.example:8443", "ab" * 32, "admin", "s3cret", "csrf")
    assert sekiso("agent", "rename", "hv01", "hv02")[0] == 0
    assert "right" not in json.dumps(json.loads(profile.read_text()))
    assert "Administrator" in sekiso("whoami")[1]
    assert sekiso("logout")[0] == 0
    assert appliance.requests[-1][:2] == ("DELETE", "/session") and not profile.exists()
    code, _, err = sekiso("agent", "list")
    assert code == 2 and "sekiso login URL" in err


def test_wrong_password(sekiso: Run, appliance: FakeAppliance, profile: Path, password: Path) -> None:
    password.write_text("wrong\n")
    words = ("login", "a.example", "--user", "admin", "--system-ca", "--password-file", str(password))
    code, _, err = sekiso(*words)
    assert code == 2 and err.startswith("Error: The login name or the password is wrong.\n")
    assert not profile.exists()


def test_login_by_token(sekiso: Run, appliance: FakeAppliance, profile: Path, password: Path) -> None:
    password.write_text("0123456789abcdef\n")
    code, out, _ = sekiso("login", "https://a.example", "--system-ca", "--token-file", str(password))
    assert code == 0 and out == "Logged in as admin at https://a.example:443.\n"
    assert load_profile(profile).token == "0123456789abcdef"
    for more in (["--user", "x"], ["--password-file", "x"], ["--fingerprint", "ab"]):
        code = sekiso("login", "a.example", "--system-ca", "--token-file", str(password), *more)[0]
        assert code == 2
    assert sekiso("login", "a.example", "--fingerprint", "abc", "--user", "x")[0] == 2


def test_passwords_are_asked_for_on_terminals_only(
    sekiso: Run, appliance: FakeAppliance, profile: Path
) -> None:
    code, _, err = sekiso("login", "a.example", "--user", "admin", "--system-ca")
    assert code == 2 and "terminal" in err


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("hv.example", "https://hv.example:8443"),
        ("https://hv.example", "https://hv.example:443"),
        ("https://hv.example:9000/", "https://hv.example:9000"),
        ("[::1]:8443", "https://[::1]:8443"),
        ("http://hv.example", None),
        ("https://u:p@hv.example", None),
        ("https://hv.example/api", None),
        ("https://", None),
        ("https://hv:99999", None),
        ("https://[", None),
    ],
)
def test_addresses(given: str, address: str | None) -> None:
    if address is None:
        with pytest.raises(BadAddressError):
            address_of(given)
    else:
        assert address_of(given) == address


def test_fingerprints() -> None:
    assert plain_fingerprint("SHA256:AB:cd EF") == "abcdef"
    assert shown_fingerprint("abcdef") == "AB:CD:EF"


def test_profiles(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "profile.json"
    with pytest.raises(NotLoggedInError):
        load_profile(path)
    save_profile(path, Profile("https://a:1", user="x"))
    assert load_profile(path) == Profile("https://a:1", user="x")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o640)
    with pytest.raises(ProfileError, match="chmod 600"):
        load_profile(path)
    path.chmod(0o600)
    for damaged in ("", "[]", "{", '{"url": 3}', "\x00"):
        path.write_text(damaged)
        with pytest.raises(ProfileError):
            load_profile(path)


def test_where_the_profile_is(tmp_path: Path) -> None:
    assert profile_path({"SEKISO_PROFILE": "/p"}) == Path("/p")
    assert profile_path({"XDG_CONFIG_HOME": "/x"}) == Path("/x/sekiso/profile.json")
    assert profile_path({"XDG_CONFIG_HOME": "x"}) == Path.home() / ".config/sekiso/profile.json"
    found = current_profile({"SEKISO_URL": "a", "SEKISO_TOKEN": "t\n", "SEKISO_FINGERPRINT": "AB"})
    assert found == Profile("https://a:8443", "ab", token="t")


def test_the_command_line_loads_no_server() -> None:
    """`sekiso --help` loads nothing that it does not need, and no command loads the appliance's libraries."""
    script = (
        "import sys\n"
        "from sekiso.cli.main import COMMANDS, main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'httpx', 'yaml', 'msgspec', 'cryptography', 'numpy', 'rich.console'}\n"
        "servers = {'dbos', 'sqlalchemy', 'fastapi', 'alembic', 'granian', 'uvicorn'}\n"
        "print('loaded:', sorted((heavy | servers) & set(sys.modules)))\n"
        "for name, later in COMMANDS.items():\n"
        "    if later.installed and name not in ('appliance', 'engine', 'host'): later.load()\n"
        "print('loaded:', sorted(servers & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"
    assert done.stdout.count("loaded: []") == 2
