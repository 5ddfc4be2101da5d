"""What a version holds, folder by folder (LY-7). A process of its own reads it, which takes a moment."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Request, Response

from sekiso.console.access import pages
from sekiso.console.failures import failure_of
from sekiso.console.pages.layers.version import version_frame
from sekiso.console.rendering import show
from sekiso.errors import SekisoError
from sekiso.model.library import VersionState
from sekiso.web.auth import Use
from sekiso.wim.tree import ARCHIVE, COMPRESSED, ENCRYPTED, HIDDEN, READONLY, SYSTEM

router = pages("/layers/versions")

PathOf = Annotated[str, Query(max_length=4000, pattern=r"^[^\x00]*$")]
_FIRST_ROWS, _MOST_ROWS = 500, 10_000
#: As `attrib` writes them on Windows.
_LETTERS = {ARCHIVE: "A", SYSTEM: "S", HIDDEN: "H", READONLY: "R", COMPRESSED: "C", ENCRYPTED: "E"}


@router.get("/{version_id}/contents")
def contents_page(request: Request, version_id: str, use: Use, path: PathOf = "/") -> Response:
    """Show the frame of a version's content; the page then asks for the folder itself."""
    frame = version_frame(use, version_id, "contents")
    is_ready = frame["version"].state is VersionState.DEPLOYABLE
    return show(request, "layers/contents.html", {**frame, "is_ready": is_ready, "path": path or "/"})


@router.get("/{version_id}/files")
def files(
    request: Request,
    version_id: str,
    use: Use,
    path: PathOf = "/",
    limit: Annotated[int, Query(ge=1, le=_MOST_ROWS)] = _FIRST_ROWS,
    moved: Literal["", "1"] = "",
) -> Response:
    """Show what a version holds in one folder."""
    context = {"version_id": version_id, "crumbs": _crumbs(path), "moved": bool(moved), "failure": None}
    try:
        found = use.layers.files(version_id, path, limit=limit)
    except SekisoError as error:
        context |= {"failure": failure_of(error, request), "found": None}
        return show(request, "layers/files.html", context, status=422)
    context |= {
        "found": found,
        "crumbs": _crumbs(found.path),
        "is_linux": any(entry.mode is not None for entry in found.entries),
        "letters": _letters,
        "more": min(_MOST_ROWS, limit * 4) if found.total > len(found.entries) else 0,
        "limit": limit,
    }
    return show(request, "layers/files.html", context)


def _crumbs(path: str) -> list[tuple[str, str]]:
    """Return the folders above a path and itself, each by name and path."""
    parts = [part for part in path.split("/") if part]
    return [(part, "/" + "/".join(parts[: index + 1])) for index, part in enumerate(parts)]


def _letters(attributes: int) -> str:
    return "".join(letter for bit, letter in _LETTERS.items() if attributes & bit)
