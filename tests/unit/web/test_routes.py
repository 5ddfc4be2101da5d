"""Every route once: status and shape with the role it needs, and refused below that role."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from sekiso.agent.pki import certificate_request, new_key
from sekiso.model.library import Role
from sekiso.model.task import TaskState
from sekiso.services.core import APPLIANCE

from .world import PASSWORD, PNG, ROOT, World, problem, settings, tar_of

ADMIN, MANAGER, PUBLISHER, READER = Role.ADMINISTRATOR, Role.LAYER_MANAGER, Role.PUBLISHER, Role.READ_ONLY
BELOW = {ADMIN: MANAGER, MANAGER: PUBLISHER, PUBLISHER: READER}
TEMPLATE = {"name": "two", "configuration": "prod", "os_version_id": "v-os"}
LAYER = {"kind": "app", "name": "curl", "version": "1", "configuration": "prod", "os_version_id": "v-os"}
IMPORT = {"configuration": "prod", "source": {"machine": "template"}, "name": "Ubuntu", "version": "24"}


@dataclass(frozen=True)
class Call:
    """One request: what it needs, what it answers."""

    method: str
    path: str
    status: int
    role: Role | None = READER
    body: Any = None
    #: Keys of the answer, or of the first item of the list that it is.
    keys: frozenset[str] = frozenset()
    #: The path as the description names it.
    template: str = ""
    #: A refusal that shows that the route reached its service.
    code: str = ""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def call(method: str, path: str, status: int, keys: str = "", **more: Any) -> Call:
    return Call(method, path, status, keys=frozenset(keys.split()), **more)


TASK = "id kind state subjects params requested_by step percent error created_s"
CONFIGURATION = "id connector name settings agent_name agent_online firmware violations warnings used_by"
AGENT = "id name online revoked version hypervisor last_seen_s registered_s certificate_expires_s used_by"
CERTIFICATE = (
    "subject issuer names valid_from_s valid_until_s sha256 key self_signed chain used_by waiting_agents"
    " request warnings"
)
SETTINGS = "connector path file problem in_force pending_restart warnings"
MACHINE = "version_id state ready gate"
TEMPLATES = "template configuration_name layers images last_published_s"
VERSION = "version layer_name kind used_by made_on"

CALLS = (
    call("GET", "/health", 200, "status version", role=None),
    call("GET", "/health/details", 200, "state version time_s started_s checks"),
    call("GET", "/metrics", 200),
    call("GET", "/logs/bundle?days=3", 200, role=ADMIN),
    call("GET", "/certificate", 200, CERTIFICATE),
    call("POST", "/certificate/generate", 200, CERTIFICATE, role=ADMIN, body={"days": 30}),
    call(
        "POST", "/certificate/upload", 422, role=ADMIN, body={"certificate": ""}, code="certificate.refused"
    ),
    call("POST", "/certificate/request", 201, "subject names key pem", role=ADMIN),
    call("DELETE", "/certificate/request", 404, role=ADMIN, code="not-found"),
    call("GET", "/settings", 200, "values fields hosts facts"),
    call(
        "PATCH",
        "/settings",
        200,
        "values fields hosts facts",
        role=ADMIN,
        body={"values": {"session_hours": 8}},
    ),
    call(
        "POST",
        "/session",
        200,
        "csrf user role expires_s",
        role=None,
        body={"name": "publisher", "password": PASSWORD},
    ),
    call("GET", "/session", 200, "user role csrf"),
    call("DELETE", "/session", 204),
    call("GET", "/users", 200, "id name role disabled locked created_s"),
    call("GET", "/users/publisher", 200, "id name role"),
    call(
        "POST",
        "/users",
        201,
        "id name role",
        role=ADMIN,
        body={"name": "eve", "password": PASSWORD, "role": "publisher"},
    ),
    call("PATCH", "/users/publisher", 200, "id name role", role=ADMIN, body={"disabled": True}),
    call("DELETE", "/users/publisher", 204, role=ADMIN),
    call("POST", "/users/me/password", 204, body={"old": PASSWORD, "new": "another long one"}),
    call("GET", "/tokens", 200, "id name created_s expires_s last_used_s"),
    call("POST", "/tokens", 201, "id name token expires_s", body={"name": "ci", "valid_s": 3600}),
    call("DELETE", "/tokens/none", 404, code="not-found"),
    call("GET", "/audit?limit=5", 200, "number time_s actor action subject_kind details hash", role=ADMIN),
    call("GET", "/audit/export?format=jsonl&text=user", 200, role=ADMIN),
    call("GET", "/audit/verify", 200, "whole first_broken", role=ADMIN),
    call(
        "POST",
        "/agents/register",
        422,
        role=None,
        body={"token": "x", "request": "y", "host_name": "h"},
        code="agent.token-refused",
    ),
    call("GET", "/agents", 200, AGENT),
    call("GET", "/agents/hv01", 200, AGENT),
    call("PATCH", "/agents/spare", 200, AGENT, role=ADMIN, body={"name": "hv02"}),
    call("DELETE", "/agents/spare", 204, role=ADMIN),
    call(
        "GET",
        "/agents/hv01/inventory?refresh=true",
        200,
        "agent_version platform switches template_vms volumes",
    ),
    call("POST", "/agents/spare/revoke", 200, AGENT, role=ADMIN),
    call("GET", "/agent-tokens", 200),
    call(
        "POST", "/agent-tokens", 201, "id token expires_s", role=ADMIN, body={"name": "hv03", "valid_s": 600}
    ),
    call("DELETE", "/agent-tokens/none", 404, role=ADMIN, code="not-found"),
    call("GET", "/connectors", 200, "code label help abilities schema"),
    call(
        "POST", "/connectors/hyperv/form", 200, "values sections firmware", body={"values": {"generation": 2}}
    ),
    call("GET", "/connectors/hyperv/settings", 200, SETTINGS),
    call(
        "PUT",
        "/connectors/hyperv/settings",
        200,
        SETTINGS,
        role=ADMIN,
        body={"values": {"useHttpsFileTransfer": True}},
    ),
    call("POST", "/connectors/hyperv/restart", 200, SETTINGS, role=ADMIN),
    call("GET", "/connector-configurations", 200, CONFIGURATION),
    call("POST", "/connector-configurations", 201, CONFIGURATION, role=ADMIN, body={"values": settings()}),
    call("GET", "/connector-configurations/export", 200),
    call(
        "POST",
        "/connector-configurations/apply?dry_run=true",
        400,
        role=ADMIN,
        body=[{}],
        code="connector.document",
    ),
    call(
        "POST",
        "/connector-configurations/test",
        200,
        "code title status detail what_to_do fields",
        role=ADMIN,
        body={"values": settings()},
    ),
    call("GET", "/connector-configurations/prod", 200, CONFIGURATION),
    call(
        "PUT", "/connector-configurations/prod", 200, CONFIGURATION, role=ADMIN, body={"values": {"cpus": 4}}
    ),
    call("DELETE", "/connector-configurations/prod", 409, role=ADMIN, code="in-use"),
    call(
        "POST", "/connector-configurations/prod/clone", 201, CONFIGURATION, role=ADMIN, body={"name": "copy"}
    ),
    call(
        "POST",
        "/connector-configurations/prod/test",
        200,
        "code title status detail what_to_do fields",
        role=ADMIN,
    ),
    call(
        "GET", "/connector-configurations/prod/cache", 200, "disks file_bytes hits misses evictions rebuilt"
    ),
    call(
        "POST",
        "/connector-configurations/prod/cache/clear",
        200,
        "disks hits",
        role=MANAGER,
        body={"keys": ["ab"]},
    ),
    call("GET", "/layers?kind=app", 200, "layer versions file_bytes os_layer_name"),
    call("POST", "/layers", 202, TASK, role=MANAGER, body=LAYER),
    call("POST", "/layers/import-os", 202, TASK, role=MANAGER, body=IMPORT),
    call("POST", "/layers/conflicts", 200, "conflicts", body={"version_ids": ["v-os", "v-app"]}),
    call("GET", "/layers/nginx", 200, "layer versions"),
    call("PATCH", "/layers/nginx", 200, "layer versions", role=MANAGER, body={"priority": 7}),
    call("DELETE", "/layers/nginx", 409, role=MANAGER, code="in-use"),
    call("POST", "/layers/nginx/clone", 201, "layer versions", role=MANAGER, body={"name": "nginx 2"}),
    call(
        "POST",
        "/layers/nginx/versions",
        202,
        TASK,
        role=MANAGER,
        body={"name": "2.0", "configuration": "prod"},
    ),
    call("GET", "/layer-versions/v-os", 200, VERSION),
    call("DELETE", "/layer-versions/v-os2", 202, TASK, role=MANAGER),
    call(
        "POST",
        "/layer-versions/v-edit/finalize",
        404,
        role=MANAGER,
        body={"override_gate": True},
        code="not-found",
    ),
    call("POST", "/layer-versions/v-edit/discard", 202, TASK, role=MANAGER),
    call("GET", "/layer-versions/v-os/files?path=/", 200, "path entries total"),
    call("GET", "/layer-versions/v-os/diff/v-app", 200, "differences counts total"),
    call("GET", "/layer-versions/v-os/export", 200, role=MANAGER),
    call("GET", "/layer-versions/v-edit/machine", 200, MACHINE),
    call("POST", "/layer-versions/v-edit/machine/start", 200, MACHINE, role=MANAGER),
    call("POST", "/layer-versions/v-edit/machine/shut-down", 200, MACHINE, role=MANAGER),
    call("POST", "/layer-versions/v-edit/machine/turn-off", 200, MACHINE, role=MANAGER),
    call("GET", "/layer-versions/v-edit/machine/screenshot", 200),
    call("GET", "/layer-versions/v-edit/machine/screen", 200, "kind"),
    call("GET", "/layer-versions/v-edit/machine/screen.rdp", 200),
    call("POST", "/layer-versions/v-edit/machine/keys", 204, role=MANAGER, body={"keys": ["enter"]}),
    call("POST", "/uploads/run-once", 201, "id", role=MANAGER, body=tar_of(("run.sh", b"true"))),
    call("GET", "/image-templates", 200, TEMPLATES),
    call("POST", "/image-templates", 201, TEMPLATES, role=PUBLISHER, body=TEMPLATE),
    call(
        "POST", "/image-templates/publish", 202, TASK, role=PUBLISHER, body={"templates": ["web"], "count": 2}
    ),
    call("GET", "/image-templates/web", 200, TEMPLATES),
    call("PUT", "/image-templates/web", 200, TEMPLATES, role=PUBLISHER, body={**TEMPLATE, "name": "web"}),
    call("DELETE", "/image-templates/web", 204, role=PUBLISHER),
    call("POST", "/image-templates/web/clone", 201, TEMPLATES, role=PUBLISHER, body={"name": "web 2"}),
    call("GET", "/image-templates/web/history", 200, "id name revision configuration_id os_version_id"),
    # The layers of this world hold no operating system.
    call("GET", "/image-templates/web/preview", 422, code="input.unsupported"),
    call("GET", "/images", 200, "image configuration_name agent_name layers"),
    call("GET", "/images/i-1", 200, "image configuration_name"),
    call("DELETE", "/images/i-1", 202, TASK, role=PUBLISHER),
    call("POST", "/images/i-1/boot-test", 202, TASK, role=PUBLISHER),
    call("GET", "/images/i-1/screenshot", 200),
    call("GET", "/tasks?state=failed&kind=publish-image&text=web&limit=5", 200, TASK),
    call("GET", "/tasks/t-queued", 200, TASK),
    call("GET", "/tasks/t-queued/log?after=1", 200),
    call("GET", "/tasks/t-failed/wait?timeout_s=1", 200, TASK),
    call("POST", "/tasks/t-queued/cancel", 200, TASK, role=PUBLISHER),
    call("POST", "/tasks/t-failed/retry", 200, TASK, role=PUBLISHER),
)
#: Those that reading users do of their own.
OWN = {"POST /users/me/password", "POST /tokens", "DELETE /session"}


def send(world: World, token: str | None, wanted: Call) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body: Mapping[str, Any] = (
        {"content": wanted.body}
        if isinstance(wanted.body, bytes)
        else {"json": wanted.body}
        if wanted.body is not None
        else {}
    )
    return world.client().request(wanted.method, ROOT + wanted.path, headers=headers, **body)


def described(world: World) -> set[tuple[str, str]]:
    paths: dict[str, dict[str, Any]] = world.app().openapi()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def test_every_route_is_called_here(quiet_world: World) -> None:
    patterns = {
        (method, path): re.compile(re.sub(r"{\w+}", "[^/]+", path)) for method, path in described(quiet_world)
    }
    called = {(c.method, ROOT + c.path.partition("?")[0]) for c in CALLS}
    left = {
        key
        for key, pattern in patterns.items()
        if not any(method == key[0] and pattern.fullmatch(path) for method, path in called)
    }
    assert left == set()
    assert len(CALLS) == len(patterns)


def named(calls: Iterable[Call]) -> Any:
    return pytest.mark.parametrize("wanted", tuple(calls), ids=lambda c: c.name)


@named(c for c in CALLS if c.method == "GET")
def test_readings(quiet_world: World, quiet_tokens: dict[Role, str], wanted: Call) -> None:
    token = quiet_tokens[wanted.role] if wanted.role is not None else None
    check(send(quiet_world, token, wanted), wanted)


@named(c for c in CALLS if c.method != "GET")
def test_changes(world: World, wanted: Call) -> None:
    token = world.token(wanted.role) if wanted.role is not None else None
    check(send(world, token, wanted), wanted)


def check(answer: httpx.Response, wanted: Call) -> None:
    if wanted.code:
        problem(answer, wanted.status, wanted.code)
        return
    assert answer.status_code == wanted.status, answer.text
    if wanted.status == 204:
        assert answer.content == b""
        return
    if not wanted.keys:
        return
    found = answer.json()
    first = found[0] if isinstance(found, list) else found
    assert wanted.keys <= set(first)
    if wanted.status == 202:
        assert first["state"] in {s.value for s in TaskState}
        if isinstance(found, dict):
            assert answer.headers["location"] == f"{ROOT}/tasks/{found['id']}"


@named(c for c in CALLS if c.role in BELOW)
def test_the_role_below_is_refused(quiet_world: World, quiet_tokens: dict[Role, str], wanted: Call) -> None:
    assert wanted.role is not None
    answer = send(quiet_world, quiet_tokens[BELOW[wanted.role]], wanted)
    found = problem(answer, 403, "not-allowed")
    assert found["params"]["needed"] == wanted.role.value


def test_every_change_needs_more_than_reading() -> None:
    changes = {c.name for c in CALLS if c.method != "GET" and c.role is READER}
    readings = {"POST /connectors/hyperv/form", "POST /layers/conflicts", "DELETE /tokens/none"}
    assert changes - readings == OWN


@named(c for c in CALLS if c.role is not None)
@pytest.mark.parametrize("body", ["as it is", "malformed"])
def test_nobody_gets_anywhere_without_login(quiet_world: World, wanted: Call, body: str) -> None:
    asked = replace(wanted, body=b"{") if body == "malformed" and wanted.body is not None else wanted
    for token in (None, "guessed"):
        answer = send(quiet_world, token, asked)
        problem(answer, 401, "login.needed")
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_open_routes_are_these() -> None:
    assert {c.name for c in CALLS if c.role is None} == {
        "GET /health",
        "POST /session",
        "POST /agents/register",
    }


def test_pictures_and_files_come_as_they_are(world: World) -> None:
    client = world.client(MANAGER)
    for path in ("/images/i-1/screenshot", "/layer-versions/v-edit/machine/screenshot"):
        answer = client.get(ROOT + path)
        assert answer.content == PNG
        assert answer.headers["content-type"] == "image/png"
    answer = client.get(f"{ROOT}/layer-versions/v-os/export")
    assert answer.content.startswith(b"MSWIM")
    assert answer.headers["content-disposition"].startswith("attachment")


def test_an_agent_is_registered_by_its_token(world: World) -> None:
    token = world.services.agents.create_token(APPLIANCE, name="hv09").token.partition(".")[0]
    body = {"token": token, "request": certificate_request(new_key()).decode(), "host_name": "h"}
    answer = world.client().post(f"{ROOT}/agents/register", json=body)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"agent_id", "name", "certificate", "link_port", "pins"}
    assert answer.json()["name"] == "hv09"
    problem(world.client().post(f"{ROOT}/agents/register", json=body), 422, "agent.token-refused")


def test_a_removed_layer_is_several_tasks(world: World) -> None:
    client = world.client(MANAGER)
    client.post(f"{ROOT}/layers/nginx/clone", json={"name": "copy"})
    answer = client.delete(f"{ROOT}/layers/copy")
    assert answer.status_code == 202
    assert [task["kind"] for task in answer.json()] == ["delete-layer-version"]
