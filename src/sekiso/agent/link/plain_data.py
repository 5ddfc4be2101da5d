"""Parameters, results and errors of commands as plain data, and back."""

from __future__ import annotations

from typing import Any

import msgspec

from sekiso.agent import errors as agent_errors
from sekiso.agent.contract import METHODS
from sekiso.agent.handlers import errors as handler_errors
from sekiso.compositing.jobs.errors import error_from_dict
from sekiso.errors import SekisoError
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


def result_of(method: str, data: dict[str, Any]) -> Any:
    """Return the result of a method; errors as for `params_of`."""
    kind: Any = METHODS[method].result
    return msgspec.convert(data, kind)


def error_data(error: SekisoError) -> dict[str, Any]:
    """Return an error as plain data."""
    return {**error.to_dict(), "text": error.render()}


def error_of(method: str, data: dict[str, Any]) -> SekisoError:
    """Return an error as it was at the agent."""
    return error_from_dict(data, work=f"command {method}")
