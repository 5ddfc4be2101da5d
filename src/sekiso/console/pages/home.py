"""The start page: leads a new user to the first published image, and later shows how things stand."""

from __future__ import annotations

from fastapi import Request, Response

from sekiso.console.access import pages
from sekiso.console.rendering import show
from sekiso.web.auth import Use

router = pages()


@router.get("/")
def home(request: Request, use: Use) -> Response:
    """Show the start page."""
    return show(request, "home.html", {})
