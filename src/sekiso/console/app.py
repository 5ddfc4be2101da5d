"""The console as an application, and the site: REST API and console at one address."""

from __future__ import annotations

import anyio
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from sekiso.console import assets
from sekiso.console.failures import Failures, add_handlers
from sekiso.console.live import Live
from sekiso.console.pages import ROUTERS
from sekiso.web.guard import Guard
from sekiso.web.services import Services
from sekiso.web.settings import WebSettings

_UPLOADS = "/uploads/"


def create_console(services: Services, *, settings: WebSettings | None = None) -> FastAPI:
    """Return the console of an appliance.

    Args:
        services: what it serves.
        settings: how it behaves.
    """
    settings = settings or WebSettings()
    app = FastAPI(title="Sekiso", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.services = services
    app.state.live = Live(services)
    #: For what waits long: it must not take the threads that everything else needs.
    app.state.waiting = anyio.CapacityLimiter(settings.waiting)
    #: Each look at a password takes a lot of memory, on purpose.
    app.state.logins = anyio.CapacityLimiter(settings.logins)
    for router in ROUTERS:
        app.include_router(router)
    app.mount(assets.ROOT, assets.Assets())
    add_handlers(app)
    app.add_middleware(Failures)
    app.add_middleware(Guard, settings=settings, uploads=_UPLOADS)
    return app


class Site:
    """REST API below `/api`, console everywhere else."""

    def __init__(self, api: ASGIApp, console: ASGIApp) -> None:
        """Put both together."""
        self._api, self._console = api, console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a connection to the one that it is for."""
        path = f"{scope.get('path', '')}/"
        await (self._api if path.startswith("/api/") else self._console)(scope, receive, send)
