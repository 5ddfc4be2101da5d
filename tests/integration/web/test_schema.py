"""The REST API does what its description says, whatever is sent to it (OP-2)."""

from __future__ import annotations

import shutil
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings

from sekiso.model.library import Role
from sekiso.web.app import create_app

from ...unit.web.world import PASSWORD, ROOT, fill, make_world
from ...unit.web.world import settings as settings_of

with warnings.catch_warnings():
    # Its test client prefers a library that is not among the dependencies.
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.checks import CHECKS as CHECKS_BY_NAME
    from schemathesis.checks import load_all_checks
    from schemathesis.config import SchemathesisConfig

load_all_checks()
CHECKS = [
    CHECKS_BY_NAME.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
]
#: 503 is an answer: something that is needed is away, such as an agent.
EXPECTED = ["2xx", "3xx", "4xx", 503]
CONFIG = {
    "checks": {"not_a_server_error": {"expected-statuses": EXPECTED}},
    "generation": {"max-examples": 3, "deterministic": True, "database": "none"},
}
#: Objects that are there, by the parameter of a path. The administrator who asks is not among them.
KNOWN = {
    "users": ("publisher",),
    "agents": ("hv01", "spare"),
    "connectors": ("hyperv",),
    "connector-configurations": ("prod",),
    "layers": ("l-os", "l-app", "nginx"),
    "layer-versions": ("v-os", "v-os2", "v-app", "v-edit"),
    "image-templates": ("web",),
    "images": ("i-1",),
    "tasks": ("t-queued", "t-failed"),
}
#: The same for the fields of bodies.
BODIES: dict[str, Any] = {
    "configuration": "prod",
    "connector": "hyperv",
    "values": settings_of(name="fresh"),
    "os_version_id": "v-os",
    "from_version_id": "v-app",
    "app_version_ids": ["v-app"],
    "version_ids": ["v-os", "v-app"],
    "prerequisite_version_ids": [],
    "platform_version_id": None,
    "run_once_upload_id": None,
    "size_bytes": None,
    "templates": ["web"],
    "old": PASSWORD,
    "password": PASSWORD,
    "valid_s": 600.0,
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schema")
    made = make_world(folder)
    fill(made)
    made.close()
    return folder


@pytest.fixture
def token(original: Path, tmp_path: Path) -> Iterator[str]:
    """An administrator's token in a world of its own: what one operation deletes, others still find."""
    world = make_world(shutil.copytree(original, tmp_path / "state"))
    DOOR.app = world.app()
    yield world.token(Role.ADMINISTRATOR)
    world.close()


class Door:
    """Leads to an application; the tests have to be there before there is a world."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


@schemathesis.serializer("application/x-tar")
def _as_it_is(_: Any, value: Any) -> Any:
    return value if isinstance(value, bytes) else str(value).encode()


# Without services it can only describe itself.
DOOR = Door(create_app(cast("Any", None)))
schema: Any = schemathesis.openapi.from_asgi(
    f"{ROOT}/openapi.json", DOOR, config=SchemathesisConfig.from_dict(CONFIG)
)


@pytest.mark.slow
@schema.parametrize()
# Each operation has a world of its own, not each example.
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_the_api_keeps_to_its_description(case: Any, token: str) -> None:
    _use_known_objects(case)
    if case.path.endswith("/wait") and not isinstance((case.query or {}).get("timeout_s"), str):
        # Nobody carries tasks out here: it would wait all of the time.
        case.query = {**(case.query or {}), "timeout_s": 0}
    case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, checks=CHECKS)


def _use_known_objects(case: Any) -> None:
    """Let about half of the requests reach objects that are there; made-up names seldom do."""
    known = KNOWN.get(case.path.removeprefix(f"{ROOT}/").removeprefix("/").partition("/")[0], ())
    for name, value in (case.path_parameters or {}).items():
        number = _number(value)
        if known and number % 2:
            case.path_parameters[name] = known[number // 2 % len(known)]
    if isinstance(case.body, dict) and _number(case.body) % 2 and "/connectors/" not in case.path:
        case.body = {name: BODIES.get(name, value) for name, value in case.body.items()}


def _number(value: Any) -> int:
    return zlib.crc32(repr(value).encode("utf-8", "surrogatepass"))
