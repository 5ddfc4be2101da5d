"""What an appliance clears away by itself: expired sessions, old commands, forgotten uploads and scratch."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from sekiso.services.core import Core
from sekiso.transfer.grants import Grants

log = logging.getLogger(__name__)
#: An upload that no task has taken is gone after so long.
UPLOAD_S = 24 * 3600.0
#: A task asks for the result of its command at most so much later.
COMMAND_S = 30 * 24 * 3600.0


class Housekeeping:
    """One thread that clears away now and then."""

    def __init__(
        self,
        core: Core,
        grants: Grants,
        *,
        also: Sequence[Callable[[], None]] = (),
        every_s: float = 900.0,
    ) -> None:
        """Prepare.

        Args:
            core: what every service works with.
            grants: the grants of transfers.
            also: what else is done in each round.
            every_s: time between two rounds, seconds.
        """
        self._core, self._grants, self._also, self._every_s = core, grants, also, every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Stop."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30.0)

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s):
            try:
                self.clear()
            except Exception:  # the thread outlives whatever one round meets
                log.exception("not everything could be cleared away; this is tried again")

    def clear(self) -> None:
        """Clear away once."""
        now_s = self._core.clock()
        with self._core.db.begin() as work:
            work.credentials.forget_expired(now_s)
            work.commands.forget_ended_before(now_s - COMMAND_S)
        self._grants.expire()
        self._clear_uploads(now_s)
        self._clear_scratch()
        for work_off in self._also:
            work_off()

    def _clear_uploads(self, now_s: float) -> None:
        folder = self._core.state / "uploads"
        for path in folder.iterdir() if folder.is_dir() else ():
            try:
                age_s = now_s - path.stat().st_mtime
            except FileNotFoundError:
                continue  # its task has ended just now
            if age_s > UPLOAD_S and not self._is_wanted(path):
                path.unlink(missing_ok=True)

    def _is_wanted(self, upload: Path) -> bool:
        """Whether a task that has not ended names an upload."""
        with self._core.db.begin() as work:
            tasks = [t for t in work.tasks.all() if not t.state.ended]
        return any(t.params.get("run_once") == upload.stem for t in tasks)

    def _clear_scratch(self) -> None:
        """Remove scratch of tasks that have ended: of a failed clean-up, or of a task that was forgotten."""
        folder = self._core.state / "scratch"
        for place in folder.iterdir() if folder.is_dir() else ():
            if place.name == "probes":
                continue
            with self._core.db.begin() as work:
                task = work.tasks.find(place.name)
            if task is None or task.state.ended:
                shutil.rmtree(place, ignore_errors=True)
