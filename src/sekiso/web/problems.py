"""Errors as problem documents (RFC 9457), in the reader's language."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from sekiso.connectors.errors import ConfigurationInvalidError
from sekiso.errors import Family, RuleError, SekisoError
from sekiso.i18n import LANGUAGES, render_error, translate
from sekiso.services.core import NotAllowedError
from sekiso.services.users import LoginFailedError, LoginNeededError

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
_STATUS = {
    Family.USAGE: 422,
    Family.INPUT: 400,
    Family.NOT_FOUND: 404,
    Family.CONFLICT: 409,
    Family.UNSUPPORTED: 422,
    Family.ENVIRONMENT: 503,
    Family.TOOL: 502,
    Family.VERIFICATION: 422,
    Family.GUEST: 409,
    Family.CANCELED: 409,
    Family.INTERNAL: 500,
}
_OWN_STATUS: Mapping[str, int] = {
    NotAllowedError.code: 403,
    LoginNeededError.code: 401,
    LoginFailedError.code: 401,
}


class FieldProblem(BaseModel):
    """One broken rule: which field, and what to do."""

    field: str
    code: str
    reason: str
    remedy: str


class Problem(BaseModel):
    """An error (RFC 9457). Texts are in the reader's language; programs go by `code`."""

    type: str
    title: str
    status: int
    detail: str
    resolution: str
    code: str
    family: str
    retryable: bool
    params: dict[str, Any]
    errors: list[FieldProblem] = []


class RequestInvalidError(SekisoError):
    """A request has another form than the API's. Params: field, reason."""

    code = "request.invalid"
    family = Family.USAGE
    brief = "The request cannot be understood: {field}."
    why = "{reason}"
    resolution = "See the description of the API: /api/v1/openapi.json"


class RequestTooLargeError(SekisoError):
    """The body of a request is too large. Params: limit_bytes."""

    code = "request.too-large"
    family = Family.INPUT
    brief = "The request is too large."
    why = "At most {limit_bytes} bytes are taken here."
    resolution = "Send less."


class AddressUnknownError(SekisoError):
    """There is nothing at an address. Params: path."""

    code = "request.address"
    family = Family.NOT_FOUND
    brief = "There is nothing at the address {path}."
    why = ""
    resolution = "See the description of the API: /api/v1/openapi.json"


class MethodRefusedError(SekisoError):
    """An address does not take a method. Params: path, method."""

    code = "request.method"
    family = Family.USAGE
    brief = "The address {path} does not take {method}."
    why = ""
    resolution = "See the description of the API: /api/v1/openapi.json"


def language_of(request: Request) -> str:
    """Return the language that a reader prefers (Accept-Language, RFC 9110)."""
    best, weight = "en", 0.0
    for item in request.headers.get("accept-language", "").split(","):
        name, _, rest = item.partition(";")
        known = name.strip().lower().split("-")[0]
        quality = _quality(rest)
        if known in LANGUAGES and quality > weight:
            best, weight = known, quality
    return best


def _quality(text: str) -> float:
    key, _, value = text.strip().partition("=")
    if key != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def problem_response(error: SekisoError, language: str) -> JSONResponse:
    """Return an error as an answer."""
    status = _OWN_STATUS.get(error.code, _STATUS[error.family])
    brief, why, resolution = render_error(error, language)
    data = error.to_dict()
    document = {
        "type": f"urn:sekiso:error:{error.code}",
        "title": brief,
        "status": status,
        "detail": why,
        "resolution": resolution,
        "code": error.code,
        "family": data["family"],
        "retryable": data["retryable"],
        "params": data["params"],
        "errors": _field_problems(error, language),
    }
    headers = {"Content-Language": language, "Vary": "Accept-Language"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        headers["Retry-After"] = "5"
    return JSONResponse(document, status, headers, MEDIA_TYPE)


def _field_problems(error: SekisoError, language: str) -> list[dict[str, str]]:
    if isinstance(error, ConfigurationInvalidError):
        return [
            {
                "field": v.field,
                "code": v.code,
                "reason": translate(v.reason, language),
                "remedy": translate(v.remedy, language),
            }
            for v in error.violations
        ]
    if isinstance(error, RuleError | RequestInvalidError):
        params = {k: translate(str(v), language) for k, v in error.params.items()}
        return [
            {
                "field": str(error.params.get("field", "")),
                "code": error.code,
                "reason": params.get("reason", ""),
                "remedy": params.get("remedy", ""),
            }
        ]
    return []


def on_sekiso_error(request: Request, error: Exception) -> JSONResponse:
    """Answer an error of ours."""
    assert isinstance(error, SekisoError)
    return problem_response(error, language_of(request))


def on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    """Answer a request of another form."""
    assert isinstance(error, RequestValidationError)
    every: Sequence[Mapping[str, Any]] = error.errors()
    first: Mapping[str, Any] = every[0] if every else dict[str, Any]()
    location: Sequence[Any] = first.get("loc", ())
    field = _field(location)
    return problem_response(RequestInvalidError(field=field, reason=_reason(first)), language_of(request))


def on_http_error(request: Request, error: Exception) -> JSONResponse:
    """Answer what the framework refuses."""
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if error.status_code == 405:
        response = problem_response(
            MethodRefusedError(path=path, method=request.method), language_of(request)
        )
        response.status_code = 405
        response.headers.update(error.headers or {})
        return response
    if error.status_code == 404:
        return problem_response(AddressUnknownError(path=path), language_of(request))
    invalid = RequestInvalidError(field="/", reason="The body of the request cannot be read.")
    return problem_response(invalid, language_of(request))


def on_unexpected(request: Request, error: Exception) -> JSONResponse:
    """Answer what should not happen: a number to find it in the log by, and nothing of what went wrong."""
    reference = secrets.token_hex(4)
    log.error("%s %s failed (%s)", request.method, request.url.path, reference, exc_info=error)
    reason = f"The log of the appliance has it under the number {reference}."
    return problem_response(SekisoError(reason=reason), language_of(request))


def _field(location: Sequence[Any]) -> str:
    return ".".join(str(part) for part in location if part not in ("body", "query", "path")) or "/"


def _reason(found: Mapping[str, Any]) -> str:
    match found.get("type"):
        case "missing":
            return "It is missing."
        case "extra_forbidden":
            return "There is no such field."
        case "json_invalid":
            return "It is not written in JSON."
        case "enum" | "literal_error":
            context: Mapping[str, Any] = found.get("ctx") or dict[str, Any]()
            expected = str(context.get("expected", ""))
            return f"It is not one of {expected}."
        case _:
            return "It has the wrong type, or is too long, too small or too large."
