"""Turns whatever a route raises into a problem document."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from sekiso.errors import SekisoError
from sekiso.model.machine import Violation
from sekiso.web.errors import (
    AddressUnknownError,
    MethodRefusedError,
    RequestInvalidError,
    RequestTooLargeError,
)
from sekiso.web.languages import language_of
from sekiso.web.problems import problem_response
from sekiso.web.validation import invalid_request

log = logging.getLogger(__name__)
_SHOWN_CHARS = 200


def add_handlers(app: FastAPI) -> None:
    """Have an application answer errors as problem documents."""
    handlers: Mapping[type[Exception], Callable[[Request, Any], Response]] = {
        SekisoError: _on_sekiso_error,
        RequestValidationError: _on_invalid_request,
        HTTPException: _on_http_error,
    }
    for kind, handler in handlers.items():
        app.exception_handlers[kind] = handler


def unexpected(method: str, path: str, error: Exception) -> SekisoError:
    """Log what should not happen; return what a client may know of it: a number to find it by."""
    reference = secrets.token_hex(4)
    log.error("%s %s failed (%s)", method, path[:_SHOWN_CHARS], reference, exc_info=error)
    return SekisoError(reason=f"The log of the appliance has it under the number {reference}.")


def _on_sekiso_error(request: Request, error: SekisoError) -> Response:
    return problem_response(error, language_of(request))


def _on_invalid_request(request: Request, error: RequestValidationError) -> Response:
    found: Sequence[Mapping[str, Any]] = error.errors()
    return problem_response(invalid_request(found), language_of(request))


def _on_http_error(request: Request, error: HTTPException) -> Response:
    response = problem_response(_from_framework(request, error), language_of(request))
    response.headers.update(error.headers or {})
    return response


def _from_framework(request: Request, error: HTTPException) -> SekisoError:
    path = request.url.path[:_SHOWN_CHARS]
    if error.status_code == 405:
        return MethodRefusedError(path=path, method=request.method[:_SHOWN_CHARS])
    if error.status_code == 413:
        return RequestTooLargeError(limit_bytes=error.detail)
    if error.status_code == 404:
        return AddressUnknownError(path=path)
    return RequestInvalidError.of(
        [Violation("/", "request.value", "The body of the request cannot be read.")]
    )
