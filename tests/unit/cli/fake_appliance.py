"""A small appliance behind the REST API, in memory: what the command line's tests speak to.

It keeps to the API's form (paths, status codes, problem documents, task records), not to the services' rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

import httpx
import msgspec

from sekiso.agent.contract import CachedDisk, CacheFacts, PackagingState
from sekiso.compositing.jobs.results import Difference, DiffSummary, FileEntry, FilesSummary
from sekiso.connectors.form import describe_form
from sekiso.connectors.hyperv.settings import HYPERV
from sekiso.model.connector import AgentInventory, SwitchItem, TemplateVm, VolumeItem
from sekiso.model.layer import GuestFamily, LayerKind
from sekiso.model.library import (
    GeneralizationChoice,
    ImageRecord,
    ImageState,
    LayerRecord,
    PackagingFacts,
    TemplateRecord,
    VersionRecord,
    VersionState,
)
from sekiso.model.machine import DiskAllocation, DiskFormat, Firmware, Generation, Violation
from sekiso.model.storage_path import HostPlatform
from sekiso.model.task import LogLine, Subject, SubjectKind, TaskKind, TaskRecord, TaskState
from sekiso.web import bodies

NOW_S = 1_770_000_000.0
TOKEN = "0123456789abcdef"
PNG = b"\x89PNG\r\n\x1a\n picture"


class Refusal(Exception):  # noqa: N818
    def __init__(self, status: int, code: str, title: str, **members: Any) -> None:
        self.status = status
        self.document = {
            "type": f"urn:sekiso:error:{code}",
            "title": title,
            "status": status,
            "detail": members.pop("detail", ""),
            "resolution": members.pop("resolution", ""),
            "code": code,
            "params": members.pop("params", {}),
            **members,
        }


class Missing(Refusal):
    def __init__(self, what: str, name: str) -> None:
        super().__init__(404, "not-found", f"{what} {name} does not exist.", family="not_found")


Handler = Callable[..., Any]
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    pattern = re.compile("/api/v1" + re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path))

    def register(handler: Handler) -> Handler:
        ROUTES.append((method, pattern, handler))
        return handler

    return register


def record(kind: TaskKind, name: str, state: TaskState = TaskState.RUNNING, **more: Any) -> TaskRecord:
    subject = more.pop("subject", Subject(SubjectKind.LAYER_VERSION, "v-new", name))
    values: dict[str, Any] = {
        "id": f"task-{kind.value}",
        "kind": kind,
        "state": state,
        "subjects": (subject,),
        "params": {},
        "requested_by": "admin",
        "created_s": NOW_S,
        **more,
    }
    return TaskRecord(**values)


#: What the appliance takes, by method and path.
BODIES: tuple[tuple[str, str, type[bodies.Body]], ...] = (
    ("POST", "/session", bodies.Login),
    ("POST", "/users", bodies.NewUser),
    ("PATCH", "/users/[^/]+", bodies.UserChange),
    ("POST", "/users/me/password", bodies.PasswordChange),
    ("POST", "/certificate/generate", bodies.CertificateWish),
    ("POST", "/certificate/upload", bodies.CertificateFiles),
    ("POST", "/certificate/request", bodies.CertificateRequestWish),
    ("PATCH", "/settings", bodies.SettingsBody),
    ("POST", "/tokens", bodies.TokenWish),
    ("POST", "/agent-tokens", bodies.AgentTokenWish),
    ("PATCH", "/agents/[^/]+", bodies.Renaming),
    ("POST", "/agents/[^/]+/revoke", bodies.Revocation),
    ("POST", "/connectors/[^/]+/form", bodies.FormBody),
    ("PUT", "/connectors/[^/]+/settings", bodies.SettingsBody),
    ("POST", "/connector-configurations", bodies.ConfigurationBody),
    ("POST", "/connector-configurations/test", bodies.ConfigurationTest),
    ("PUT", "/connector-configurations/[^/]+", bodies.ConfigurationChange),
    ("POST", "/connector-configurations/[^/]+/cache/clear", bodies.CacheClearing),
    ("POST", "/[a-z-]+/[^/]+/clone", bodies.Renaming),
    ("POST", "/layers/import-os", bodies.OsImport),
    ("POST", "/layers", bodies.LayerWish),
    ("POST", "/layers/[^/]+/versions", bodies.VersionWish),
    ("PATCH", "/layers/[^/]+", bodies.LayerChange),
    ("POST", "/layers/conflicts", bodies.VersionIds),
    ("POST", "/layer-versions/[^/]+/finalize", bodies.Finalization),
    ("POST", "/layer-versions/[^/]+/machine/keys", bodies.Keys),
    ("POST", "/image-templates", bodies.TemplateBody),
    ("PUT", "/image-templates/[^/]+", bodies.TemplateBody),
    ("POST", "/image-templates/publish", bodies.Publication),
)


def check_body(method: str, path: str, body: Any) -> None:
    """Refuse what the appliance's own models refuse: unknown, missing and mistyped fields."""
    for known, pattern, model in BODIES:
        if known == method and re.fullmatch("/api/v1" + pattern, path):
            model.model_validate(body)


class FakeAppliance(httpx.BaseTransport):
    """Answers requests; `requests` holds what was asked, `scripts` how tasks go on."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        #: Parameters of each request.
        self.queries: list[dict[str, str]] = []
        self.headers: list[httpx.Headers] = []
        self.tasks: dict[str, TaskRecord] = {}
        #: By task: what each look at it changes, in turn.
        self.scripts: dict[str, list[dict[str, Any]]] = {}
        self.refusals: dict[tuple[str, str], Refusal] = {}
        self.uploads: list[bytes] = []
        self.rows: list[dict[str, Any]] = list(PASSED)
        self.lost = 0
        self.broken: int | None = None
        #: What differs from `PACKAGING`.
        self.packaging: dict[str, Any] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.lost:
            self.lost -= 1
            raise httpx.ReadError("connection lost") from ConnectionResetError()
        self.headers.append(request.headers)
        self.queries.append(dict(request.url.params))
        path, data = request.url.raw_path.decode().partition("?")[0], request.read()
        body = json.loads(data) if request.headers.get("content-type") == "application/json" else data
        check_body(request.method, path, body)
        self.requests.append((request.method, unquote(path.removeprefix("/api/v1")), body))
        try:
            return self._answer(request, path, body)
        except Refusal as refusal:
            return httpx.Response(
                refusal.status,
                content=json.dumps(refusal.document).encode(),
                headers={"content-type": "application/problem+json"},
            )

    def _answer(self, request: httpx.Request, path: str, body: Any) -> httpx.Response:
        plain = path.removeprefix("/api/v1")
        if (request.method, plain) in self.refusals:
            raise self.refusals[request.method, plain]
        signed = f"Bearer {TOKEN}" == request.headers.get("authorization") or (
            request.headers.get("cookie") == "sekiso_session=s3cret"
            and (request.method == "GET" or request.headers.get("x-sekiso-csrf") == "csrf")
        )
        if not signed and plain != "/session":
            raise Refusal(401, "not-logged-in", "You are not logged in.")
        for method, pattern, handler in ROUTES:
            match = pattern.fullmatch(path)
            if match and method == request.method:
                parts = {key: unquote(value) for key, value in match.groupdict().items()}
                answer = handler(self, request, body, **parts)
                if isinstance(answer, httpx.Response):
                    return answer
                status = 202 if isinstance(answer, TaskRecord) else 200
                return httpx.Response(status, json=msgspec.to_builtins(answer))
        raise Missing("The address", plain)

    def begin(self, task: TaskRecord, *steps: dict[str, Any]) -> TaskRecord:
        """Have a task that goes on by these changes, one at each look."""
        self.tasks[task.id] = task
        self.scripts[task.id] = [*steps, *self.scripts.get(task.id, [])]
        return task

    def changes(self) -> list[tuple[str, str, Any]]:
        return [r for r in self.requests if r[0] != "GET"]


PASSED: Sequence[dict[str, Any]] = (
    {
        "code": "settings",
        "status": "passed",
        "detail": "The settings are complete and go together.",
        "what_to_do": "",
        "fields": [],
    },
    {
        "code": "agent-known",
        "status": "passed",
        "detail": "The agent is registered with the appliance.",
        "what_to_do": "",
        "fields": [],
    },
)
FAILED = {
    "code": "network-switch",
    "status": "failed",
    "detail": "There is no switch lan.",
    "what_to_do": "Choose another switch.",
    "fields": ["network"],
}


def settings(**values: Any) -> dict[str, Any]:
    return {
        "name": "prod",
        "agent": "hv01",
        "storage_path": "C:\\Virtual Machines",
        "template_vm": None,
        "cpus": 4,
        "memory_mb": 8192,
        "network": None,
        "generation": 2,
        "disk_format": "vhdx",
        "offload": True,
        "storage_unc_path": None,
        "cache_gb": 100,
        **values,
    }


CONFIGURATION = {
    "id": "c-1",
    "connector": "hyperv",
    "name": "prod",
    "settings": settings(),
    "created_s": NOW_S,
    "changed_s": NOW_S,
    "agent_name": "hv01",
    "agent_online": True,
    "violations": [],
    "used_by": [{"kind": "image-template", "id": "t-1", "name": "web"}],
    "warnings": ["HTTPS is off: disks and layers travel unencrypted between the appliance and its agents."],
    "firmware": "uefi",
}
AGENT = {
    "id": "a-1",
    "name": "hv01",
    "online": True,
    "revoked": False,
    "version": "0.1.0",
    "host_name": "hv01.example",
    "hypervisor": "Hyper-V",
    "hypervisor_version": "10.0.20348",
    "platform": "windows",
    "last_seen_s": NOW_S,
    "registered_s": NOW_S,
    "certificate_expires_s": NOW_S + 86400,
    "used_by": [{"kind": "connector-configuration", "id": "c-1", "name": "prod"}],
}
INVENTORY = AgentInventory(
    agent_version="0.1.0",
    host_name="hv01.example",
    platform=HostPlatform.WINDOWS,
    hypervisor_version="10.0.20348",
    account="NT AUTHORITY\\SYSTEM",
    cpus=16,
    memory_mb=65536,
    switches=(SwitchItem("External", "External"),),
    template_vms=(TemplateVm("m-1", "template", Firmware.UEFI, 4, 8192, ("External",)),),
    volumes=(VolumeItem("C:\\", 1 << 40, 1 << 39),),
)


def version(layer_id: str, name: str, state: VersionState, **more: Any) -> VersionRecord:
    values: dict[str, Any] = {
        "id": f"v-{layer_id}-{name}",
        "layer_id": layer_id,
        "name": name,
        "notes": "",
        "state": state,
        "generation": Generation.TWO,
        "identity": "ab" * 32 if state is VersionState.DEPLOYABLE else None,
        "file_bytes": 100 << 20 if state is VersionState.DEPLOYABLE else 0,
        "content_bytes": 300 << 20 if state is VersionState.DEPLOYABLE else 0,
        "created_s": NOW_S,
        **more,
    }
    return VersionRecord(**values)


def layer(layer_id: str, kind: LayerKind, name: str, *versions: VersionRecord) -> dict[str, Any]:
    os_name = "" if kind is LayerKind.OS else "Debian"
    return {
        "layer": LayerRecord(
            id=layer_id,
            kind=kind,
            name=name,
            notes="",
            icon="",
            priority=1 if kind is LayerKind.APP else 0,
            family=GuestFamily.LINUX,
            os_layer_id=None if kind is LayerKind.OS else "os",
            created_s=NOW_S,
        ),
        "versions": [
            {
                "version": v,
                "layer_name": name,
                "kind": kind,
                "used_by": [{"kind": "image-template", "id": "t-1", "name": "web"}],
                "made_on": ["Debian 12"] if os_name else [],
            }
            for v in versions
        ],
        "file_bytes": sum(v.file_bytes for v in versions),
        "os_layer_name": os_name,
    }


PACKAGING = PackagingFacts(
    configuration_id="c-1",
    agent_id="a-1",
    storage_path="C:\\Virtual Machines",
    machine_id="m-7",
    machine_name="nginx 1.23",
    gate=("pending-reboot: kernel",),
    gate_known=True,
)
LAYERS = (
    layer(
        "os",
        LayerKind.OS,
        "Debian",
        version("os", "11", VersionState.DEPLOYABLE),
        version("os", "12", VersionState.DEPLOYABLE),
    ),
    layer(
        "nginx",
        LayerKind.APP,
        "nginx",
        version("nginx", "1.22", VersionState.DEPLOYABLE),
        version("nginx", "1.23", VersionState.EDITING, packaging=PACKAGING),
    ),
    layer("odd", LayerKind.APP, "a:b", version("odd", "1:2", VersionState.DEPLOYABLE)),
    layer("drivers", LayerKind.PLATFORM, "drivers", version("drivers", "1", VersionState.DEPLOYABLE)),
)
TEMPLATE = TemplateRecord(
    id="t-1",
    name="web",
    notes="",
    revision=2,
    configuration_id="c-1",
    os_version_id="v-os-12",
    app_version_ids=("v-nginx-1.22",),
    platform_version_id="v-drivers-1",
    disk_name="disk",
    disk_format=DiskFormat.VHDX,
    allocation=DiskAllocation.DYNAMIC,
    size_bytes=None,
    generalization=GeneralizationChoice.OFFLINE,
    created_s=NOW_S,
    changed_s=NOW_S,
)
TEMPLATE_VIEW = {
    "template": TEMPLATE,
    "configuration_name": "prod",
    "layers": ["Debian 12", "nginx 1.22", "drivers 1"],
    "images": 1,
    "last_published_s": NOW_S,
}
IMAGE = {
    "image": ImageRecord(
        id="i-1",
        name="web 2026-02-02 02-40-00",
        template_id="t-1",
        template_name="web",
        template_revision=2,
        configuration_id="c-1",
        agent_id="a-1",
        storage_path="C:\\Virtual Machines",
        version_ids=("v-os-12",),
        generation=Generation.TWO,
        disk_format=DiskFormat.VHDX,
        state=ImageState.PUBLISHED,
        disk_path="C:\\Virtual Machines\\web\\disk.vhdx",
        machine_id="m-9",
        file_bytes=2 << 30,
        facts={"layer_bytes_sent": 0, "cache_hit": True},
        created_s=NOW_S,
    ),
    "configuration_name": "prod",
    "agent_name": "hv01",
    "layers": ["Debian 12", "nginx 1.22"],
}
PLAN = {
    "layers": [{"name": "Debian", "layer_version": "12"}, {"name": "nginx", "layer_version": "1.22"}],
    "generation": 2,
    "disk_format": "vhdx",
    "size_bytes": 40 << 30,
    "entries": 13184,
    "content_bytes": 400 << 20,
    "actions": [{"what": "fill", "target": "/", "reason": "everything"}],
    "conflicts": [
        {
            "path": "/etc/motd",
            "kind": "file",
            "key": "",
            "layers": ["nginx 1.22", "drivers 1"],
            "winner": "drivers 1",
            "detail": "content or metadata differs",
        }
    ],
    "notes": [],
}
CACHE = CacheFacts(
    disks=(CachedDisk("k1", ("ab",), DiskFormat.VHDX, Generation.TWO, 1 << 30, 3, NOW_S, NOW_S),),
    file_bytes=1 << 30,
    hits=3,
    misses=1,
    evictions=0,
    rebuilt=0,
)
FILE_SETTINGS = {
    "path": "connectors/hyperv/config.json",
    "connector": "hyperv",
    "file": {"useHttpsFileTransfer": True, "ignoreCertificateErrors": True},
    "problem": "",
    "in_force": {"useHttpsFileTransfer": False, "ignoreCertificateErrors": True},
    "pending_restart": True,
    "warnings": [],
}


FILES = FilesSummary(
    path="/",
    entries=(
        FileEntry("etc", "folder", modified_s=int(NOW_S), mode=0o755, owner=(0, 0)),
        FileEntry("vmlinuz", "link", modified_s=int(NOW_S), target="boot/vmlinuz"),
        FileEntry("motd", "file", 300, int(NOW_S), mode=0o644, owner=(0, 0)),
    ),
    total=40,
)
DIFF = DiffSummary(
    differences=(Difference("/etc/motd", "changed", ("content", "times")), Difference("/srv", "added")),
    counts={"changed": 1, "added": 1},
    total=2,
)

FORM = describe_form(
    HYPERV,
    {"name": "prod", "generation": 2},
    violations=[
        Violation("generation", "generation2-needs-offload", "Generation 2 needs offload compositing.")
    ],
)


def fixed(method: str, path: str, answer: Any) -> None:
    route(method, path)(lambda self, request, body, **parts: answer)  # pyright: ignore[reportUnknownLambdaType]


def starting(method: str, path: str, kind: TaskKind, name: str) -> None:
    def handler(self: FakeAppliance, request: httpx.Request, body: Any, **parts: str) -> TaskRecord:
        task = record(kind, name, step="Preparing", percent=0.0)
        known = self.tasks.get(task.id)
        if known is not None:
            return known
        return self.begin(task, {"state": TaskState.COMPLETE, "percent": 100.0})

    route(method, path)(handler)


fixed("GET", "/users", [{"id": "u-1", "name": "admin", "role": "administrator", "created_s": NOW_S}])
fixed("POST", "/users", {"id": "u-2"})
fixed("PATCH", "/users/{ref}", {"id": "u-2"})
fixed("DELETE", "/users/{ref}", None)
fixed("POST", "/users/me/password", None)
fixed("GET", "/tokens", [{"id": "k-1", "name": "ci", "created_s": NOW_S, "expires_s": None}])
fixed("POST", "/tokens", {"id": "k-2", "token": "sk_1", "expires_s": NOW_S})
fixed("DELETE", "/tokens/{id}", None)
fixed(
    "GET",
    "/audit",
    [
        {
            "number": 7,
            "time_s": NOW_S,
            "actor": "admin",
            "action": "layer.delete",
            "subject_kind": "layer",
            "subject_id": "nginx",
            "subject_name": "nginx",
            "details": {"a": 1},
            "hash": "ab",
        }
    ],
)
fixed("GET", "/agents", [AGENT])
fixed("GET", "/agents/{ref}", AGENT)
fixed("PATCH", "/agents/{ref}", AGENT)
fixed("DELETE", "/agents/{ref}", None)
fixed("POST", "/agents/{ref}/revoke", AGENT)
fixed("GET", "/agents/{ref}/inventory", INVENTORY)
fixed("POST", "/agent-tokens", {"id": "r-1", "token": "one-time", "expires_s": NOW_S})
fixed("GET", "/connectors", [{"code": "hyperv", "label": "Microsoft Hyper-V", "schema": {}}])
fixed("POST", "/connectors/{code}/form", {"sections": FORM})
fixed("GET", "/connectors/{code}/settings", FILE_SETTINGS)
fixed("PUT", "/connectors/{code}/settings", FILE_SETTINGS)
fixed("POST", "/connectors/{code}/restart", {**FILE_SETTINGS, "pending_restart": False})
fixed("GET", "/connector-configurations", [CONFIGURATION])
fixed("POST", "/connector-configurations", CONFIGURATION)
fixed(
    "POST",
    "/connector-configurations/apply",
    [{"name": "prod", "action": "created"}, {"name": "test", "action": "unchanged"}],
)
fixed("POST", "/connector-configurations/{ref}/clone", CONFIGURATION)
fixed("PUT", "/connector-configurations/{ref}", CONFIGURATION)
fixed("DELETE", "/connector-configurations/{ref}", None)
fixed("GET", "/connector-configurations/{ref}/cache", CACHE)
fixed("POST", "/connector-configurations/{ref}/cache/clear", CACHE)
fixed("GET", "/layers", LAYERS)
fixed("GET", "/layers/{ref}", LAYERS[1])
fixed("PATCH", "/layers/{ref}", LAYERS[1])
fixed("POST", "/layers/{ref}/clone", LAYERS[1])
fixed("POST", "/layers/conflicts", {"conflicts": PLAN["conflicts"], "notes": []})
fixed("GET", "/layer-versions/{id}/files", FILES)
fixed("GET", "/layer-versions/{id}/diff/{other}", DIFF)
fixed(
    "GET",
    "/layer-versions/{id}/machine",
    PackagingState(
        "v-nginx-1.23", "running", 61.4, ready=True, gate_known=True, gate=("pending-reboot: kernel",)
    ),
)
fixed("POST", "/layer-versions/{id}/machine/keys", None)
fixed("POST", "/layer-versions/{id}/machine/start", PackagingState("v-nginx-1.23", "starting"))
fixed("GET", "/image-templates", [TEMPLATE_VIEW])
fixed("POST", "/image-templates", TEMPLATE_VIEW)
fixed("GET", "/image-templates/{ref}", TEMPLATE_VIEW)
fixed("PUT", "/image-templates/{ref}", TEMPLATE_VIEW)
fixed("DELETE", "/image-templates/{ref}", None)
fixed("POST", "/image-templates/{ref}/clone", TEMPLATE_VIEW)
fixed(
    "GET",
    "/image-templates/{ref}/history",
    [TEMPLATE, {**msgspec.to_builtins(TEMPLATE), "revision": 1, "disk_name": "old"}],
)
fixed("GET", "/image-templates/{ref}/preview", PLAN)
fixed("GET", "/images", [IMAGE])
fixed("GET", "/images/{ref}", IMAGE)
starting("POST", "/layers/import-os", TaskKind.IMPORT_OS, "Debian 12")
starting("POST", "/layers", TaskKind.CREATE_LAYER, "nginx 1.22")
starting("POST", "/layers/{ref}/versions", TaskKind.CREATE_LAYER, "nginx 1.24")
starting("POST", "/layer-versions/{id}/finalize", TaskKind.FINALIZE_LAYER, "nginx 1.23")
starting("POST", "/layer-versions/{id}/discard", TaskKind.DISCARD_PACKAGING, "nginx 1.23")
starting("DELETE", "/layer-versions/{id}", TaskKind.DELETE_LAYER_VERSION, "nginx 1.22")
starting("POST", "/images/{ref}/boot-test", TaskKind.BOOT_TEST, "web")
starting("DELETE", "/images/{ref}", TaskKind.DELETE_IMAGE, "web")


@route("POST", "/session")
def begin_session(self: FakeAppliance, request: httpx.Request, body: Any) -> httpx.Response:
    if body != {"name": "admin", "password": "right"}:
        raise Refusal(401, "login", "The login name or the password is wrong.", resolution="Try again.")
    return httpx.Response(
        200, json={"csrf": "csrf"}, headers={"set-cookie": "sekiso_session=s3cret; HttpOnly; Secure; Path=/"}
    )


@route("GET", "/session")
def session(self: FakeAppliance, request: httpx.Request, body: Any) -> Any:
    return {"name": "admin", "role": "administrator"}


@route("DELETE", "/session")
def end_session(self: FakeAppliance, request: httpx.Request, body: Any) -> Any:
    return httpx.Response(204)


CERTIFICATE = {
    "subject": "CN=appliance.example",
    "issuer": "CN=appliance.example",
    "names": ["appliance.example", "192.0.2.10"],
    "valid_from_s": NOW_S,
    "valid_until_s": NOW_S + 86400 * 825,
    "sha256": "ab" * 32,
    "key": "EC P-256",
    "self_signed": True,
    "chain": [],
    "used_by": [{"service": "api", "port": 8443, "sha256": "ab" * 32}],
    "waiting_agents": [{"kind": "agent", "id": "a-1", "name": "hv01"}],
    "request": None,
    "warnings": ["These agents do not know the certificate yet: hv01."],
}
HEALTH = {
    "state": "warning",
    "version": "0.1.0",
    "time_s": NOW_S,
    "started_s": NOW_S,
    "checks": [
        {
            "code": "task-engine",
            "title": "Task engine",
            "state": "ok",
            "text": "It carries out tasks.",
            "what_to_do": "",
        },
        {
            "code": "agents",
            "title": "Connected agents",
            "state": "warning",
            "text": "These agents are not connected: hv01.",
            "what_to_do": "Start their services and check the network in between.",
        },
    ],
}
SETTINGS_VIEW = {
    "values": {"session_hours": 12, "host_names": ["sekiso.example"], "default_language": "en"},
    "fields": [
        {
            "name": "session_hours",
            "label": "Longest session (hours)",
            "help": "",
            "kind": "number",
            "default": 12,
            "least": 1,
            "most": 168,
            "choices": [],
        },
        {
            "name": "host_names",
            "label": "Further host names",
            "help": "",
            "kind": "names",
            "default": [],
            "least": None,
            "most": None,
            "choices": [],
        },
        {
            "name": "default_language",
            "label": "Default language",
            "help": "",
            "kind": "choice",
            "default": "en",
            "least": None,
            "most": None,
            "choices": ["en", "ja"],
        },
    ],
    "hosts": ["localhost", "sekiso.example"],
    "facts": {
        "version": "0.1.0",
        "listens_at": "0.0.0.0",
        "api_port": 8443,
        "link_port": 8444,
        "transfer_http_port": 8021,
        "transfer_https_port": 8022,
        "state_folder": "/var/lib/sekiso",
        "layer_folder": "/var/lib/sekiso/layers",
        "log_file": "/var/lib/sekiso/log/appliance.log",
        "database": "sqlite",
    },
}


@route("GET", "/certificate")
def show_certificate(self: FakeAppliance, request: httpx.Request, body: Any) -> Any:
    return CERTIFICATE


@route("POST", "/certificate/(generate|upload)")
def exchange_certificate(self: FakeAppliance, request: httpx.Request, body: Any) -> Any:
    return {**CERTIFICATE, "sha256": "cd" * 32}


@route("POST", "/certificate/request")
def request_certificate(self: FakeAppliance, request: httpx.Request, body: Any) -> Any:
    pem = "-----BEGIN CERTIFICATE REQUEST-----\nMA==\n-----END CERTIFICATE REQUEST-----\n"
    return {"subject": "CN=appliance.example", "names": ["appliance.example"], "key": "EC P-256", "pem": pem}


@route("GET", "/health/details")
def health_details(self: FakeAppliance, request: httpx.Request, body: Any) -> Any:
    return HEALTH


@route("GET", "/logs/bundle")
def support_bundle(self: FakeAppliance, request: httpx.Request, body: Any) -> Any:
    return httpx.Response(200, content=b"\x1f\x8b bundle", headers={"content-type": "application/gzip"})


@route("GET", "/settings")
def show_settings(self: FakeAppliance, request: httpx.Request, body: Any) -> Any:
    return SETTINGS_VIEW


@route("PATCH", "/settings")
def change_settings(self: FakeAppliance, request: httpx.Request, body: Any) -> Any:
    return SETTINGS_VIEW


@route("GET", "/audit/export")
def export_audit(self: FakeAppliance, request: httpx.Request, body: Any) -> Any:
    return httpx.Response(200, text=f"number,{request.url.params['format']}\n")


@route("GET", "/audit/verify")
def verify_audit(self: FakeAppliance, request: httpx.Request, body: Any) -> Any:
    return {"whole": not self.broken, "first_broken": self.broken}


@route("GET", "/connector-configurations/export")
def export(self: FakeAppliance, request: httpx.Request, body: Any) -> Any:
    return httpx.Response(200, text="kind: connector-configuration\n")


@route("GET", "/connector-configurations/{ref}")
def configuration(self: FakeAppliance, request: httpx.Request, body: Any, ref: str) -> Any:
    if ref != "prod":
        raise Missing("The connector configuration", ref)
    return CONFIGURATION


@route("POST", "/connector-configurations/test")
def test_unsaved(self: FakeAppliance, request: httpx.Request, body: Any) -> Any:
    assert request.headers["accept"] == "application/x-ndjson"
    lines = "".join(json.dumps(row) + "\n" for row in self.rows)
    return httpx.Response(200, text=lines, headers={"content-type": "application/x-ndjson"})


@route("POST", "/connector-configurations/{ref}/test")
def test_saved(self: FakeAppliance, request: httpx.Request, body: Any, ref: str) -> Any:
    return test_unsaved(self, request, body)


@route("POST", "/uploads/run-once")
def upload(self: FakeAppliance, request: httpx.Request, body: bytes) -> Any:
    self.uploads.append(body)
    return {"id": "up-1"}


@route("DELETE", "/layers/{ref}")
def delete_layer(self: FakeAppliance, request: httpx.Request, body: Any, ref: str) -> Any:
    return []


@route("GET", "/layer-versions/{id}")
def version_view(self: FakeAppliance, request: httpx.Request, body: Any, id: str) -> Any:
    packaging = {**msgspec.to_builtins(PACKAGING), **self.packaging}
    return {"version": {"id": id, "name": "1", "state": "editing", "packaging": packaging}}


@route("GET", "/layer-versions/{id}/machine/screenshot")
def machine_screen(self: FakeAppliance, request: httpx.Request, body: Any, id: str) -> Any:
    return httpx.Response(200, content=PNG, headers={"content-type": "image/png"})


@route("GET", "/images/{ref}/screenshot")
def image_screen(self: FakeAppliance, request: httpx.Request, body: Any, ref: str) -> Any:
    return machine_screen(self, request, body, ref)


@route("POST", "/image-templates/publish")
def publish(self: FakeAppliance, request: httpx.Request, body: Any) -> Any:
    return [
        self.begin(
            record(TaskKind.PUBLISH_IMAGE, name, id=f"task-{name}"),
            {"percent": 40.0, "step": "Writing", "done": 1 << 20, "total": 4 << 20, "unit": "bytes"},
            self.scripts.pop(name, [{"state": TaskState.COMPLETE, "percent": 100.0}])[0],
        )
        for name in body["templates"]
    ]


@route("GET", "/tasks")
def tasks(self: FakeAppliance, request: httpx.Request, body: Any) -> Any:
    query = request.url.params
    kinds, states = query.get_list("kind"), query.get_list("state")
    subject = query.get("subject")
    return [
        task
        for task in reversed(self.tasks.values())
        if (not kinds or task.kind.value in kinds)
        and (not states or task.state.value in states)
        and (not subject or any(s.id == subject for s in task.subjects))
    ]


@route("GET", "/tasks/{id}")
def task(self: FakeAppliance, request: httpx.Request, body: Any, id: str) -> Any:
    if id not in self.tasks:
        raise Missing("The task", id)
    script = self.scripts.get(id)
    if script:
        changes = script.pop(0)
        if "raise" in changes:
            raise changes["raise"]
        if "then" in changes:
            changes.pop("then")()
        self.tasks[id] = _changed(self.tasks[id], changes)
    return self.tasks[id]


@route("GET", "/tasks/{id}/log")
def log(self: FakeAppliance, request: httpx.Request, body: Any, id: str) -> Any:
    lines = [LogLine(1, NOW_S, "The task began."), LogLine(2, NOW_S + 1, "Done.")]
    return [line for line in lines if line.number > int(request.url.params["after"])]


@route("POST", "/tasks/{id}/cancel")
def cancel(self: FakeAppliance, request: httpx.Request, body: Any, id: str) -> Any:
    self.scripts[id] = [{"state": TaskState.CANCELED}]
    self.tasks[id] = _changed(self.tasks[id], {"state": TaskState.CANCELING})
    return self.tasks[id]


@route("POST", "/tasks/{id}/retry")
def retry(self: FakeAppliance, request: httpx.Request, body: Any, id: str) -> Any:
    self.scripts[id] = [{"state": TaskState.COMPLETE, "percent": 100.0}]
    self.tasks[id] = _changed(self.tasks[id], {"state": TaskState.QUEUED, "attempt": 2, "error": None})
    return self.tasks[id]


def _changed(task: TaskRecord, changes: dict[str, Any]) -> TaskRecord:
    from dataclasses import replace

    return replace(task, **changes)
