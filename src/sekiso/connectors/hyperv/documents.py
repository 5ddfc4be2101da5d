"""Connector configurations as documents: plain data for YAML or JSON files, managed as code (CC-11).

A document is

    kind: connector-configuration
    version: 1
    connector: hyperv
    settings:
      name: Production
      agent: hv01
      …

with every setting by its name; secrets are left out. Reading is strict and checks form and types; whether a
configuration can be saved is for the rules. The library that reads the file must refuse a key that stands
there twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sekiso.connectors.decoding import decode, key_text, shown_values
from sekiso.connectors.errors import DocumentError
from sekiso.connectors.hyperv.rules import comparable_name
from sekiso.connectors.hyperv.settings import HYPERV, HyperVSettings

KIND = "connector-configuration"
VERSION = 1
MAX_DOCUMENTS = 1000
_KEYS = ("kind", "version", "connector", "settings")


def export_document(settings: HyperVSettings) -> dict[str, Any]:
    """Return a configuration as plain data, keys in the order in which a person reads them."""
    return {
        "kind": KIND,
        "version": VERSION,
        "connector": HYPERV.code,
        "settings": shown_values(HYPERV, settings),
    }


def import_document(document: object, *, source: str, position: str = "") -> HyperVSettings:
    """Turn plain data into a configuration.

    Args:
        document: what the YAML or JSON library read.
        source: what errors call the file.
        position: where in the file the document stands, such as `[2].`; prefixed to the key in errors.

    Raises:
        DocumentError: the form, a key, or the type of a value is wrong; names the first such key.
    """
    if not isinstance(document, Mapping):
        raise _error(
            source,
            position.rstrip(".") or "/",
            "A connector configuration is an object with keys.",
            _write_keys(),
        )
    keys = cast("Mapping[Any, Any]", document)
    _check_envelope(keys, source, position)
    values = keys["settings"]
    if not isinstance(values, Mapping):
        raise _error(
            source,
            f"{position}settings",
            "The settings are an object with keys.",
            "Write one key per setting.",
        )
    found = decode(HYPERV, cast("Mapping[Any, Any]", values))
    if isinstance(found, HyperVSettings):
        return found
    first = found[0]
    raise _error(source, f"{position}settings.{first.field}", first.reason, first.remedy)


def import_documents(documents: Sequence[object], *, source: str) -> tuple[HyperVSettings, ...]:
    """Turn the documents of a file into configurations.

    Raises:
        DocumentError: as for `import_document`; two have one name; there are too many.
    """
    if len(documents) > MAX_DOCUMENTS:
        raise _error(
            source,
            f"[{MAX_DOCUMENTS}]",
            f"A file holds at most {MAX_DOCUMENTS} connector configurations.",
            "Use several files.",
        )
    found: dict[str, HyperVSettings] = {}
    for index, document in enumerate(documents):
        settings = import_document(document, source=source, position=f"[{index}].")
        name = comparable_name(settings.name)
        if name in found:
            raise _error(
                source,
                f"[{index}].settings.name",
                f"Another connector configuration has the name {settings.name}.",
                "Choose another name.",
            )
        found[name] = settings
    return tuple(found.values())


def _check_envelope(document: Mapping[Any, Any], source: str, position: str) -> None:
    for key in document:
        if key not in _KEYS:
            name = key_text(key)
            raise _error(
                source,
                position + name,
                f"A connector configuration has no key {name}.",
                _write_keys(),
            )
    for key in _KEYS:
        if key not in document:
            raise _error(source, position + key, "This key is missing.", _write_keys())
    wanted: dict[str, Any] = {"kind": KIND, "version": VERSION, "connector": HYPERV.code}
    for key, value in wanted.items():
        if type(document[key]) is not type(value) or document[key] != value:
            raise _error(
                source,
                position + key,
                f"This version of Sekiso takes only the value {value} here.",
                "Correct the value, or use the version of Sekiso that wrote the file.",
            )


def _write_keys() -> str:
    return f"Write the keys {', '.join(_KEYS)}."


def _error(source: str, key: str, reason: str, remedy: str) -> DocumentError:
    return DocumentError(source=source, key=key, reason=reason, remedy=remedy)
