"""The application: routes, errors, limits and headers."""

from __future__ import annotations

from typing import Any

import anyio
from fastapi import FastAPI

from sekiso import __version__
from sekiso.web.answers import ROOT
from sekiso.web.api import OPEN_ROUTERS, ROUTERS
from sekiso.web.guard import Guard
from sekiso.web.handlers import add_handlers
from sekiso.web.openapi import describe
from sekiso.web.screen import Screens
from sekiso.web.screen import router as screen_router
from sekiso.web.services import Services
from sekiso.web.settings import WebSettings

_DESCRIPTION = (
    "Image layering for Microsoft Hyper-V. Errors are problem documents (RFC 9457) in the language of "
    "Accept-Language. Log in by POST /session, or send an API token as Authorization: Bearer. What takes "
    "long answers 202 with a task."
)


class _Api(FastAPI):
    """The application with its own description."""

    def openapi(self) -> dict[str, Any]:
        """Return the description; it is made once."""
        if self.openapi_schema is None:
            open_ids = {getattr(route, "operation_id", "") for r in OPEN_ROUTERS for route in r.routes}
            self.openapi_schema = describe(self, open_ids=frozenset(open_ids))
        return self.openapi_schema


def create_app(services: Services, *, settings: WebSettings | None = None) -> FastAPI:
    """Return the application of an appliance.

    Args:
        services: what it serves.
        settings: how it behaves.
    """
    settings = settings or WebSettings()
    app = _Api(
        title="Sekiso",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url=f"{ROOT}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    #: The screens that are shown, and the threads that they wait in.
    app.state.screens = Screens(settings.screens)
    #: For what waits long: it must not take the threads that everything else needs.
    app.state.waiting = anyio.CapacityLimiter(settings.waiting)
    #: Each look at a password takes a lot of memory, on purpose.
    app.state.logins = anyio.CapacityLimiter(settings.logins)
    for router in (*OPEN_ROUTERS, *ROUTERS):
        app.include_router(router, prefix=ROOT)
    app.include_router(screen_router, prefix=ROOT)
    add_handlers(app)
    app.add_middleware(Guard, settings=settings, uploads=f"{ROOT}/uploads/")
    return app
