"""Watches packaging machines: when one has shut down its version can be finalized, or is (LY-2, LY-8).

What is known is kept in the database, so the watch goes on after a restart of the appliance.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Sequence
from dataclasses import replace

from sekiso.agent.contract import PackagingState, PackagingStatesParams
from sekiso.errors import SekisoError
from sekiso.hypervisors.facts import MachineState
from sekiso.model.library import PackagingFacts, VersionRecord, VersionState
from sekiso.model.task import TaskRecord, TaskState
from sekiso.services.core import APPLIANCE
from sekiso.services.packaging import LayerService
from sekiso.tasks.flows.create_layer import what_to_do
from sekiso.tasks.flows.params import CreateLayerTask, unpack

log = logging.getLogger(__name__)
_AUTOMATIC = uuid.UUID("3d0c5f0e-6d55-4f0b-9a6e-8f2f5a1f6a11")


class PackagingWatch:
    """One thread that looks at every packaging machine from time to time."""

    def __init__(self, layers: LayerService, *, every_s: float = 2.0) -> None:
        """Prepare to watch.

        Args:
            layers: the layers.
            every_s: time between two looks, seconds.
        """
        self._layers, self._every_s = layers, every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="packaging-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30.0)

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s):
            try:
                self.look()
            except Exception:  # the watch outlives whatever one look meets
                log.exception("packaging machines could not be looked at; this is tried again")

    def look(self) -> None:
        """Look at every packaging machine once."""
        core = self._layers.core
        with core.db.begin() as work:
            versions = [v for v in work.versions.editing() if v.holder_task_id is None]
        online = set(core.agents.online())
        places: dict[tuple[str, str], list[VersionRecord]] = {}
        for version in versions:
            facts = version.packaging
            if facts is not None and facts.machine_id and facts.agent_id in online:
                places.setdefault((facts.agent_id, facts.storage_path), []).append(version)
        for (agent_id, storage_path), there in places.items():
            self._look_at(agent_id, storage_path, there)

    def _look_at(self, agent_id: str, storage_path: str, versions: Sequence[VersionRecord]) -> None:
        params = PackagingStatesParams(storage_path, tuple(v.id for v in versions))
        try:
            states = self._layers.core.agents.call(agent_id, "packaging.states", params).states
        except SekisoError as error:
            log.warning("packaging machines at %s: %s", agent_id, error.render().replace("\n", " "))
            return
        for version, state in zip(versions, states, strict=True):
            try:
                self._judge(version, state, self._layers.creation_of(version.id))
            except SekisoError as error:  # of this one; the others are looked at all the same
                log.warning("the layer version %s: %s", version.id, error.render().replace("\n", " "))

    def _judge(self, version: VersionRecord, state: PackagingState, creation: TaskRecord) -> None:
        facts = version.packaging
        if facts is None or version.state not in (VersionState.EDITING, VersionState.FINALIZABLE):
            return
        if creation.state not in (TaskState.ACTION_REQUIRED, TaskState.COMPLETE, TaskState.FAILED):
            return  # it has not begun to wait for a person yet, or takes the machine away
        off = state.state == MachineState.OFF
        unfinished = (*state.gate, *state.run_once_running, *state.run_once_failed)
        seen = replace(facts, gate=unfinished, gate_known=state.gate_known, shut_down=off)
        wanted = VersionState.FINALIZABLE if off else VersionState.EDITING
        if seen != facts or wanted is not version.state:
            if not self._record(version, facts, seen, wanted):
                return
            self._tell(creation, seen)
        if off and state.gate_known and not unfinished:
            self._finalize_once(version, creation)

    def _record(
        self, version: VersionRecord, before: PackagingFacts, seen: PackagingFacts, state: VersionState
    ) -> bool:
        with self._layers.core.db.begin() as work:
            now = work.versions.find(version.id)
            # A task may have taken it since it was read.
            if now is None or now.holder_task_id is not None or now.packaging != before:
                return False
            work.versions.replace(replace(now, packaging=seen, state=state))
        return True

    def _tell(self, creation: TaskRecord, seen: PackagingFacts) -> None:
        name = seen.machine_name
        if not seen.shut_down:
            self._say(creation, what_to_do(unpack(creation.params, CreateLayerTask), name))
        elif seen.gate:
            reasons = "; ".join(seen.gate)[:400]
            self._say(
                creation,
                f"Something is unfinished in {name}: {reasons}. Start it again and let it finish, or "
                "finalize with the gate overridden.",
            )
        elif seen.gate_known:
            self._say(creation, f"The packaging machine {name} has shut down: finalize the layer version.")
        else:
            self._say(
                creation,
                f"The packaging machine {name} has shut down without a report of its guest: check it, then "
                "finalize the layer version.",
            )

    def _finalize_once(self, version: VersionRecord, creation: TaskRecord) -> None:
        """Finalize automatically; once per machine, so that a failed attempt is left to a person."""
        if not unpack(creation.params, CreateLayerTask).auto_finalize:
            return
        task_id = str(uuid.uuid5(_AUTOMATIC, f"{creation.id}.{creation.attempt}"))
        with self._layers.core.db.begin() as work:
            if work.tasks.find(task_id) is not None:
                return
        self._layers.finalize(APPLIANCE, version.id, task_id=task_id)

    def _say(self, creation: TaskRecord, action: str) -> None:
        with self._layers.core.db.begin() as work:
            # A task that has ended, or is canceled, asks for nothing.
            if work.tasks.get(creation.id).state is TaskState.ACTION_REQUIRED:
                work.tasks.report(creation.id, action=action)
