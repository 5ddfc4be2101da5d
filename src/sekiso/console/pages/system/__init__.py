"""The System pages: agents, users, audit history, and the appliance itself (AG-1, AG-3, OP-4)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from sekiso.console.access import pages
from sekiso.console.answers import go
from sekiso.console.pages.system import agents, appliance, audit, certificate, registration, users

_start = pages("/system")


@_start.get("")
def system(request: Request) -> Response:
    """Lead to the first of the pages, which everyone may see."""
    return go(request, "/system/agents")


router = APIRouter()
_PARTS = (
    _start,
    registration.router,
    agents.router,
    users.router,
    audit.router,
    certificate.router,
    appliance.router,
)
for _part in _PARTS:
    router.include_router(_part)
