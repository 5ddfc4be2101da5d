"""Whether the appliance answers, and how it is."""

from __future__ import annotations

from dataclasses import dataclass

from sekiso import __version__
from sekiso.services.health import HealthView
from sekiso.web.answers import open_topic, topic
from sekiso.web.auth import Language, Use
from sekiso.web.shown import shown_health

open_router = open_topic("health")
router = topic("health")


@dataclass(frozen=True, slots=True)
class Health:
    """That the appliance answers, and its version."""

    status: str
    version: str


@open_router.get("/health", operation_id="get_health")
def get_health() -> Health:
    """Say that the appliance answers; needs no login."""
    return Health("ok", __version__)


@router.get("/health/details", operation_id="get_health_details")
def get_health_details(use: Use, language: Language) -> HealthView:
    """Look at everything that can go wrong; each with what to do."""
    return shown_health(use.health.look(), language)
