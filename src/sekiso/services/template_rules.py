"""What an image template may be, and the disk that it comes to (IM-1) (reads the database)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sekiso.agent.contract import DiskRecipe
from sekiso.errors import AlreadyExistsError, RuleError
from sekiso.guests.booting import Generalization
from sekiso.model.layer import LayerKind
from sekiso.model.library import GeneralizationChoice, TemplateRecord
from sekiso.model.machine import DiskAllocation, DiskFormat, disk_format_violations
from sekiso.services.library_rules import (
    StackedVersion,
    check_name,
    check_notes,
    check_stack,
    in_merge_order,
    require_kind,
    stacked,
)
from sekiso.services.sites import ResolvedSite, refuse, resolve_site
from sekiso.store.database.api import UnitOfWork
from sekiso.tasks.flows.params import Site

_MIN_DISK_BYTES = 64 << 20
_MAX_VHD_BYTES = 2040 << 30
_MAX_VHDX_BYTES = 64 << 40


@dataclass(frozen=True, slots=True)
class TemplateWish:
    """What an image template is to be; see `TemplateRecord`.

    `configuration` is the identifier or name of the connector configuration; without a `disk_format` it is
    the configuration's.
    """

    name: str
    configuration: str
    os_version_id: str
    app_version_ids: tuple[str, ...] = ()
    platform_version_id: str | None = None
    notes: str = ""
    disk_name: str = "disk"
    disk_format: DiskFormat | None = None
    allocation: DiskAllocation = DiskAllocation.DYNAMIC
    size_bytes: int | None = None
    generalization: GeneralizationChoice = GeneralizationChoice.OFFLINE
    boot_test: bool = False
    keep_last: int | None = None


class TemplatePart(enum.StrEnum):
    """A part of a template that can be checked before the parts after it are known."""

    NAMING = "naming"
    OS = "os"
    PLATFORM = "platform"
    APPS = "apps"
    CONFIGURATION = "configuration"
    DISK = "disk"


def checked_template(
    work: UnitOfWork, wish: TemplateWish, *, template_id: str, revision: int, created_s: float, now_s: float
) -> TemplateRecord:
    """Return the template that a wish comes to.

    Raises:
        SekisoError: see `TemplateService.create`.
    """
    found = resolve_site(work, wish.configuration)
    check_naming(work, wish, template_id)
    template = TemplateRecord(
        id=template_id,
        name=wish.name,
        notes=wish.notes,
        revision=revision,
        configuration_id=found.record.id,
        os_version_id=wish.os_version_id,
        app_version_ids=tuple(wish.app_version_ids),
        platform_version_id=wish.platform_version_id,
        disk_name=check_name("disk_name", wish.disk_name),
        disk_format=wish.disk_format or found.site.disk_format,
        allocation=wish.allocation,
        size_bytes=wish.size_bytes,
        generalization=wish.generalization,
        boot_test=wish.boot_test,
        keep_last=wish.keep_last,
        created_s=created_s,
        changed_s=now_s,
    )
    check_disk(template.disk_format, template.size_bytes, template.keep_last, found)
    template_stack(work, template)
    return template


def check_part(work: UnitOfWork, wish: TemplateWish, part: TemplatePart, template_id: str) -> None:
    """Check one part of a wish; parts after it may be empty.

    Raises:
        SekisoError: see `TemplateService.create`.
    """
    match part:
        case TemplatePart.NAMING:
            check_naming(work, wish, template_id)
        case TemplatePart.OS:
            wished_stack(work, wish.os_version_id)
        case TemplatePart.PLATFORM:
            wished_stack(work, wish.os_version_id, (), wish.platform_version_id)
        case TemplatePart.APPS:
            wished_stack(work, wish.os_version_id, wish.app_version_ids, wish.platform_version_id)
        case TemplatePart.CONFIGURATION:
            resolve_site(work, wish.configuration)
        case TemplatePart.DISK:
            found = resolve_site(work, wish.configuration)
            check_name("disk_name", wish.disk_name)
            check_disk(wish.disk_format or found.site.disk_format, wish.size_bytes, wish.keep_last, found)


def check_naming(work: UnitOfWork, wish: TemplateWish, template_id: str) -> None:
    """Check name and notes.

    Raises:
        RuleError: they cannot be used.
        AlreadyExistsError: another template has the name.
    """
    taken = next((t for t in work.templates.all() if t.name.casefold() == wish.name.casefold()), None)
    if taken is not None and taken.id != template_id:
        raise AlreadyExistsError(what="The image template", name=wish.name, remedy="Choose another name.")
    check_name("name", wish.name)
    check_notes(wish.notes)


def check_disk(
    disk_format: DiskFormat, size_bytes: int | None, keep_last: int | None, found: ResolvedSite
) -> None:
    """Check the disk against the connector configuration.

    Raises:
        ConfigurationInvalidError: they do not go together.
        RuleError: the size or the number of images cannot be.
    """
    site = found.site
    broken = disk_format_violations(site.generation, disk_format, offload=site.offload)
    if broken:
        raise refuse(
            broken[0].field, broken[0].code, broken[0].reason, "Choose another disk format or configuration."
        )
    largest = _MAX_VHD_BYTES if disk_format is DiskFormat.VHD else _MAX_VHDX_BYTES
    if size_bytes is not None and not _MIN_DISK_BYTES <= size_bytes <= largest:
        raise RuleError(
            field="size_bytes",
            reason="A VHD has 64 MiB to 2040 GiB, a VHDX 64 MiB to 64 TiB.",
            remedy="Choose another size.",
        )
    if keep_last is not None and not 1 <= keep_last <= 1000:
        raise RuleError(
            field="keep_last",
            reason="From 1 to 1000 images of a template can be kept.",
            remedy="Choose another number, or leave it out to keep all.",
        )


def template_stack(work: UnitOfWork, template: TemplateRecord) -> tuple[StackedVersion, ...]:
    """Return the layers of a template in merge order.

    Raises:
        NotFoundError: a version is gone.
        VersionNotReadyError: a version is not deployable.
        RuleError: they do not go together.
    """
    return wished_stack(work, template.os_version_id, template.app_version_ids, template.platform_version_id)


def wished_stack(
    work: UnitOfWork, os_version_id: str, app_version_ids: tuple[str, ...] = (), platform: str | None = None
) -> tuple[StackedVersion, ...]:
    """Return versions in merge order.

    Raises:
        SekisoError: as for `template_stack`.
    """
    items = [require_kind("os_version_id", stacked(work, os_version_id), LayerKind.OS)]
    items += [require_kind("app_version_ids", stacked(work, v), LayerKind.APP) for v in app_version_ids]
    if platform is not None:
        items.append(require_kind("platform_version_id", stacked(work, platform), LayerKind.PLATFORM))
    check_stack(items, field="app_version_ids" if app_version_ids else "platform_version_id")
    return in_merge_order(items)


def template_recipe(work: UnitOfWork, template: TemplateRecord, site: Site) -> DiskRecipe:
    """Return what the disk of a template is made from.

    Raises:
        SekisoError: as for `template_stack`.
    """
    items = template_stack(work, template)
    return DiskRecipe(
        identities=tuple(item.identity for item in items),
        generation=site.generation,
        disk_format=template.disk_format,
        allocation=template.allocation,
        size_bytes=template.size_bytes,
        generalization=Generalization(template.generalization.value),
        # From the layers alone: publishing the template again finds the disk in the cache.
        created_s=int(max(item.version.created_s for item in items)),
        title=template.name,
    )
