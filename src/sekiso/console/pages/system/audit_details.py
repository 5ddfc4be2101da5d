"""Details of audit entries in words: names of what changed, and values as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sekiso.console import formats
from sekiso.i18n import mark, translate
from sekiso.model.library import AuditEntry
from sekiso.services.appliance_settings import FIELDS
from sekiso.wording import word_of

_LABELS = {
    "after": mark("After"),
    "again": mark("Registered anew"),
    "agent": mark("Agent"),
    "before": mark("Before"),
    "changed": mark("Changed"),
    "cut_off": mark("Agents that do not know the certificate"),
    "configuration": mark("Connector configuration"),
    "days": mark("Days"),
    "disabled": mark("Disabled"),
    "from": mark("Copied from"),
    "host_name": mark("Host name"),
    "icon": mark("Icon"),
    "issuer": mark("Issuer"),
    "ignoreCertificateErrors": mark("Ignore certificate errors"),
    "key": mark("Kind of key"),
    "keys": mark("Disks"),
    "kind": mark("Kind"),
    "name": mark("Name"),
    "organization": mark("Organization"),
    "names": mark("Names"),
    "notes": mark("Notes"),
    "overrides_gate": mark("Integrity gate overridden"),
    "override_gate": mark("Integrity gate overridden"),
    "password": mark("New password"),
    "priority": mark("Priority"),
    "revision": mark("Revision"),
    "role": mark("Role"),
    "self_signed": mark("Self-signed"),
    "template": mark("Image template"),
    "useHttpsFileTransfer": mark("Transfer files by HTTPS"),
    "valid_until_s": mark("Valid until"),
    "version": mark("Version"),
    **{item.name: item.label for item in FIELDS},
}
#: Details whose values are words of the appliance, never what a person has typed.
_WORD_KEYS = frozenset({"kind", "role"})


@dataclass(frozen=True, slots=True)
class Detail:
    """One detail.

    Attributes:
        label: what it is.
        value: its value.
        is_data: whether the value is no word of the language.
        is_named: whether the label is a word of the language.
    """

    label: str
    value: str
    is_data: bool
    is_named: bool = True


def details_of(entry: AuditEntry, language: str) -> tuple[Detail, ...]:
    """Return the details of an entry, in its order."""
    return tuple(_detail(key, value, language) for key, value in entry.details.items())


def _detail(key: str, value: object, language: str) -> Detail:
    label = translate(_LABELS.get(key, key), language)
    is_named = key in _LABELS
    if isinstance(value, bool):
        said = translate("Yes" if value else "No", language)
        return Detail(label, said, is_data=False, is_named=is_named)
    if key == "valid_until_s":
        return Detail(label, formats.stamp(float(str(value))), is_data=True)
    if key in _WORD_KEYS and isinstance(value, str):
        return Detail(label, word_of(value, language), is_data=False, is_named=is_named)
    return Detail(label, _plain(value), is_data=True, is_named=is_named)


def _plain(value: object) -> str:
    """Return plain data in one line: lists with commas, tables as `key: value`."""
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, Any]", value)
        if set(pairs) == {"before", "after"}:
            return f"{_plain(pairs['before'])} → {_plain(pairs['after'])}"
        return ", ".join(f"{key}: {_plain(item)}" for key, item in pairs.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_plain(item) for item in cast("Sequence[Any]", value)) or "–"
    return str(value) or "–"


#: Words for the catalogue that are chosen above.
WORDS = (mark("Yes"), mark("No"))
