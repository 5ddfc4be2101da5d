"""What every service works with, and who acts."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sekiso.agent.port import AgentPort
from sekiso.errors import Family, SekisoError
from sekiso.model.library import Role
from sekiso.store.database.api import DatabasePort
from sekiso.tasks.port import TaskEngine


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for something.

    Attributes:
        name: login name; what audit and tasks show.
        role: what it may do.
        user_id: its user; empty for the appliance itself.
    """

    name: str
    role: Role
    user_id: str = ""


#: The appliance acting by itself, e.g. finalizing automatically.
APPLIANCE = Actor("appliance", Role.ADMINISTRATOR)

_RANK = {Role.READ_ONLY: 0, Role.PUBLISHER: 1, Role.LAYER_MANAGER: 2, Role.ADMINISTRATOR: 3}


class NotAllowedError(SekisoError):
    """The user's role does not allow it. Params: user, role, needed."""

    code = "not-allowed"
    family = Family.USAGE
    brief = "{user} may not do this."
    why = "It needs the role {needed}; the role of {user} is {role}."
    resolution = "Ask an administrator."


def allows(actor: Actor, role: Role) -> bool:
    """Return whether an actor's role is `role` or above."""
    return _RANK[actor.role] >= _RANK[role]


def require(actor: Actor, role: Role) -> None:
    """Refuse an actor whose role is below `role`.

    Raises:
        NotAllowedError: it is.
    """
    if not allows(actor, role):
        raise NotAllowedError(user=actor.name, role=actor.role.value, needed=role.value)


@dataclass(frozen=True)
class Core:
    """What every service works with.

    Attributes:
        db: the database.
        agents: commands to agents.
        tasks: the task engine.
        state: the appliance's state folder.
        clock: Unix seconds.
    """

    db: DatabasePort
    agents: AgentPort
    tasks: TaskEngine
    state: Path
    clock: Callable[[], float] = time.time


def new_id() -> str:
    """Return a fresh identifier."""
    return str(uuid.uuid4())
