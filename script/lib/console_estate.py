"""Fills a database with a large estate: what the console, the REST API and their measurements page through.

usage: python script/lib/console_estate.py FILE [--layers N] [--seed N]

The same numbers make the same estate. Nothing of it exists outside of the database: no layer file, no disk,
no agent. Names are those of real products, in English and Japanese.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from sekiso.model.canonical import content_id
from sekiso.model.connector import AgentInventory, SwitchItem, TemplateVm, VolumeItem
from sekiso.model.layer import GuestFamily, LayerKind
from sekiso.model.library import (
    AgentRecord,
    ConfigurationRecord,
    GeneralizationChoice,
    ImageRecord,
    ImageState,
    LayerRecord,
    PackagingFacts,
    Role,
    TemplateRecord,
    VersionRecord,
    VersionState,
)
from sekiso.model.machine import DiskAllocation, DiskFormat, Firmware, Generation
from sekiso.model.storage_path import Drive, DriveKind, HostPlatform
from sekiso.model.task import Subject, SubjectKind, TaskKind, TaskRecord, TaskState
from sekiso.store.database.api import AuditNote, UnitOfWork
from sekiso.store.database.database import Database, open_database, sqlite_url

SEED = 20261124
#: Everything lies in the two years before this.
NOW_S = 1_795_000_000.0
_SPAN_S = 2 * 365 * 86400.0
_GIB = 1 << 30

_SYSTEMS = (
    ("Windows Server 2022 日本語", GuestFamily.WINDOWS),
    ("Windows Server 2025 Datacenter", GuestFamily.WINDOWS),
    ("Windows 11 Enterprise 24H2", GuestFamily.WINDOWS),
    ("Windows 11 マルチセッション", GuestFamily.WINDOWS),
    ("Debian 12", GuestFamily.LINUX),
    ("Debian 13", GuestFamily.LINUX),
    ("Ubuntu 24.04 LTS", GuestFamily.LINUX),
    ("Red Hat Enterprise Linux 9", GuestFamily.LINUX),
)
_PLATFORMS = (
    "Citrix VDA",
    "Omnissa Horizon Agent",
    "リモート デスクトップ",
    "Azure Virtual Desktop エージェント",
)
_PRODUCTS = (
    *("Microsoft 365 Apps", "Visio 2024", "Project 2024", "一太郎", "ATOK", "勘定奉行", "弥生会計", "筆まめ"),
    *("Adobe Acrobat Pro", "Photoshop", "Google Chrome", "Firefox ESR", "Microsoft Edge", "Zoom", "Slack"),
    *(
        "Visual Studio 2022",
        "IntelliJ IDEA",
        "Eclipse",
        "Python",
        "Node.js",
        "サクラエディタ",
        "秀丸エディタ",
    ),
    *("AutoCAD", "SolidWorks", "Jw_cad", "図脳RAPID", "SAP GUI", "Oracle Client", "楽々精算", "給与奉行"),
    *(
        "7-Zip",
        "Lhaplus",
        "VLC",
        "LibreOffice",
        "Thunderbird",
        "Garoon",
        "サイボウズ Office",
        "desknet's NEO",
    ),
    *("PostgreSQL", "nginx", "Apache Tomcat", "OpenJDK 21", "Docker", "Wireshark", "Tera Term", "WinSCP"),
    *("ウイルスバスター", "Symantec Endpoint", "SKYSEA Client View", "LANSCOPE", "DocuWorks", "電子カルテ"),
)
_GROUPS = (
    *(
        "営業部",
        "経理部",
        "人事部",
        "開発部",
        "総務部",
        "情報システム部",
        "大阪支社",
        "福岡支店",
        "名古屋工場",
    ),
    *("Sales", "Finance", "HR", "Engineering", "Support", "Tokyo", "Osaka", "Singapore", "London", "Kiosk"),
)
_PLACES = ("東京", "大阪", "名古屋", "福岡", "札幌", "Tokyo", "Osaka", "Singapore", "London", "Frankfurt")
_USERS = (
    *("admin", "佐藤 花子", "鈴木 一郎", "高橋 健", "田中 美咲", "伊藤 翔"),
    *("maya", "pia", "john.smith", "k.yamada"),
)
_STATES = (
    *((VersionState.DEPLOYABLE,) * 92),
    *((VersionState.EDITING,) * 3),
    *((VersionState.FINALIZABLE,) * 2),
    *(VersionState.FINALIZING, VersionState.BROKEN, VersionState.DELETING),
)
_IMAGE_STATES = (
    *((ImageState.PUBLISHED,) * 17),
    *(ImageState.FAILED, ImageState.PUBLISHING, ImageState.DELETING),
)
_TASK_STATES = (
    *((TaskState.COMPLETE,) * 14),
    *((TaskState.FAILED,) * 3),
    *(
        TaskState.CANCELED,
        TaskState.QUEUED,
        TaskState.RUNNING,
        TaskState.ACTION_REQUIRED,
        TaskState.CANCELING,
    ),
)
_ACTIONS = (
    *("layer.change", "layer.clone", "layer.import-os", "layer.create", "layer-version.delete"),
    *("layer-version.finalize", "packaging.start", "packaging.shut-down"),
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is."""

    layers: int = 10_000
    tasks: int = 1_000
    agents: int = 100
    templates: int = 200
    images: int = 1_000
    audit: int = 20_000

    @property
    def configurations(self) -> int:
        """Each for a few agents."""
        return max(1, self.agents // 3)


def make_estate(path: Path, size: Size | None = None, *, seed: int = SEED) -> Size:
    """Make an SQLite database with an estate, all or nothing; return how much there is.

    Args:
        path: a database that is empty but for users; made if it is not there.
        size: how much.
        seed: of what is left to chance.
    """
    wanted = size or Size()
    url = sqlite_url(path.resolve())
    open_database(url).close()
    # The clock says when audit entries were made: one after the other, up to now.
    step_s = _SPAN_S / max(1, wanted.audit)
    moments = count(1)
    with (
        closing(Database(url, clock=lambda: NOW_S - _SPAN_S + step_s * next(moments))) as database,
        database.begin() as work,
    ):
        fill(work, wanted, seed=seed)
    return wanted


def fill(work: UnitOfWork, size: Size, *, seed: int = SEED) -> None:
    """Put an estate into a database; audit entries are made when its clock says.

    Args:
        work: a transaction of a database that is empty but for users.
        size: how much.
        seed: of what is left to chance.
    """
    _Estate(size, random.Random(seed)).store(work)


@dataclass
class _Estate:
    """What has been made so far."""

    size: Size
    chance: random.Random
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    agents: list[AgentRecord] = field(default_factory=list[AgentRecord])
    configurations: list[ConfigurationRecord] = field(default_factory=list[ConfigurationRecord])
    layers: list[LayerRecord] = field(default_factory=list[LayerRecord])
    versions: list[VersionRecord] = field(default_factory=list[VersionRecord])
    templates: list[TemplateRecord] = field(default_factory=list[TemplateRecord])
    images: list[ImageRecord] = field(default_factory=list[ImageRecord])

    def store(self, work: UnitOfWork) -> None:
        self.agents = [self._agent(n) for n in range(self.size.agents)]
        work.agents.add_many(self.agents)
        self.configurations = [self._configuration(n) for n in range(self.size.configurations)]
        work.configurations.add_many(self.configurations)
        self._layers()
        work.layers.add_many(self.layers)
        work.versions.add_many(self.versions)
        self._templates()
        work.templates.add_many(self.templates)
        self.images = [self._image(n) for n in range(self.size.images)]
        work.images.add_many(self.images)
        work.tasks.add_many([self._task(n) for n in range(self.size.tasks)])
        work.audit.append_many([self._note() for _ in range(self.size.audit)])

    # --- agents and configurations ------------------------------------------------------------------------

    def _agent(self, number: int) -> AgentRecord:
        name = f"{self._one_of(_PLACES)}-HV{number + 1:03}"
        seen_s = None if number % 25 == 24 else NOW_S - self.chance.random() * 3 * 86400
        return AgentRecord(
            id=self._id(),
            name=name,
            certificate_sha256=content_id(name),
            revoked=number % 33 == 32,
            inventory=None if seen_s is None else self._inventory(name),
            inventory_s=seen_s,
            last_seen_s=seen_s,
            registered_s=self._moment(),
        )

    def _inventory(self, name: str) -> AgentInventory:
        machines = tuple(
            TemplateVm(self._id(), f"基準 {n + 1}", Firmware.UEFI, 4, 8192, ("LAN",)) for n in range(8)
        )
        return AgentInventory(
            agent_version="0.1.0",
            host_name=name,
            platform=HostPlatform.WINDOWS,
            hypervisor_version="10.0.20348",
            account="NT AUTHORITY\\SYSTEM",
            cpus=self._one_of((16, 32, 64)),
            memory_mb=self._one_of((128, 256, 512)) << 10,
            switches=(SwitchItem("LAN"), SwitchItem("DMZ"), SwitchItem("業務ネットワーク")),
            template_vms=machines,
            volumes=(VolumeItem("C:\\", 500 * _GIB, 200 * _GIB), VolumeItem("D:\\", 4000 * _GIB, 900 * _GIB)),
            drives=(Drive("C", DriveKind.FIXED), Drive("D", DriveKind.FIXED)),
        )

    def _configuration(self, number: int) -> ConfigurationRecord:
        made_s, name = self._moment(), f"{self._one_of(_PLACES)} {number + 1:02}"
        settings = {
            "name": name,
            "agent": self.agents[number * 3 % len(self.agents)].name,
            "storage_path": r"D:\Sekiso",
            "cpus": 2,
            "memory_mb": 4096,
            "network": "LAN",
        }
        return ConfigurationRecord(self._id(), "hyperv", name, settings, made_s, made_s)

    # --- layers -------------------------------------------------------------------------------------------

    def _layers(self) -> None:
        systems = [self._layer(LayerKind.OS, name, family, None) for name, family in _SYSTEMS]
        on = {layer.id: self._add_layer(layer, deployable=True) for layer in systems}
        for name in _PLATFORMS:
            for system in systems[:4]:
                platform = self._layer(LayerKind.PLATFORM, f"{name} ({system.name})", system.family, system)
                self._add_layer(platform, deployable=True, base=on[system.id])
        while len(self.layers) < self.size.layers:
            system = self._one_of(systems)
            group, number = self._one_of(_GROUPS), len(self.layers)
            name = f"{self._one_of(_PRODUCTS)} {group} {number}"
            self._add_layer(self._layer(LayerKind.APP, name, system.family, system), base=on[system.id])

    def _layer(
        self, kind: LayerKind, name: str, family: GuestFamily | None, system: LayerRecord | None
    ) -> LayerRecord:
        return LayerRecord(
            id=self._id(),
            kind=kind,
            name=name,
            notes="標準の設定" if self.chance.random() < 0.3 else "",
            icon=self._one_of(("", "app", "office", "browser", "database")),
            priority=len(self.layers) + 1 if kind is LayerKind.APP else 0,
            family=family,
            os_layer_id=system.id if system else None,
            created_s=self._moment(),
        )

    def _add_layer(
        self, layer: LayerRecord, *, deployable: bool = False, base: VersionRecord | None = None
    ) -> VersionRecord:
        """Add a layer with its versions; return the newest of them."""
        self.layers.append(layer)
        made_s, previous = layer.created_s, None
        for number in range(self.chance.randint(1, 3)):
            made_s += self.chance.random() * 30 * 86400
            state = VersionState.DEPLOYABLE if deployable else self._one_of(_STATES)
            previous = self._version(layer, number, state, made_s, base, previous)
            self.versions.append(previous)
        assert previous is not None
        return previous

    def _version(
        self,
        layer: LayerRecord,
        number: int,
        state: VersionState,
        made_s: float,
        base: VersionRecord | None,
        previous: VersionRecord | None,
    ) -> VersionRecord:
        version_id, is_made = self._id(), state is not VersionState.EDITING
        size = self.chance.randrange(8 << 20, (12 if layer.kind is LayerKind.OS else 1) * _GIB)
        configuration = self._one_of(self.configurations)
        packaging = PackagingFacts(configuration.id, self.agents[0].id, r"D:\Sekiso", self._id(), layer.name)
        is_edited = state in (VersionState.EDITING, VersionState.FINALIZABLE)
        return VersionRecord(
            id=version_id,
            layer_id=layer.id,
            name=f"{number + 1}.{self.chance.randrange(20)}",
            notes="",
            state=state,
            generation=Generation.TWO,
            identity=content_id(version_id) if is_made else None,
            file_bytes=size if is_made else 0,
            content_bytes=size * 2 if is_made else 0,
            base_version_ids=(base.id,) if base else (),
            previous_version_id=previous.id if previous else None,
            packaging=packaging if is_edited else None,
            created_s=made_s,
        )

    # --- templates and images -----------------------------------------------------------------------------

    def _templates(self) -> None:
        layers = {layer.id: layer for layer in self.layers}
        apps: dict[str, list[VersionRecord]] = {}
        systems: dict[str, VersionRecord] = {}
        for version in self.versions:
            layer = layers[version.layer_id]
            if version.state is VersionState.DEPLOYABLE and layer.kind is LayerKind.OS:
                systems[layer.id] = version
            elif version.state is VersionState.DEPLOYABLE and layer.kind is LayerKind.APP:
                apps.setdefault(layer.os_layer_id or "", []).append(version)
        for number in range(self.size.templates):
            system_id, system = self._one_of(sorted(systems.items()))
            chosen = {v.layer_id: v.id for v in self._some_of(apps.get(system_id, ()), 12)}
            self.templates.append(self._template(number, system, tuple(chosen.values())))

    def _template(self, number: int, system: VersionRecord, app_ids: tuple[str, ...]) -> TemplateRecord:
        made_s = self._moment()
        return TemplateRecord(
            id=self._id(),
            name=f"{self._one_of(_GROUPS)} 標準デスクトップ {number + 1}",
            notes="",
            revision=1,
            configuration_id=self._one_of(self.configurations).id,
            os_version_id=system.id,
            app_version_ids=app_ids,
            platform_version_id=None,
            disk_name="disk",
            disk_format=DiskFormat.VHDX,
            allocation=DiskAllocation.DYNAMIC,
            size_bytes=64 * _GIB,
            generalization=GeneralizationChoice.OFFLINE,
            boot_test=number % 2 == 0,
            keep_last=3,
            created_s=made_s,
            changed_s=made_s + self.chance.random() * 86400,
        )

    def _image(self, number: int) -> ImageRecord:
        template, made_s = self._one_of(self.templates), self._moment()
        agent = self._one_of(self.agents)
        state = self._one_of(_IMAGE_STATES)
        day = time.strftime("%Y-%m-%d %H-%M-%S", time.gmtime(made_s))
        is_made = state is ImageState.PUBLISHED
        return ImageRecord(
            id=self._id(),
            name=f"{template.name} {day} ({number + 1})",
            template_id=template.id,
            template_name=template.name,
            template_revision=1,
            configuration_id=template.configuration_id,
            agent_id=agent.id,
            storage_path=r"D:\Sekiso",
            version_ids=template.version_ids,
            generation=Generation.TWO,
            disk_format=DiskFormat.VHDX,
            state=state,
            disk_path=rf"D:\Sekiso\images\{number + 1}\disk.vhdx" if is_made else "",
            machine_id=self._id() if is_made else "",
            file_bytes=self.chance.randrange(8 * _GIB, 40 * _GIB) if is_made else 0,
            plan_id=content_id(str(number)),
            facts={"wire_bytes": 2**31, "cache_hit": number % 3 == 0, "conflicts": number % 7},
            created_s=made_s,
        )

    # --- tasks and audit ----------------------------------------------------------------------------------

    def _task(self, number: int) -> TaskRecord:
        state = _TASK_STATES[number % len(_TASK_STATES)]
        made_s, kind = self._moment(), self._one_of(tuple(TaskKind))
        lasted_s = self.chance.random() * 1800
        task = TaskRecord(
            id=self._id(),
            kind=kind,
            state=state,
            subjects=self._subjects(kind),
            params={},
            requested_by=self._one_of(_USERS),
            lane=self._one_of(self.configurations).id,
            percent=100.0 if state is TaskState.COMPLETE else round(self.chance.random() * 100, 1),
            created_s=made_s,
            started_s=None if state is TaskState.QUEUED else made_s + 1,
            ended_s=made_s + lasted_s if state.ended else None,
        )
        return replace(task, **self._condition(state))

    def _condition(self, state: TaskState) -> dict[str, Any]:
        if state is TaskState.FAILED:
            params = {
                "what": "The layer version",
                "name": "2.4",
                "remedy": "Check the name or the identifier.",
            }
            return {"error": {"code": "not-found", "family": "not-found", "params": params}}
        if state is TaskState.RUNNING:
            return {"step": "compose", "done": 3 << 30, "total": 10 << 30, "unit": "bytes"}
        return {"percent": 0.0} if state is TaskState.QUEUED else {}

    def _subjects(self, kind: TaskKind) -> tuple[Subject, ...]:
        if kind in (TaskKind.PUBLISH_IMAGE, TaskKind.BOOT_TEST, TaskKind.DELETE_IMAGE):
            image = self._one_of(self.images)
            template = Subject(SubjectKind.TEMPLATE, image.template_id or "", image.template_name)
            return (Subject(SubjectKind.IMAGE, image.id, image.name), template)
        layer = self._one_of(self.layers)
        return (Subject(SubjectKind.LAYER, layer.id, layer.name),)

    def _note(self) -> AuditNote:
        actor, draw = self._one_of(_USERS), self.chance.random()
        if draw < 0.5:
            layer, action = self._one_of(self.layers), self._one_of(_ACTIONS)
            subject = Subject(SubjectKind.LAYER, layer.id, layer.name)
        elif draw < 0.8:
            image, action = self._one_of(self.images), self._one_of(("image.publish", "image.delete"))
            subject = Subject(SubjectKind.IMAGE, image.id, image.name)
        else:
            action = self._one_of(("user.log-in", "user.log-in-failed", "user.change"))
            subject = Subject(SubjectKind.USER, content_id(actor)[:32], actor)
        details = {"role": Role.PUBLISHER.value, "from": "192.0.2.7"} if draw >= 0.8 else {"notes": "標準"}
        return AuditNote(actor, action, subject, details)

    # --- chance -------------------------------------------------------------------------------------------

    def _id(self) -> str:
        """Return an identifier that looks like all others and is the same in each run."""
        text = content_id(str(next(self.numbers)))
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:32]))

    def _moment(self) -> float:
        return NOW_S - self.chance.random() * _SPAN_S

    def _one_of(self, items: Sequence[Any]) -> Any:
        return items[self.chance.randrange(len(items))]

    def _some_of(self, items: Sequence[Any], at_most: int) -> list[Any]:
        return self.chance.sample(list(items), min(len(items), self.chance.randint(2, at_most)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a database with a large estate.")
    parser.add_argument("file", type=Path, help="an SQLite database; made if it is not there")
    parser.add_argument("--layers", type=int, default=Size().layers)
    parser.add_argument("--audit", type=int, default=Size().audit)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    begun = time.perf_counter()
    make_estate(options.file, Size(layers=options.layers, audit=options.audit), seed=options.seed)
    print(f"{options.file}: {options.layers} layers in {time.perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    main()
