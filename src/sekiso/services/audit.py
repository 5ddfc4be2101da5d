"""The audit history: who did what to which object (OP-4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sekiso.model.library import AuditEntry, Role
from sekiso.model.listing import AuditFilter
from sekiso.model.paging import Listing, Page
from sekiso.services.core import Actor, Core, require

_EXPORTED_AT_ONCE = 1000


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

    def page(
        self, who: Actor, which: AuditFilter | None = None, listing: Listing | None = None
    ) -> Page[AuditEntry]:
        """Return a page of the entries that match, newest first; the first of all if nothing is asked for.

        Raises:
            NotAllowedError: the user is no administrator.
            RuleError: they cannot be sorted by that.
        """
        require(who, Role.ADMINISTRATOR)
        with self._core.db.read() as work:
            return work.audit.page(which or AuditFilter(), listing or Listing())

    def export(self, who: Actor, which: AuditFilter | None = None, text: str = "") -> Iterator[AuditEntry]:
        """Return the entries that match, oldest first, read little by little: as many as there are.

        What is added meanwhile is not part of it.

        Raises:
            NotAllowedError: the user is no administrator.
        """
        require(who, Role.ADMINISTRATOR)
        with self._core.db.read() as work:
            newest = work.audit.list(limit=1)
        end = newest[0].number + 1 if newest else 1
        wanted = which or AuditFilter()
        before = end if wanted.before is None else min(end, wanted.before)
        return self._exported(replace(wanted, before=before), text)

    def _exported(self, which: AuditFilter, text: str) -> Iterator[AuditEntry]:
        after = 0
        # A transaction for each portion: a slow reader must not keep one open.
        while True:
            with self._core.db.read() as work:
                entries = work.audit.portion(which, text, after=after, limit=_EXPORTED_AT_ONCE)
            yield from entries
            if len(entries) < _EXPORTED_AT_ONCE:
                return
            after = entries[-1].number

    def verify(self, who: Actor) -> AuditVerdict:
        """Check the whole chain."""
        require(who, Role.ADMINISTRATOR)
        with self._core.db.read() as work:
            first = work.audit.verify()
        return AuditVerdict(first is None, first)
