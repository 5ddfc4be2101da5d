"""YAML as plain data, read strictly: no aliases, no key twice, no tags of Python."""

from __future__ import annotations

from typing import Any

import yaml

#: PyYAML's own type information is partial.
_YAML: Any = yaml
_MOST_DEPTH = 50


class NotPlainError(ValueError):
    """A YAML text holds what is not read; the message says where."""


def plain_documents(text: str) -> list[Any]:
    """Return the documents of a YAML (or JSON) text as plain data; empty ones are left out.

    Raises:
        NotPlainError: it is no YAML, has an alias, a key twice, or a tag that is not plain data.
    """
    try:
        _refuse_events(text)
        for node in _YAML.compose_all(text, Loader=_YAML.SafeLoader):
            _refuse_twice(node)
        return [d for d in _YAML.safe_load_all(text) if d is not None]
    except _YAML.MarkedYAMLError as error:
        raise NotPlainError(_at(error.problem_mark, str(error.problem))) from error
    except _YAML.YAMLError as error:
        raise NotPlainError(f"It is no YAML: {error}.") from error


def _refuse_events(text: str) -> None:
    """Refuse aliases, and depths at which the library would become slow or run out of stack."""
    depth = 0
    for event in _YAML.parse(text, Loader=_YAML.SafeLoader):
        if isinstance(event, _YAML.AliasEvent):
            raise NotPlainError(_at(event.start_mark, "aliases are not read"))
        if isinstance(event, _YAML.CollectionStartEvent):
            depth += 1
        elif isinstance(event, _YAML.CollectionEndEvent):
            depth -= 1
        if depth > _MOST_DEPTH:
            raise NotPlainError(_at(event.start_mark, "it is nested too deeply"))


def _refuse_twice(node: Any) -> None:
    if isinstance(node, _YAML.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise NotPlainError(_at(key.start_mark, f"the key {name} stands there twice"))
            seen.add(name)
            _refuse_twice(value)
    elif isinstance(node, _YAML.SequenceNode):
        for item in node.value:
            _refuse_twice(item)


def _at(mark: Any, problem: str) -> str:
    if mark is None:
        return f"It is no YAML: {problem}."
    line, column = mark.line + 1, mark.column + 1
    return f"Line {line}, column {column}: {problem}."
