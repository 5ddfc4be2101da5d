"""Figures of the appliance."""

from __future__ import annotations

from fastapi import Response

from sekiso.services.metrics import MEDIA_TYPE
from sekiso.web.answers import content, topic
from sekiso.web.auth import Use

router = topic("metrics")
_TEXT = content("text/plain", "The figures, in the text format of Prometheus.", {"type": "string"})


@router.get("/metrics", operation_id="get_metrics", response_class=Response, responses=_TEXT)
def get_metrics(use: Use) -> Response:
    """Count tasks, agents, bytes and what the process uses, for Prometheus."""
    return Response(use.metrics.text(), media_type=MEDIA_TYPE)
