"""The stream of events that open pages listen to."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from sekiso.console.access import pages
from sekiso.console.live import Live

router = pages()


@router.get("/events")
async def events(request: Request, *, again: bool = False) -> StreamingResponse:
    """Stream events: `sekiso:tasks` and `sekiso:agents` say that something of theirs has changed."""
    live: Live = request.app.state.live
    is_again = again or "last-event-id" in request.headers
    return StreamingResponse(live.stream(again=is_again), media_type="text/event-stream")


@router.get("/session")
def session() -> Response:
    """Say whether the session goes on: who is not logged in gets 401 by the kind of route."""
    return Response(status_code=204)
