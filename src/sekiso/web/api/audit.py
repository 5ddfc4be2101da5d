"""The audit history."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from sekiso.model.library import AuditEntry
from sekiso.services.audit import AuditVerdict
from sekiso.web.answers import topic
from sekiso.web.auth import Use, Who
from sekiso.web.bodies import LINE

router = topic("audit")
_Filter = Annotated[str | None, Query(max_length=200, pattern=LINE)]


@router.get("/audit", operation_id="list_audit")
def list_audit(
    use: Use,
    who: Who,
    before: Annotated[int | None, Query(ge=1, le=1 << 53)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    actor: _Filter = None,
    action: _Filter = None,
    subject: _Filter = None,
) -> tuple[AuditEntry, ...]:
    """List the audit history, newest first."""
    found = use.audit.list(who, before=before, limit=limit, actor=actor, action=action, subject_id=subject)
    return tuple(found)


@router.get("/audit/verify", operation_id="verify_audit")
def verify_audit(use: Use, who: Who) -> AuditVerdict:
    """Check the chain of the audit history."""
    return use.audit.verify(who)
