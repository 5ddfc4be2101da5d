"""Errors of the link between appliance and agents."""

from __future__ import annotations

from sekiso.errors import Family, SekisoError


class AgentOfflineError(SekisoError):
    """An agent is not connected. Params: agent."""

    code = "agent.offline"
    family = Family.ENVIRONMENT
    retryable = True
    brief = "The agent {agent} is not connected."
    why = "It connects to the appliance by itself; it is stopped, or it cannot reach the appliance."
    resolution = "Start the agent's service on its host and check the network in between."


class AgentUnknownError(SekisoError):
    """There is no such agent, or it was revoked. Params: agent."""

    code = "agent.unknown"
    family = Family.NOT_FOUND
    brief = "The agent {agent} is not registered."
    why = "It was removed, revoked, or never registered."
    resolution = "Register it again: sekiso agent token, then sekiso agent register on its host."


class AgentSilentError(SekisoError):
    """An agent did not answer in time. Params: agent, method, timeout_s."""

    code = "agent.silent"
    family = Family.ENVIRONMENT
    retryable = True
    brief = "The agent {agent} did not answer within {timeout_s} seconds."
    why = "It was asked for {method}."
    resolution = "Look at the log of the agent's service on its host."


class RemoteError(SekisoError):
    """An error of a class that only the agent knows, with its own texts. Params: brief, why, resolution."""

    code = "agent.remote"
    family = Family.INTERNAL
    brief = "{brief}"
    why = "{why}"
    resolution = "{resolution}"


class StreamLostError(SekisoError):
    """A stream ended because the connection to its agent did. Params: agent."""

    code = "agent.stream-lost"
    family = Family.ENVIRONMENT
    retryable = True
    brief = "The connection to the agent {agent} was lost."
    why = "The agent or the network in between has failed, or the agent has been started again."
    resolution = "Open it again in a moment: the agent connects again by itself."


class StreamEndedError(SekisoError):
    """Something was written to a stream that has ended. No params."""

    code = "agent.stream-ended"
    family = Family.ENVIRONMENT
    retryable = True
    brief = "The connection has ended."
    why = "It was closed, here or at the agent."
    resolution = "Open it again."


class StreamsExhaustedError(SekisoError):
    """An agent has as many streams as it takes. Params: most."""

    code = "agent.streams-exhausted"
    family = Family.ENVIRONMENT
    retryable = True
    brief = "The agent cannot open one more connection."
    why = "At most {most} are open at once."
    resolution = "Close screens that nobody looks at, and try again."
