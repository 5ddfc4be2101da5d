"""Errors of agents: machines that package or prove, and the agent's own journal."""

from __future__ import annotations

from sekiso.errors import Family, SekisoError


class PackagingFailedError(SekisoError):
    """Something in the packaging machine failed. Params: what, reason."""

    code = "packaging.failed"
    family = Family.GUEST
    brief = "{what} failed in the packaging machine."
    why = "{reason}"
    resolution = "The packaging disk is kept. Mend the cause and start it again, or delete it and begin anew."


class JournalError(SekisoError):
    """The agent's journal of commands cannot be written or read. Params: database (its file), reason."""

    code = "agent.journal"
    family = Family.ENVIRONMENT
    retryable = True
    brief = "The database {database} cannot be used."
    why = "{reason}"
    resolution = "Nothing was changed. Check the folder, its permissions and its free space."
