"""From a thread into an event loop that may not run yet, or not any more."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


def soon(loop: asyncio.AbstractEventLoop | None, what: Coroutine[Any, Any, None]) -> None:
    """Have an event loop do something; dropped if it does not run."""
    if loop is None:
        what.close()
        return
    try:
        asyncio.run_coroutine_threadsafe(what, loop)
    except RuntimeError:  # it has been closed
        what.close()
