"""Parameters, results and errors of commands as plain data, and back."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from sekiso.agent import errors as agent_errors
from sekiso.agent.contract import METHODS, STREAMS
from sekiso.agent.handlers import errors as handler_errors
from sekiso.agent.handlers.errors import MethodUnknownError
from sekiso.agent.link.errors import RemoteError
from sekiso.compositing.jobs.errors import EngineCrashedError, error_from_dict
from sekiso.errors import SekisoError, fill
from sekiso.hypervisors import errors as hypervisor_errors
from sekiso.transfer import errors as transfer_errors

#: Errors come back with their classes only where these are loaded.
LOADED = (agent_errors, handler_errors, hypervisor_errors, transfer_errors)


def plain(value: Any) -> dict[str, Any]:
    """Return parameters or a result as plain data."""
    return msgspec.to_builtins(value)


def params_of(method: str, data: dict[str, Any]) -> Any:
    """Return the parameters of a method.

    Raises:
        KeyError: there is no such method.
        msgspec.MsgspecError: the data are not its parameters.
    """
    kind: Any = METHODS[method].params
    return msgspec.convert(data, kind)


def stream_params_of(method: str, data: dict[str, Any]) -> Any:
    """Return the parameters of a stream; errors as for `params_of`."""
    kind: Any = STREAMS[method]
    return msgspec.convert(data, kind)


def result_of(method: str, data: dict[str, Any]) -> Any:
    """Return the result of a method.

    Raises:
        MethodUnknownError: the data are not its result: the agent is of another version.
    """
    kind: Any = METHODS[method].result
    try:
        return msgspec.convert(data, kind)
    except msgspec.MsgspecError as error:
        raise MethodUnknownError(method=method) from error


def error_data(error: SekisoError) -> dict[str, Any]:
    """Return an error as plain data that a message holds."""
    parts = [fill(text, error.params) for text in (error.brief, error.why, error.resolution)]
    return sayable({**error.to_dict(), "text": error.render(), "parts": parts})


def sayable(data: Any) -> Any:
    """Return plain data with what UTF-8 cannot hold escaped, as in names of files."""
    match data:
        case str():
            return data.encode("utf-8", "backslashreplace").decode()
        case list():
            return [sayable(item) for item in cast("list[Any]", data)]
        case dict():
            return {key: sayable(value) for key, value in cast("dict[str, Any]", data).items()}
        case _:
            return data


def error_of(method: str, data: dict[str, Any]) -> SekisoError:
    """Return an error as it was at the agent; one of an unknown class keeps its texts."""
    try:
        error = error_from_dict(data, work=f"command {method}")
    except TypeError:  # parameters that no error has
        return _remote(data)
    if isinstance(error, EngineCrashedError) and data.get("code") != EngineCrashedError.code:
        return _remote(data)
    return error


def _remote(data: dict[str, Any]) -> RemoteError:
    brief, why, resolution, *_ = *_texts(data), "", "", ""
    return RemoteError(brief=brief, why=why, resolution=resolution)


def _texts(data: dict[str, Any]) -> list[str]:
    try:
        return msgspec.convert(data.get("parts"), list[str])
    except msgspec.ValidationError:
        return [str(data.get("text", ""))]
