"""Login, logout, and how a person wants the console: language and theme."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from sekiso.console.access import is_part, local_address, pages, refuse_foreign
from sekiso.console.answers import go
from sekiso.console.failures import failure_of
from sekiso.console.forms import Sent
from sekiso.console.reader import LANGUAGE_COOKIE, THEME_COOKIE, THEMES
from sekiso.console.rendering import show
from sekiso.errors import SekisoError
from sekiso.i18n import LANGUAGES
from sekiso.web.auth import COOKIE, Use, secret_of

_YEAR_S = 365 * 24 * 3600
_LONGEST_NAME_CHARS, _LONGEST_PASSWORD_CHARS = 200, 2000

_open = APIRouter()
_inside = pages()


@_open.get("/login")
def login_page(request: Request, next: str = "/") -> Response:
    """Ask for name and password."""
    return show(request, "login.html", {"next": local_address(next), "failure": None, "name": ""})


@_open.post("/login")
async def log_in(request: Request, form: Sent, use: Use) -> Response:
    """Log in, and go where the person wanted to."""
    refuse_foreign(request)
    name, target = form.text("name")[:_LONGEST_NAME_CHARS], local_address(form.text("next", "/"))
    password = form.secret("password")[:_LONGEST_PASSWORD_CHARS]
    try:
        session = await to_thread.run_sync(use.users.login, name, password, limiter=request.app.state.logins)
    except SekisoError as error:
        failure = failure_of(error, request)
        context = {"next": target, "failure": failure, "name": name}
        return await run_in_threadpool(
            show, request, "login.html", context, status=422 if is_part(request) else failure.status
        )
    # Whoever had a session here before: it ends, and its secret with it.
    await run_in_threadpool(use.users.logout, secret_of(request)[0])
    response = go(request, target)
    response.set_cookie(COOKIE, session.secret, secure=True, httponly=True, samesite="strict", path="/")
    return response


@_inside.post("/logout")
def log_out(request: Request, use: Use) -> Response:
    """Log out."""
    use.users.logout(secret_of(request)[0])
    response = go(request, "/login", "You are logged out.")
    response.delete_cookie(COOKIE, secure=True, httponly=True, samesite="strict", path="/")
    return response


@_open.post("/preferences")
def change_preferences(
    request: Request, form: Sent, back: Annotated[str, Query(max_length=2000)] = "/"
) -> Response:
    """Choose language or theme; it is kept in the browser."""
    refuse_foreign(request)
    address = back if back.startswith("/login") and "\\" not in back else local_address(back)
    response = go(request, address)
    for name, cookie, known in (("language", LANGUAGE_COOKIE, LANGUAGES), ("theme", THEME_COOKIE, THEMES)):
        if form.text(name) in known:
            response.set_cookie(
                cookie, form.text(name), max_age=_YEAR_S, secure=True, httponly=True, samesite="lax", path="/"
            )
    return response


router = APIRouter()
router.include_router(_open)
router.include_router(_inside)
