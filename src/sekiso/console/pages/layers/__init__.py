"""Layers, their versions, and the wizards that make them (LY-1 … LY-7)."""

from __future__ import annotations

from fastapi import APIRouter

from sekiso.console.pages.layers import (
    add_version,
    comparing,
    contents,
    create,
    import_os,
    layer,
    lists,
    pickers,
    version,
)

router = APIRouter()
# Fixed addresses before those with an identifier in them.
for _part in (import_os, create, pickers, contents, comparing, version, add_version, lists, layer):
    router.include_router(_part.router)
