"""An image template that is being filled in: what the form holds, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request

from sekiso.console.failures import Failure, failure_of
from sekiso.console.forms import Form, checked
from sekiso.errors import AlreadyExistsError, SekisoError
from sekiso.model.library import TemplateRecord
from sekiso.services.template_rules import TemplatePart, TemplateWish
from sekiso.web.bodies import TemplateBody

_GIB = 1 << 30
_DECIMAL = re.compile(r"\d{1,7}(\.\d{1,6})?")
#: The steps of the wizard with their fields, as `TemplateBody` names them.
STEPS: Mapping[TemplatePart, tuple[str, ...]] = {
    TemplatePart.NAMING: ("name", "notes"),
    TemplatePart.OS: ("os_version_id",),
    TemplatePart.PLATFORM: ("platform_version_id",),
    TemplatePart.APPS: ("app_version_ids",),
    TemplatePart.CONFIGURATION: ("configuration",),
    TemplatePart.DISK: (
        *("disk_name", "disk_format", "allocation", "size_bytes", "generalization", "boot_test", "keep_last"),
    ),
}
#: What stands for a field whose step has not been reached.
_NOT_YET = {"name": "-", "os_version_id": "-", "configuration": "-"}


@dataclass(frozen=True, slots=True)
class Draft:
    """What the fields of the wizard hold, as they were typed; see `TemplateRecord`."""

    name: str = ""
    notes: str = ""
    os_version_id: str = ""
    platform_version_id: str = ""
    app_version_ids: tuple[str, ...] = ()
    configuration: str = ""
    disk_name: str = "disk"
    disk_format: str = ""
    allocation: str = "dynamic"
    size_gb: str = ""
    generalization: str = "offline"
    boot_test: bool = False
    keep_last: str = ""


def draft_of(form: Form) -> Draft:
    """Return what a form holds."""
    typed: dict[str, Any] = {name: form.text(name) for name in Draft.__slots__}
    typed |= {"app_version_ids": form.many("app_version_ids"), "boot_test": form.flag("boot_test")}
    return Draft(**typed)


def draft_from(template: TemplateRecord) -> Draft:
    """Return a template as the form shows it."""
    return Draft(
        name=template.name,
        notes=template.notes,
        os_version_id=template.os_version_id,
        platform_version_id=template.platform_version_id or "",
        app_version_ids=template.app_version_ids,
        configuration=template.configuration_id,
        disk_name=template.disk_name,
        disk_format=template.disk_format.value,
        allocation=template.allocation.value,
        size_gb="" if template.size_bytes is None else _gigabytes(template.size_bytes),
        generalization=template.generalization.value,
        boot_test=template.boot_test,
        keep_last="" if template.keep_last is None else str(template.keep_last),
    )


def wish_of(draft: Draft, part: TemplatePart | None = None) -> TemplateWish:
    """Return the wish that a draft comes to.

    Args:
        draft: what the form holds.
        part: the step up to which it is filled in; None = all.

    Raises:
        RequestInvalidError: fields hold what they cannot hold.
    """
    return TemplateWish(**checked(TemplateBody, _values(draft, part)).model_dump())


def failure_in(error: SekisoError, request: Request) -> Failure:
    """Return what is wrong, at the fields as the wizard calls them."""
    failure = failure_of(error, request)
    if isinstance(error, AlreadyExistsError):
        return replace(failure, fields={"name": (f"{failure.title} {failure.resolution}",)})
    fields = dict[str, tuple[str, ...]]()
    for name, sentences in failure.fields.items():
        # Of several that one field holds, each has a field of its own: `app_version_ids.3`.
        own = name.partition(".")[0]
        shown = "size_gb" if own == "size_bytes" else own
        fields[shown] = (*fields.get(shown, ()), *sentences)
    return replace(failure, fields=fields)


def _values(draft: Draft, part: TemplatePart | None) -> dict[str, Any]:
    reached = _reached(part)
    given: dict[str, Any] = {
        **{name: getattr(draft, name) for name in Draft.__slots__ if name not in ("size_gb", "keep_last")},
        "size_bytes": _size_bytes(draft.size_gb),
        "keep_last": int(draft.keep_last) if draft.keep_last.isdecimal() else draft.keep_last or None,
    }
    # What is empty was not given: the rules say then that it is missing, or what stands for it. A name that
    # was taken away is wrong, though.
    values = {
        name: value
        for name, value in given.items()
        if name in reached and (value not in ("", None) or name == "disk_name")
    }
    return {**{name: stand for name, stand in _NOT_YET.items() if name not in reached}, **values}


def _reached(part: TemplatePart | None) -> frozenset[str]:
    found: list[str] = []
    for step, fields in STEPS.items():
        found += fields
        if step is part:
            break
    return frozenset(found)


def _size_bytes(typed: str) -> int | str | None:
    """Return a size in GB as bytes, in whole MiB; what is no number as it is: the rules refuse it."""
    if not typed or not _DECIMAL.fullmatch(typed):
        return typed or None
    return round(float(typed) * 1024) << 20


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / _GIB:.6f}".rstrip("0").rstrip(".")
