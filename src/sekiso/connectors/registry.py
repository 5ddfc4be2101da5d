"""The connector types there are."""

from __future__ import annotations

from typing import Any

from sekiso.connectors.base import Connector
from sekiso.connectors.hyperv.connector import HyperVConnector
from sekiso.errors import NotFoundError

_CONNECTORS: tuple[Connector[Any], ...] = (HyperVConnector(),)


def connectors() -> tuple[Connector[Any], ...]:
    """Return every connector type, in the order in which they are offered."""
    return _CONNECTORS


def connector(code: str) -> Connector[Any]:
    """Return a connector type by its code.

    Raises:
        NotFoundError: there is none.
    """
    found = next((c for c in _CONNECTORS if c.declaration.code == code), None)
    if found is None:
        known = ", ".join(c.declaration.code for c in _CONNECTORS)
        raise NotFoundError(what="The connector type", name=code, remedy=f"Choose one of: {known}.")
    return found
