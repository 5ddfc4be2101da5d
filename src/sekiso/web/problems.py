"""Errors as problem documents (RFC 9457), in the reader's language."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel

from sekiso.connectors.errors import ConfigKeyError, ConfigurationInvalidError, DocumentError
from sekiso.errors import Family, RuleError, SekisoError
from sekiso.i18n import translate
from sekiso.model.machine import Violation
from sekiso.services.appliance_settings import SettingsInvalidError
from sekiso.services.core import NotAllowedError
from sekiso.services.users import LoginFailedError, LoginNeededError
from sekiso.web.errors import (
    ForeignRequestError,
    MethodRefusedError,
    RequestInvalidError,
    RequestTooLargeError,
)
from sekiso.wording import error_texts

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
_OWN_STATUS: Mapping[type[SekisoError], int] = {
    NotAllowedError: 403,
    ForeignRequestError: 403,
    LoginNeededError: 401,
    LoginFailedError: 401,
    MethodRefusedError: 405,
    RequestTooLargeError: 413,
}
_RETRY_S = "5"


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
    errors: list[FieldProblem]


def status_of(error: SekisoError) -> int:
    """Return the HTTP status of an error."""
    return _OWN_STATUS.get(type(error), _STATUS[error.family])


def problem_of(error: SekisoError, language: str) -> dict[str, Any]:
    """Return an error as a problem document."""
    title, detail, resolution = error_texts(error, language)
    data = error.to_dict()
    return {
        "type": f"urn:sekiso:error:{error.code}",
        "title": title,
        "status": status_of(error),
        "detail": detail,
        "resolution": resolution,
        "code": error.code,
        "family": data["family"],
        "retryable": data["retryable"],
        "params": data["params"],
        "errors": [_field_problem(v, language) for v in _violations(error)],
    }


class ProblemResponse(JSONResponse):
    """A problem document. What it quotes from a request may be no proper text."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """Return the document as bytes."""
        return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")


def problem_response(error: SekisoError, language: str) -> ProblemResponse:
    """Return an error as an answer."""
    status = status_of(error)
    headers = {"Content-Language": language}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="sekiso"'
    elif status == 503:
        headers["Retry-After"] = _RETRY_S
    elif status == 413:
        # What is still on its way would be read in vain.
        headers["Connection"] = "close"
    return ProblemResponse(problem_of(error, language), status, headers)


def _violations(error: SekisoError) -> Sequence[Violation]:
    match error:
        case ConfigurationInvalidError() | RequestInvalidError() | SettingsInvalidError():
            return error.violations
        case RuleError():
            return (_violation(error, "field"),)
        case ConfigKeyError() | DocumentError():
            return (_violation(error, "key"),)
        case _:
            return ()


def _violation(error: SekisoError, place: str) -> Violation:
    field, reason, remedy = (str(error.params.get(name, "")) for name in (place, "reason", "remedy"))
    return Violation(field, error.code, reason, remedy)


def _field_problem(violation: Violation, language: str) -> dict[str, str]:
    return {
        "field": violation.field,
        "code": violation.code,
        "reason": translate(violation.reason, language),
        "remedy": translate(violation.remedy, language),
    }
