"""The administrator's guide in the console (OP-3)."""

from __future__ import annotations

from fastapi import Request, Response

from sekiso.console.access import pages
from sekiso.console.guide import guide
from sekiso.console.reader import reader_of
from sekiso.console.rendering import show
from sekiso.i18n import LANGUAGES

router = pages("/help")


@router.get("")
def show_guide(request: Request, language: str = "") -> Response:
    """Show the guide, in the reader's language unless another one is asked for."""
    chosen = language if language in LANGUAGES else reader_of(request).language
    return show(request, "help.html", {"guide": guide(chosen), "guide_language": chosen})
