"""Puts an agent together from its registration: the handlers of its hypervisor behind its link."""

from __future__ import annotations

from pathlib import Path

from sekiso import __version__
from sekiso.agent.handlers.dispatcher import Handlers
from sekiso.agent.handlers.settings import HandlerSettings
from sekiso.agent.service import AgentService
from sekiso.agent.settings import AgentSettings, load_settings
from sekiso.hypervisors.base import HypervisorDriver
from sekiso.hypervisors.qemu.driver import QemuDriver


def make_service(state: Path) -> AgentService:
    """Return the agent that is registered in a state folder.

    Raises:
        NotFoundError: none is.
        DamagedInputError: its settings are damaged.
    """
    return AgentService(load_settings(state), state, lambda settings: _handlers(settings, state))


def _handlers(settings: AgentSettings, state: Path) -> Handlers:
    def driver() -> HypervisorDriver:
        storage = Path(settings.storage)
        storage.mkdir(parents=True, exist_ok=True, mode=0o700)
        return QemuDriver(storage)

    return Handlers(
        HandlerSettings(
            driver=driver,
            transfer_host=settings.host,
            # Read each time: the appliance may have another certificate by then.
            pins=lambda: load_settings(state).pins,
            agent_version=__version__,
        )
    )
