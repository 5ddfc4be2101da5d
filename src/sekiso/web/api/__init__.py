"""The routes of the REST API, by topic."""

from __future__ import annotations

from sekiso.web.api import (
    agents,
    audit,
    cache,
    certificate,
    configurations,
    connectors,
    documents,
    health,
    images,
    layers,
    logs,
    machines,
    metrics,
    session,
    settings,
    tasks,
    templates,
    tokens,
    uploads,
    users,
    versions,
)

#: Routes that nobody has to be logged in for.
OPEN_ROUTERS = (health.open_router, session.open_router, agents.open_router)
#: All others. `documents` is before `configurations`, whose references would take its paths.
ROUTERS = (
    session.router,
    users.router,
    tokens.router,
    audit.router,
    health.router,
    metrics.router,
    logs.router,
    certificate.router,
    settings.router,
    agents.router,
    connectors.router,
    documents.router,
    configurations.router,
    cache.router,
    layers.router,
    versions.router,
    machines.router,
    uploads.router,
    templates.router,
    images.router,
    tasks.router,
)
