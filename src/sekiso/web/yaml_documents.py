"""Documents of a request: YAML or JSON, read strictly."""

from __future__ import annotations

from typing import Any

import yaml

from sekiso.connectors.errors import DocumentError

MAX_BYTES = 1 << 20
_MAX_ALIASES = 20


class _StrictLoader(yaml.SafeLoader):
    """Plain data only; a key twice is refused, and so are files that grow when they are read."""

    aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):  # pyright: ignore[reportUnknownMemberType]
            self.aliases += 1
            if self.aliases > _MAX_ALIASES:
                raise yaml.YAMLError("too many aliases")
        return super().compose_node(parent, index)  # pyright: ignore[reportUnknownMemberType]


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key: Any = loader.construct_object(key_node, deep=True)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if not isinstance(key, str):
            raise yaml.YAMLError("a key is no text")
        if key in found:
            raise yaml.YAMLError(f"the key {key[:60]} stands there twice")
        found[key] = loader.construct_object(value_node, deep=True)  # pyright: ignore[reportUnknownMemberType]
    return found


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)  # pyright: ignore[reportUnknownMemberType]


def read_documents(data: bytes) -> list[object]:
    """Read the documents of a request; a list at the top counts as its items.

    Raises:
        DocumentError: it is too large, no UTF-8, or not written in YAML or JSON.
    """
    if len(data) > MAX_BYTES:
        raise _error("It is larger than 1 MiB.", "Send several smaller files.")
    try:
        read = list(yaml.load_all(data.decode("utf-8"), Loader=_StrictLoader))
    except UnicodeDecodeError as error:
        raise _error("It is not UTF-8.", "Save it as UTF-8.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _error(f"It cannot be read as YAML: {_short(error)}.", "Correct it.") from error
    documents: list[object] = []
    for item in read:
        if isinstance(item, list):
            documents += item  # pyright: ignore[reportUnknownArgumentType]
        elif item is not None:
            documents.append(item)
    return documents


def _error(reason: str, remedy: str) -> DocumentError:
    return DocumentError(source="request", key="/", reason=reason, remedy=remedy)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
