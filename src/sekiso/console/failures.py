"""Errors as a person sees them: what, why, what to do, and the fields that are meant."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sekiso.console.access import is_part, to_login
from sekiso.console.reader import page_language
from sekiso.console.rendering import show
from sekiso.errors import Family, SekisoError
from sekiso.i18n import translate
from sekiso.services.users import LoginNeededError
from sekiso.web.errors import RequestInvalidError, RequestTooLargeError
from sekiso.web.handlers import unexpected
from sekiso.web.problems import problem_of

log = logging.getLogger(__name__)


class PageUnknownError(SekisoError):
    """There is no such page. Params: path."""

    code = "page.unknown"
    family = Family.NOT_FOUND
    brief = "There is no page at {path}."
    why = "The address is wrong, or what it showed has been deleted."
    resolution = "Go to the start page, or choose from the menu."


class FormUnreadableError(SekisoError):
    """A form came in another shape than its page sends it. No params."""

    code = "page.form"
    family = Family.USAGE
    brief = "What was sent cannot be read."
    why = "A field is missing or holds something that it cannot hold."
    resolution = "Load the page again and repeat what you did."


@dataclass(frozen=True, slots=True)
class Failure:
    """An error in the reader's language.

    Attributes:
        title: what went wrong.
        detail: why; may be empty.
        resolution: what to do; may be empty.
        code: stable name.
        status: HTTP status.
        fields: what is wrong with fields of a form, by their names: sentences.
    """

    title: str
    detail: str
    resolution: str
    code: str
    status: int
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


def failure_of(error: SekisoError, request: Request) -> Failure:
    """Return an error as the reader of an answer sees it."""
    language = page_language(request)
    problem = problem_of(error, language)
    fields: dict[str, tuple[str, ...]] = {}
    for entry in problem["errors"]:
        sentence = " ".join(filter(None, (entry["reason"], entry["remedy"])))
        name = entry["field"]
        fields[name] = (*fields.get(name, ()), sentence)
    entered = translate("Some of what was entered cannot be accepted.", language)
    if isinstance(error, RequestInvalidError):
        # Its own words are for those who write programs.
        remedy = translate("Correct the fields that are marked.", language)
        return Failure(entered, "", remedy, error.code, problem["status"], fields)
    # A title that names a field has the name that programs use.
    title = entered if fields and "field" in error.params else problem["title"]
    return Failure(
        title, problem["detail"], problem["resolution"], problem["code"], problem["status"], fields
    )


def answer_failure(request: Request, error: SekisoError) -> Response:
    """Return an error as a page, or as a message where a part of a page was asked for."""
    failure = failure_of(error, request)
    if not is_part(request):
        return show(request, "failure.html", {"failure": failure}, status=failure.status)
    shown = {"title": failure.title, "detail": failure.detail, "resolution": failure.resolution}
    header = json.dumps({"sekiso:failure": shown})  # ASCII: a header holds nothing else
    return Response(status_code=failure.status, headers={"HX-Trigger": header, "HX-Reswap": "none"})


def add_handlers(app: FastAPI) -> None:
    """Have an application answer errors as pages."""
    app.exception_handlers.update(
        {SekisoError: _on_sekiso_error, RequestValidationError: _on_unreadable, HTTPException: _on_http_error}
    )


class Failures:
    """Answers what nobody expected as a page, too."""

    def __init__(self, app: ASGIApp) -> None:
        """Guard an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            raise
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            request = Request(scope)
            failure = unexpected(request.method, request.url.path, error)
            await answer_failure(request, failure)(scope, receive, send)


def _on_sekiso_error(request: Request, error: Any) -> Response:
    if isinstance(error, LoginNeededError):
        return to_login(request)
    return answer_failure(request, error)


def _on_unreadable(request: Request, error: Any) -> Response:
    log.info("%s: %s", request.url.path, error)
    return answer_failure(request, FormUnreadableError())


def _on_http_error(request: Request, error: Any) -> Response:
    if error.status_code == 413:
        return answer_failure(request, RequestTooLargeError(limit_bytes=error.detail))
    if error.status_code in (404, 405):
        return answer_failure(request, PageUnknownError(path=request.url.path[:200]))
    return answer_failure(request, FormUnreadableError())
