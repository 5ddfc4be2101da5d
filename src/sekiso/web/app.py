"""The application: routes, errors, limits and headers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from sekiso import __version__
from sekiso.errors import SekisoError
from sekiso.web.answers import PROBLEMS, ROOT
from sekiso.web.api import access, agents, connectors, images, layers, tasks
from sekiso.web.problems import (
    RequestTooLargeError,
    language_of,
    on_http_error,
    on_invalid_request,
    on_sekiso_error,
    on_unexpected,
    problem_response,
)
from sekiso.web.services import Services

_BODY_LIMIT_BYTES = 1 << 20
_UPLOADS = f"{ROOT}/uploads/"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
}
_DESCRIPTION = (
    "Image layering for Microsoft Hyper-V. Errors are problem documents (RFC 9457) in the language of "
    "Accept-Language. Log in by POST /session, or send an API token as Authorization: Bearer."
)


def create_app(services: Services) -> FastAPI:
    """Return the application of an appliance."""
    app = FastAPI(
        title="Sekiso",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url=f"{ROOT}/openapi.json",
        docs_url=None,
        redoc_url=None,
        responses=PROBLEMS,
    )
    app.state.services = services
    for topic in (access, agents, connectors, layers, images, tasks):
        app.include_router(topic.router, prefix=ROOT)

    @app.get(f"{ROOT}/health", tags=["health"], operation_id="health")
    def health() -> dict[str, str]:
        """Say that the appliance answers; needs no login."""
        return {"status": "ok", "version": __version__}

    app.add_exception_handler(SekisoError, on_sekiso_error)
    app.add_exception_handler(RequestValidationError, on_invalid_request)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(Exception, on_unexpected)
    app.middleware("http")(_guard)
    return app


async def _guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse bodies that are too large, and give every answer its headers."""
    length = request.headers.get("content-length", "0")
    chunked = "transfer-encoding" in request.headers
    is_upload = request.url.path.startswith(_UPLOADS)
    if not is_upload and (chunked or not length.isdecimal() or int(length) > _BODY_LIMIT_BYTES):
        response: Response = problem_response(
            RequestTooLargeError(limit_bytes=_BODY_LIMIT_BYTES), language_of(request)
        )
    else:
        response = await call_next(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
