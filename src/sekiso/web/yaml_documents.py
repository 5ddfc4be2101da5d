"""Documents of a request: YAML or JSON, read strictly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import yaml

from sekiso.connectors.errors import DocumentError
from sekiso.web.plain import MAX_DEPTH, plain

MAX_BYTES = 1 << 20
_MEND = "Correct the value, or use the version of Sekiso that wrote the file."
#: PyYAML's own type information is partial.
_YAML: Any = yaml


class _StrictLoader(_YAML.SafeLoader):
    """Plain data only: no aliases (few lines of them grow without limit), no key twice, no endless depth."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(_YAML.AliasEvent):
            raise _YAML.YAMLError("aliases are not read")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _YAML.YAMLError("it is nested too deeply")
        try:
            base: Any = super()
            return base.compose_node(parent, index)
        finally:
            self.depth -= 1


def _mapping(loader: _StrictLoader, node: Any) -> dict[str, Any]:
    pairs = [(loader.construct_object(k, deep=True), v) for k, v in node.value]
    return _once((key, loader.construct_object(value, deep=True)) for key, value in pairs)


def _once(pairs: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise ValueError("a key is no text")  # noqa: TRY004 (as for everything else in a document)
        if key in found:
            raise ValueError(f"the key {key[:60]} stands there twice")
        found[key] = value
    return found


def _not_a_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_documents(data: bytes, *, is_json: bool = False) -> list[object]:
    """Read the documents of a request; a list at the top counts as its items.

    Args:
        data: the body.
        is_json: whether it says it is JSON; otherwise it is YAML.

    Raises:
        DocumentError: it is too large, no UTF-8, or not written in YAML or JSON.
    """
    if len(data) > MAX_BYTES:
        raise _error("It is larger than 1 MiB.", "Send several smaller files.")
    try:
        return _flat(_read(data.decode("utf-8-sig"), is_json=is_json))
    except UnicodeDecodeError as error:
        raise _error("It is not UTF-8.", "Save it as UTF-8.") from error
    except (_YAML.YAMLError, ValueError, RecursionError) as error:
        raise _error(f"It cannot be read: {_short(error)}", _MEND) from error


def _read(text: str, *, is_json: bool) -> list[Any]:
    if is_json:
        read: Any = [json.loads(text, object_pairs_hook=_once, parse_constant=_not_a_number)]
    else:
        read = list(_YAML.load_all(text, Loader=_StrictLoader))
    return plain(read)


def _flat(read: Sequence[Any]) -> list[object]:
    documents: list[object] = []
    for item in read:
        if isinstance(item, list):
            documents += cast("list[object]", item)
        elif item is not None:
            documents.append(item)
    return documents


def _error(reason: str, remedy: str) -> DocumentError:
    return DocumentError(source="request", key="/", reason=reason, remedy=remedy)


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return text if text.endswith(".") else f"{text}."
