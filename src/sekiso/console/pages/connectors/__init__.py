"""Connectors: configurations, their test and files, config.json, layer disk caches (CC-1 … CC-11, IM-4)."""

from __future__ import annotations

from fastapi import APIRouter

from sekiso.console.pages.connectors import cache, editing, files, listing, settings, showing, testing

router = APIRouter()
# Those with fixed addresses first: the others take whatever stands after /connectors/ for an identifier.
for _module in (listing, settings, files, testing, editing, cache, showing):
    for _router in _module.routers:
        router.include_router(_router)
