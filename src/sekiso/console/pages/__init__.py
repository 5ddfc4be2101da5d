"""The pages, by topic: each module has the router of its pages."""

from __future__ import annotations

from sekiso.console.pages import (
    account,
    connectors,
    events,
    help,
    home,
    images,
    layers,
    login,
    machine,
    system,
    tasks,
)

#: Every router.
ROUTERS = (
    login.router,
    events.router,
    home.router,
    connectors.router,
    images.router,
    layers.router,
    system.router,
    account.router,
    help.router,
    machine.router,
    tasks.router,
)
