"""Errors of engine work, and how errors come back from the process that does it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from sekiso.errors import Family, SekisoError


class EngineCrashedError(SekisoError):
    """The process that did engine work ended before its result. Params: work, reason."""

    code = "engine.crashed"
    family = Family.INTERNAL
    retryable = True
    brief = "The {work} ended before it was done."
    why = "{reason}"
    resolution = (
        "Nothing was changed. Try again; if it happens again with the same files, please report it with "
        "the log of the task."
    )


def error_from_dict(data: Mapping[str, Any], *, work: str) -> SekisoError:
    """Return an error of the class that it had in the other process.

    Args:
        data: what `SekisoError.to_dict` gave, with its English text as `text`.
        work: what was done, for an error of a class that is not known here.
    """
    params = data.get("params")
    code = str(data.get("code"))
    kind = _known().get(code)
    if kind is None:
        import_module("sekiso.compositing.jobs.work")  # the other process has loaded all of the engine
        kind = _known().get(code)
    if kind is None or not isinstance(params, dict):
        return EngineCrashedError(work=work, reason=str(data.get("text", "")))
    named: dict[str, object] = {str(key): value for key, value in params.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return kind(**named)


def _known() -> dict[str, type[SekisoError]]:
    """Return every class of error that this process has loaded, by code."""
    found: dict[str, type[SekisoError]] = {}
    waiting: list[type[SekisoError]] = [SekisoError]
    while waiting:
        kind = waiting.pop()
        found.setdefault(kind.code, kind)
        waiting += kind.__subclasses__()
    return found
