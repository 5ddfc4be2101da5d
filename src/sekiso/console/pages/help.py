"""The administrator's guide in the console (OP-3)."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path, Request, Response

from sekiso.console.access import pages
from sekiso.console.guide import guide, picture
from sekiso.console.reader import reader_of
from sekiso.console.rendering import show
from sekiso.errors import NotFoundError
from sekiso.i18n import LANGUAGES

router = pages("/help")


@router.get("")
def show_guide(request: Request, language: str = "") -> Response:
    """Show the guide, in the reader's language unless another one is asked for."""
    chosen = language if language in LANGUAGES else reader_of(request).language
    return show(request, "help.html", {"guide": guide(chosen), "guide_language": chosen})


@router.get("/pictures/{language}/{name}.png")
def show_picture(
    language: Literal["en", "ja"], name: Annotated[str, Path(pattern="^[a-z0-9-]{1,60}$")]
) -> Response:
    """Return a picture of the guide."""
    found = picture(language, name)
    if found is None:
        raise NotFoundError(what="The picture", name=name, remedy="Look at the guide.")
    return Response(found, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})
