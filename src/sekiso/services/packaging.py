"""Packaging machines of versions that are being edited: what they do, and how to act on them (LY-2, LY-8)."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from sekiso.agent.contract import (
    PackagingParams,
    PackagingState,
    PackagingStatesParams,
    PressKeysParams,
    ScreenParams,
)
from sekiso.agent.handlers.errors import ScreenAbsentError
from sekiso.agent.port import ByteStream
from sekiso.errors import NotFoundError
from sekiso.model.connector import AgentInventory
from sekiso.model.library import PackagingFacts, Role
from sekiso.services.core import Actor, require
from sekiso.services.layer_tasks import LayerTasks
from sekiso.services.layers import refuse_held, version_subject
from sekiso.services.screens import (
    MachineScreen,
    ScreenFileAbsentError,
    ScreenKind,
    file_name,
    rdp_file,
    screen_kind,
)


class LayerService(LayerTasks):
    """Layers, their versions, the tasks that make them, and their packaging machines."""

    def machine(self, version_id: str) -> PackagingState:
        """Return what the packaging machine of a version is doing, and what its guest has said.

        Raises:
            NotFoundError: there is no such version, or it has no packaging machine.
            AgentOfflineError: its agent is not connected.
        """
        facts = self._facts(version_id)
        params = PackagingStatesParams(facts.storage_path, (version_id,))
        return self.core.agents.call(facts.agent_id, "packaging.states", params).states[0]

    def start_machine(self, actor: Actor, version_id: str) -> PackagingState:
        """Start a packaging machine that is off (again).

        Raises:
            NotFoundError: there is no such version, or it has no packaging machine.
            BusyError: a task works on the version.
            AgentOfflineError: its agent is not connected.
        """
        return self._act(actor, version_id, "packaging.start")

    def shut_down_machine(self, actor: Actor, version_id: str) -> PackagingState:
        """Ask the guest of a packaging machine to shut down; errors as for `start_machine`."""
        return self._act(actor, version_id, "packaging.shut-down")

    def turn_off_machine(self, actor: Actor, version_id: str) -> PackagingState:
        """Cut the power of a packaging machine; errors as for `start_machine`."""
        return self._act(actor, version_id, "packaging.turn-off")

    def screenshot(self, version_id: str) -> bytes:
        """Return the screen of a packaging machine as a PNG file."""
        facts = self._facts(version_id)
        params = ScreenParams(facts.storage_path, version_id)
        return base64.b64decode(self.core.agents.call(facts.agent_id, "packaging.screenshot", params).png)

    def screen(self, version_id: str) -> MachineScreen:
        """Return how the screen of a packaging machine is shown.

        Raises:
            NotFoundError: there is no such version, or it has no packaging machine.
        """
        return MachineScreen(self.screen_kind(version_id))

    def screen_kind(self, version_id: str) -> ScreenKind:
        """Return how the screen of a packaging machine is shown; errors as for `screen`."""
        return screen_kind(self._inventory(self._facts(version_id)).hypervisor)

    def open_screen(self, actor: Actor, version_id: str) -> ByteStream:
        """Open the screen of a packaging machine, with its keyboard and mouse: RFB, this side as client.

        Raises:
            NotAllowedError: the actor is no layer manager.
            NotFoundError: there is no such version, or it has no packaging machine.
            ScreenAbsentError: its hypervisor shows screens in a program of its own.
            WrongStateError: the machine is off.
            AgentOfflineError: its agent is not connected.
        """
        require(actor, Role.LAYER_MANAGER)
        facts = self._facts(version_id)
        hypervisor = self._inventory(facts).hypervisor
        if screen_kind(hypervisor) is not ScreenKind.RFB:
            raise ScreenAbsentError(hypervisor=hypervisor)
        params = ScreenParams(facts.storage_path, version_id)
        stream = self.core.agents.open_stream(facts.agent_id, "packaging.screen", params)
        try:
            with self.core.db.begin() as work:
                version = work.versions.get(version_id)
                subject = version_subject(work.layers.get(version.layer_id), version)
                work.audit.append(actor=actor.name, action="packaging.screen", subject=subject)
        except BaseException:
            # Nobody looks on without an entry.
            stream.close()
            raise
        return stream

    def screen_file(self, version_id: str) -> tuple[str, bytes]:
        """Return name and content of a file that opens the screen on the Hyper-V server.

        Raises:
            NotFoundError: there is no such version, or it has no packaging machine.
            ScreenFileAbsentError: the screen is shown in the browser.
        """
        facts = self._facts(version_id)
        inventory = self._inventory(facts)
        if screen_kind(inventory.hypervisor) is not ScreenKind.VMCONNECT:
            raise ScreenFileAbsentError(hypervisor=inventory.hypervisor)
        return file_name(facts.machine_name), rdp_file(inventory.host_name, facts.machine_id)

    def press_keys(self, actor: Actor, version_id: str, keys: Sequence[str]) -> None:
        """Press keys in a packaging machine, one after the other."""
        require(actor, Role.LAYER_MANAGER)
        facts = self._facts(version_id)
        params = PressKeysParams(facts.storage_path, version_id, tuple(keys))
        self.core.agents.call(facts.agent_id, "packaging.press-keys", params)

    def _act(self, actor: Actor, version_id: str, method: str) -> PackagingState:
        require(actor, Role.LAYER_MANAGER)
        facts = self._facts(version_id)
        with self.core.db.begin() as work:
            version = work.versions.get(version_id)
            layer = work.layers.get(version.layer_id)
            # Its disk is being read, or it is being removed.
            refuse_held(work, layer, version)
        self.core.agents.call(facts.agent_id, method, PackagingParams(facts.storage_path, version_id))
        with self.core.db.begin() as work:
            work.audit.append(actor=actor.name, action=method, subject=version_subject(layer, version))
        return self.machine(version_id)

    def _inventory(self, facts: PackagingFacts) -> AgentInventory:
        with self.core.db.read() as work:
            record = work.agents.get(facts.agent_id)
        if record.inventory is None:
            raise NotFoundError(
                what="The inventory of the agent",
                name=record.name,
                remedy="Wait until the agent has connected and reported its host.",
            )
        return record.inventory

    def _facts(self, version_id: str) -> PackagingFacts:
        with self.core.db.begin() as work:
            packaging = work.versions.get(version_id).packaging
        if packaging is None:
            raise NotFoundError(
                what="The packaging machine of the version",
                name=version_id,
                remedy="It has been finalized or discarded.",
            )
        return packaging
