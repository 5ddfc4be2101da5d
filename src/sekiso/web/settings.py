"""How the HTTP side behaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WebSettings:
    """How the HTTP side behaves.

    Attributes:
        hosts: names and addresses that a request may be sent to (its header Host, without port); empty = any.
        is_own_host: tells whether a request may be sent to a name or address, besides those; None = as above.
        body_limit_bytes: largest body of a request.
        upload_limit_bytes: largest file that a user uploads.
        waiting: how many requests may wait for tasks, or watch tests, at once; the others queue for it.
        screens: how many screens of packaging machines are shown at once; each takes two threads.
        logins: how many passwords are looked at, at once; the others queue for it.
    """

    hosts: tuple[str, ...] = ()
    is_own_host: Callable[[str], bool] | None = None
    body_limit_bytes: int = 1 << 20
    upload_limit_bytes: int = 2 << 30
    waiting: int = 100
    screens: int = 32
    logins: int = 4
