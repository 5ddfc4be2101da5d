"""Whether the appliance answers."""

from __future__ import annotations

from dataclasses import dataclass

from sekiso import __version__
from sekiso.web.answers import open_topic

router = open_topic("health")


@dataclass(frozen=True, slots=True)
class Health:
    """That the appliance answers, and its version."""

    status: str
    version: str


@router.get("/health", operation_id="get_health")
def get_health() -> Health:
    """Say that the appliance answers; needs no login."""
    return Health("ok", __version__)
