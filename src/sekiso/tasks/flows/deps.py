"""What flows work with."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sekiso.agent.contract import CleanUpParams
from sekiso.agent.granting import TransferAccess
from sekiso.agent.link.errors import AgentOfflineError, AgentUnknownError
from sekiso.agent.port import AgentPort
from sekiso.errors import SekisoError
from sekiso.model.connector import TransferPolicy
from sekiso.model.progress import check_canceled
from sekiso.store.database.api import DatabasePort
from sekiso.store.layers import LayerStore
from sekiso.tasks.flows.params import Site
from sekiso.tasks.port import FlowContext

_PAUSE_S = 0.5
#: How long the end of a task waits for an agent that is away, for its scratch alone.
CLEAN_UP_S = 300.0


@dataclass(frozen=True)
class Deps:
    """What flows work with.

    Attributes:
        db: the database.
        agents: commands to agents.
        layers: the appliance's layer store.
        access: grants for transfers.
        policy: how files travel now (config.json, CC-8).
        settle: ends the wait of another task.
        state: the appliance's state folder.
        clock: Unix seconds.
    """

    db: DatabasePort
    agents: AgentPort
    layers: LayerStore
    access: TransferAccess
    policy: Callable[[], TransferPolicy]
    settle: Callable[[str], None]
    state: Path
    clock: Callable[[], float] = time.time

    def scratch(self, ctx: FlowContext) -> Path:
        """Return the appliance's scratch folder of a task, which is there afterwards."""
        folder = self.state / "scratch" / ctx.task.id
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def upload(self, upload_id: str) -> Path:
        """Return the file that a user has uploaded."""
        return self.state / "uploads" / f"{upload_id}.tar"

    def call(self, ctx: FlowContext, site: Site, method: str, params: Any, *, name: str = "") -> Any:
        """Give a command to the agent of a site; once in this attempt of the task.

        Args:
            ctx: the step.
            site: whose agent.
            method: the method.
            params: its parameters.
            name: tells several commands of one step and method apart.

        Raises:
            SekisoError: as for `AgentPort.call`.
        """
        identity = ctx.command_id(f"{method}.{name}" if name else method)

        def give() -> Any:
            return self.agents.call(site.agent_id, method, params, command_id=identity, progress=ctx.progress)

        return patiently(ctx, give)

    def ask(self, ctx: FlowContext, site: Site, method: str, params: Any) -> Any:
        """Ask the agent of a site something that may be asked at any time; while it is away, wait."""

        def give() -> Any:
            return self.agents.call(site.agent_id, method, params, progress=ctx.progress)

        return patiently(ctx, give)

    def tell(self, site: Site, method: str, params: Any) -> Any:
        """Ask the agent of a site now; it is not waited for: for undoing, which is tried again later.

        Raises:
            AgentOfflineError: it is not connected.
            SekisoError: what the agent raised.
        """
        return self.agents.call(site.agent_id, method, params)

    def clean_up(self, ctx: FlowContext, site: Site, *, limit_s: float = CLEAN_UP_S) -> None:
        """Remove the scratch of a task on both sides; harmless when repeated.

        Args:
            ctx: the step.
            site: whose agent; it is waited for so long.
            limit_s: seconds.

        Raises:
            SekisoError: the agent cannot be reached; the appliance's own scratch is gone.
        """
        shutil.rmtree(self.state / "scratch" / ctx.task.id, ignore_errors=True)
        params = CleanUpParams(site.storage_path, ctx.task.id)
        patiently(ctx, lambda: self.tell(site, "task.clean-up", params), limit_s=limit_s)


def patiently(ctx: FlowContext, give: Callable[[], Any], *, limit_s: float | None = None) -> Any:
    """Do something with an agent; while it is away, wait and try again (AG-5).

    Args:
        ctx: the step.
        give: what is done.
        limit_s: give up after so many seconds; None = never.

    Raises:
        AgentOfflineError: the agent did not come back in time.
        CanceledError: the work was canceled.
    """
    told, begun = False, time.monotonic()
    while True:
        try:
            return give()
        except AgentOfflineError as error:
            if limit_s is not None and time.monotonic() - begun > limit_s:
                raise
            if not told:
                ctx.log(f"{error.render().splitlines()[0]} The task waits for it.")
                told = True
            check_canceled(ctx.progress)
            time.sleep(_PAUSE_S)


def unless_gone(ctx: FlowContext, what: Callable[[], Any]) -> None:
    """Have an agent remove something; of an agent that is not registered any more, nothing can be removed.

    Raises:
        SekisoError: as `what` does, but not that the agent is unknown: this is logged.
    """
    try:
        what()
    except AgentUnknownError as error:
        ctx.log(error.render().replace("\n", " "))


def tried(ctx: FlowContext, what: Callable[[], Any]) -> bool:
    """Do something whose failure does not matter for the rest; it is logged.

    Returns:
        Whether it was done.
    """
    try:
        what()
    except SekisoError as error:
        ctx.log(error.render().replace("\n", " "))
        return False
    return True
