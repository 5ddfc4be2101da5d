"""The appliance's REST API, as the command line calls it."""

from __future__ import annotations

import json
import logging
import os
import random
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import httpx

from sekiso import __version__
from sekiso.cli.api_error import NotAnApplianceError, UnreachableError, error_from_problem
from sekiso.cli.pinning import PinnedContext
from sekiso.cli.profile import NotLoggedInError, Profile
from sekiso.errors import AlreadyExistsError, SekisoError

API = "/api/v1"
COOKIE = "sekiso_session"
_CSRF = "X-Sekiso-CSRF"
_NDJSON = "application/x-ndjson"
_PROBLEM_TYPES = ("application/problem+json", "application/json")
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
#: A row of a live test comes when its check has ended; a check copies files.
_LIVE_TIMEOUT = httpx.Timeout(600.0, connect=10.0)
_LONG_TIMEOUT = httpx.Timeout(None, connect=10.0)
#: How long a lost connection is tried again for requests that change nothing.
PATIENCE_S = 2.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_UPLOAD_CHUNK_BYTES = 1 << 20
_UNAUTHORIZED = 401

# Its debug lines show the headers of answers, and a session's secret stands in one.
logging.getLogger("httpcore").setLevel(logging.WARNING)


def make_transport(profile: Profile) -> httpx.BaseTransport:
    """Return the connection to an appliance: pinned, or verified by the system's authorities."""
    if profile.fingerprint:
        return httpx.HTTPTransport(verify=PinnedContext(profile.url, profile.fingerprint))
    return httpx.HTTPTransport(verify=ssl.create_default_context())


class ApplianceClient:
    """Calls the REST API; use it as a context manager.

    Every method raises `ApiError` for what the appliance refuses, `UnreachableError` when it cannot be
    reached, `CertificateChangedError` before anything is sent to another server, and `NotLoggedInError` when
    the session has ended. Requests that only read are tried again when the connection is lost.

    Args:
        profile: which appliance, and as whom.
        language: language of texts in answers.
        transport: how it is reached; None = over the network.
    """

    def __init__(
        self, profile: Profile, *, language: str = "en", transport: httpx.BaseTransport | None = None
    ) -> None:
        self._profile = profile
        headers = {
            "Accept-Language": language,
            "Accept": "application/json",
            "User-Agent": f"sekiso/{__version__}",
            **_credentials(profile),
        }
        self._http = httpx.Client(
            base_url=profile.url,
            headers=headers,
            transport=transport or make_transport(profile),
            timeout=_TIMEOUT,
            trust_env=False,
            follow_redirects=False,
        )

    @property
    def url(self) -> str:
        """Address of the appliance."""
        return self._profile.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._http.close()

    def get(
        self, path: str, params: Mapping[str, Any] | None = None, *, patience_s: float = PATIENCE_S
    ) -> Any:
        """Read something; parameters that are None are left out.

        Args:
            path: path below the API's root.
            params: parameters of the query.
            patience_s: how long a lost connection is tried again.
        """
        return _plain(self._read(path, params, patience_s))

    def get_bytes(self, path: str, params: Mapping[str, Any] | None = None) -> bytes:
        """Read something that is no JSON."""
        return self._read(path, params, PATIENCE_S, accept="*/*").content

    def get_long(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Read something that the appliance may take minutes to answer."""
        return _plain(self._read(path, params, PATIENCE_S, timeout=_LIVE_TIMEOUT))

    def post(self, path: str, body: Any = None, params: Mapping[str, Any] | None = None) -> Any:
        """Have something done."""
        return self._change("POST", path, body, params)

    def put(self, path: str, body: Any) -> Any:
        """Replace something."""
        return self._change("PUT", path, body, None)

    def patch(self, path: str, body: Any) -> Any:
        """Change parts of something."""
        return self._change("PATCH", path, body, None)

    def delete(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Remove something."""
        return self._change("DELETE", path, None, params)

    def upload(self, path: str, file: Path, media_type: str) -> Any:
        """Send a file as it is."""
        headers = {"Content-Type": media_type, "Content-Length": str(file.stat().st_size)}
        request = self._http.build_request(
            "POST", API + path, content=_chunks(file), headers=headers, timeout=_LONG_TIMEOUT
        )
        return _plain(self._send(request))

    def download(self, path: str, file: Path) -> int:
        """Fetch a file; nothing of it is left if it does not arrive whole. Returns its size in bytes.

        Raises:
            AlreadyExistsError: there is a file of that name.
        """
        if file.exists():
            raise AlreadyExistsError(what="The file", name=file, remedy="Choose another name.")
        part_file = file.with_name(f".{file.name}.{os.getpid()}.part")
        request = self._http.build_request(
            "GET", API + path, headers={"Accept": "*/*"}, timeout=_LIVE_TIMEOUT
        )
        try:
            with _reaching(self._profile.url), part_file.open("xb") as stream:
                response = self._http.send(request, stream=True)
                try:
                    if not response.is_success:
                        response.read()
                        raise self._failure(response)
                    for piece in response.iter_bytes(_UPLOAD_CHUNK_BYTES):
                        stream.write(piece)
                finally:
                    response.close()
            part_file.rename(file)
        finally:
            part_file.unlink(missing_ok=True)
        return file.stat().st_size

    def rows(self, path: str, body: Any = None) -> Iterator[dict[str, Any]]:
        """Have something done that answers row by row, and yield each row when it comes."""
        request = self._http.build_request(
            "POST", API + path, json=body, headers={"Accept": _NDJSON}, timeout=_LIVE_TIMEOUT
        )
        with _reaching(self._profile.url):
            response = self._http.send(request, stream=True)
            try:
                if response.is_error:
                    response.read()
                    raise self._failure(response)
                yield from _rows_of(response)
            finally:
                response.close()

    def login(self, name: str, password: str) -> tuple[str, str]:
        """Begin a session; return its secret and what changes have to carry."""
        request = self._http.build_request(
            "POST", f"{API}/session", json={"name": name, "password": password}
        )
        with _reaching(self._profile.url):
            response = self._http.send(request)
        if response.is_error:
            raise error_from_problem(_plain(response), response.status_code)
        secret = response.cookies.get(COOKIE)
        if not secret:
            raise NotAnApplianceError(url=self._profile.url, reason="It began no session.")
        return secret, str(_plain(response).get("csrf", ""))

    def _change(self, method: str, path: str, body: Any, params: Mapping[str, Any] | None) -> Any:
        request = self._http.build_request(method, API + path, json=body, params=_given(params))
        return _plain(self._send(request))

    def _read(
        self,
        path: str,
        params: Mapping[str, Any] | None,
        patience_s: float,
        *,
        accept: str | None = None,
        timeout: httpx.Timeout = _TIMEOUT,
    ) -> httpx.Response:
        headers = {} if accept is None else {"Accept": accept}
        deadline, pause_s = time.monotonic() + patience_s, _FIRST_PAUSE_S
        while True:
            request = self._http.build_request(
                "GET", API + path, params=_given(params), headers=headers, timeout=timeout
            )
            try:
                return self._send(request)
            except UnreachableError:
                if time.monotonic() + pause_s > deadline:
                    raise
            time.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 (so that many clients spread)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _send(self, request: httpx.Request) -> httpx.Response:
        with _reaching(self._profile.url):
            response = self._http.send(request)
        if not response.is_success:
            raise self._failure(response)
        return response

    def _failure(self, response: httpx.Response) -> SekisoError:
        media_type = response.headers.get("content-type", "").partition(";")[0]
        if media_type not in _PROBLEM_TYPES:
            return NotAnApplianceError(
                url=self._profile.url, reason=f"It answered with HTTP status {response.status_code}."
            )
        if response.status_code == _UNAUTHORIZED:
            return NotLoggedInError(reason="The appliance does not accept the session or token any more.")
        return error_from_problem(_plain(response), response.status_code)


class _reaching:  # noqa: N801 (a context manager that reads as a word)
    """Turns what the network refuses into errors that say so."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if isinstance(exc, httpx.TransportError):
            raise UnreachableError(url=self._url, reason=reason_of(exc)) from exc
        if isinstance(exc, httpx.HTTPError):
            raise NotAnApplianceError(url=self._url, reason="Its answer cannot be read.") from exc


def reason_of(exc: BaseException) -> str:
    """Return in a sentence why a server was not reached."""
    seen: BaseException | None = exc
    while seen is not None:
        match seen:
            case ssl.SSLCertVerificationError():
                return f"Its certificate is not trusted: {seen.verify_message}."
            case ssl.SSLError():
                return "It does not speak TLS as an appliance does."
            case socket.gaierror():
                return "Its name cannot be resolved."
            case ConnectionRefusedError():
                return "Nothing listens there: the connection was refused."
            case TimeoutError() | httpx.TimeoutException():
                return "It did not answer in time."
            case ConnectionError() | httpx.RemoteProtocolError():
                return "The connection was lost."
            case _:
                seen = seen.__cause__ or seen.__context__
    return f"The system says: {exc}."


def _credentials(profile: Profile) -> dict[str, str]:
    if profile.token:
        return {"Authorization": f"Bearer {profile.token}"}
    if profile.session:
        return {"Cookie": f"{COOKIE}={profile.session}", _CSRF: profile.csrf}
    return {}


def _given(params: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if params is None else {k: v for k, v in params.items() if v is not None}


def _plain(response: httpx.Response) -> Any:
    if not response.content:
        return None
    try:
        return response.json()
    except ValueError:
        raise NotAnApplianceError(url=str(response.url), reason="Its answer cannot be read.") from None


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(_UPLOAD_CHUNK_BYTES):
            yield piece


def _rows_of(response: httpx.Response) -> Iterator[dict[str, Any]]:
    if response.headers.get("content-type", "").partition(";")[0] != _NDJSON:
        response.read()
        yield from _plain(response)
        return
    for line in response.iter_lines():
        if not line.strip():
            continue
        row = cast("dict[str, Any]", json.loads(line))
        if "title" in row and "type" in row:  # it failed after the answer had begun
            raise error_from_problem(row, int(row.get("status", 500)))
        yield row
