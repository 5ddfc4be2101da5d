"""How the HTTP side behaves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WebSettings:
    """How the HTTP side behaves.

    Attributes:
        hosts: names and addresses that a request may be sent to (its header Host, without port); empty = any.
        body_limit_bytes: largest body of a request.
        upload_limit_bytes: largest file that a user uploads.
        waiting: how many requests may wait for tasks, or watch tests, at once; the others queue for it.
        logins: how many passwords are looked at, at once; the others queue for it.
    """

    hosts: tuple[str, ...] = ()
    body_limit_bytes: int = 1 << 20
    upload_limit_bytes: int = 2 << 30
    waiting: int = 100
    logins: int = 4
