"""The description of the API (OpenAPI 3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from sekiso.web.auth import COOKIE, CSRF_HEADER
from sekiso.web.problems import Problem

_REF = "#/components/schemas/{model}"
_SCHEMES: dict[str, Any] = {
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": f"By POST /session. Changes need the header {CSRF_HEADER} besides.",
    },
    "token": {"type": "http", "scheme": "bearer", "description": "An API token."},
}
_TAGS = {
    "health": "Whether the appliance answers, and how it is.",
    "metrics": "Figures for Prometheus.",
    "logs": "Logs and support bundles.",
    "certificate": "The certificate of the appliance.",
    "settings": "The settings of the appliance.",
    "session": "Login and logout.",
    "users": "Users and their roles.",
    "API tokens": "For programs.",
    "audit": "Who did what, in a chain that shows every change.",
    "agents": "Agents on the hypervisors' hosts, and their registration.",
    "connectors": "Connector types and their config.json.",
    "connector configurations": "Where images are made and published, and how.",
    "cache": "Layer disk caches at the storage paths.",
    "layers": "OS, platform and app layers.",
    "layer versions": "Their versions.",
    "packaging machines": "Machines that layers are made on.",
    "uploads": "Files for packaging machines.",
    "image templates": "The recipes of images.",
    "images": "Published images.",
    "tasks": "Everything that takes long.",
}


def describe(app: FastAPI, *, open_ids: frozenset[str]) -> dict[str, Any]:
    """Return the description of an application.

    Args:
        app: the application.
        open_ids: identifiers of the operations that need no login.
    """
    found = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
    )
    components = found.setdefault("components", {})
    components["securitySchemes"] = _SCHEMES
    schema = Problem.model_json_schema(ref_template=_REF)
    components.setdefault("schemas", {}).update({**schema.pop("$defs"), "Problem": schema})
    found["servers"] = [{"url": "/", "description": "This appliance."}]
    for operation in _operations(found):
        _complete(operation, needs_login=operation["operationId"] not in open_ids)
    return found


def _operations(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in found["paths"].values():
        yield from path.values()


def _complete(operation: dict[str, Any], *, needs_login: bool) -> None:
    # The first sentence says what it does; the rest is the description.
    summary, _, rest = operation.pop("description", "").partition(". ")
    operation["summary"] = summary.rstrip(".")
    if rest:
        operation["description"] = rest
    operation["security"] = [{name: []} for name in _SCHEMES] if needs_login else []
