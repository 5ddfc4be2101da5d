"""Errors of an agent's handlers."""

from __future__ import annotations

from sekiso.errors import Family, SekisoError


class StorageUnusableError(SekisoError):
    """A folder of the storage path cannot be written or read. Params: path, account, reason."""

    code = "storage.unusable"
    family = Family.ENVIRONMENT
    brief = "The storage path {path} cannot be used by the agent's account {account}."
    why = "{reason}"
    resolution = "Give that account the right to write there, or choose another folder."


class ScreenAbsentError(SekisoError):
    """A hypervisor shows screens by programs of its own only. Params: hypervisor."""

    code = "screen.absent"
    family = Family.UNSUPPORTED
    brief = "The screen of this machine cannot be shown here."
    why = "{hypervisor} shows the screens of its machines in a program of its own."
    resolution = "Open it with the file that the page of the packaging machine offers."


class MethodUnknownError(SekisoError):
    """The appliance asked for something that this agent does not know. Params: method."""

    code = "agent.method-unknown"
    family = Family.UNSUPPORTED
    brief = "The agent does not know the command {method}."
    why = "Agent and appliance are of different versions."
    resolution = "Update the older of the two."
