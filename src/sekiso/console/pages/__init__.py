"""The pages, by topic: each module has the router of its pages."""

from __future__ import annotations

from sekiso.console.pages import events, home, login

#: Every router.
ROUTERS = (
    login.router,
    events.router,
    home.router,
)
