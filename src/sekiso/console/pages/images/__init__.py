"""The Images pages: image templates and what was published from them (IM-1 … IM-6)."""

from __future__ import annotations

from fastapi import APIRouter

from sekiso.console.pages.images import actions, plans, published, revisions, templates, wizard

router = APIRouter()
# An address of templates is never that of an image: they come first.
for _part in (wizard, actions, templates, plans, revisions, published):
    router.include_router(_part.router)
