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
from sekiso.errors import NotFoundError
from sekiso.model.library import PackagingFacts, Role
from sekiso.services.core import Actor, require
from sekiso.services.layer_tasks import LayerTasks
from sekiso.services.layers import refuse_held, version_subject


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
