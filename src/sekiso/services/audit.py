"""The audit history: who did what to which object (OP-4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sekiso.model.library import AuditEntry, Role
from sekiso.services.core import Actor, Core, require


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """Whether the history is whole.

    Attributes:
        whole: whether every entry's hash is right.
        first_broken: number of the first entry that is not; None if none.
    """

    whole: bool
    first_broken: int | None


class AuditService:
    """The audit history."""

    def __init__(self, core: Core) -> None:
        """Serve the audit history of an appliance."""
        self._core = core

    def list(
        self,
        who: Actor,
        *,
        before: int | None = None,
        limit: int = 100,
        actor: str | None = None,
        action: str | None = None,
        subject_id: str | None = None,
    ) -> Sequence[AuditEntry]:
        """Return entries that match, newest first; `action` matches a prefix."""
        require(who, Role.ADMINISTRATOR)
        with self._core.db.read() as work:
            return tuple(
                work.audit.list(before=before, limit=limit, actor=actor, action=action, subject_id=subject_id)
            )

    def verify(self, who: Actor) -> AuditVerdict:
        """Check the whole chain."""
        require(who, Role.ADMINISTRATOR)
        with self._core.db.read() as work:
            first = work.audit.verify()
        return AuditVerdict(first is None, first)
