"""What pages are made with that is the same for all: scripts, styles, icons, all from the package."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

#: Below this path everything is public and may be kept by browsers for ever.
ROOT = "/static"
_FOREVER = "public, max-age=31536000, immutable"
_SMALLEST_PACKED_BYTES = 1000
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain"}


@dataclass(frozen=True, slots=True)
class _Asset:
    content: bytes
    packed: bytes | None
    media_type: str


class Assets:
    """Serves the files; the address carries a hash of all of them, so that a new version is never mixed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope)
        asset = _assets().get(_inside(request.url.path))
        if asset is None or request.method not in ("GET", "HEAD"):
            await Response(status_code=404)(scope, receive, send)
            return
        headers = {"Cache-Control": _FOREVER, "Vary": "Accept-Encoding"}
        body = asset.content
        if asset.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"], body = "gzip", asset.packed
        response = Response(body, media_type=asset.media_type, headers=headers)
        await response(scope, receive, send)


def static(name: str) -> str:
    """Return the address of a file of `console/static`.

    Raises:
        KeyError: there is no such file.
    """
    if name not in _assets():
        raise KeyError(name)
    return f"{ROOT}/{_version()}/{name}"


@cache
def icon(name: str, css: str = "") -> Markup:
    """Return an icon for a page; it is hidden from screen readers: the text beside it says the same."""
    text = (resources.files("sekiso.console") / "icons" / f"{name}.svg").read_text(encoding="utf-8")
    text = re.sub(r'\s*class="[^"]*"', "", text, count=1)
    return Markup(text.replace("<svg", f'<svg class="icon {css}" aria-hidden="true" focusable="false"', 1))  # noqa: S704 (of the package)


def _inside(path: str) -> str:
    """Return the name of the file that a path asks for: what stands after the version."""
    return path.removeprefix(f"{ROOT}/").partition("/")[2]


@cache
def _assets() -> dict[str, _Asset]:
    found: dict[str, _Asset] = {}
    _collect(resources.files("sekiso.console") / "static", "", found)
    return found


def _collect(folder: Traversable, prefix: str, found: dict[str, _Asset]) -> None:
    for item in folder.iterdir():
        name = f"{prefix}{item.name}"
        if item.is_dir():
            _collect(item, f"{name}/", found)
        else:
            found[name] = _asset(name, item.read_bytes())


def _asset(name: str, content: bytes) -> _Asset:
    suffix = name[name.rfind(".") :]
    media_type = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    is_text = media_type.startswith(("text/", "image/svg"))
    packed = gzip.compress(content, 9, mtime=0) if is_text and len(content) > _SMALLEST_PACKED_BYTES else None
    return _Asset(content, packed, media_type)


@cache
def _version() -> str:
    digest: Any = hashlib.sha256()
    for name, asset in sorted(_assets().items()):
        digest.update(name.encode() + b"\0" + asset.content)
    return digest.hexdigest()[:16]
