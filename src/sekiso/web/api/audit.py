"""The audit history."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Query, Response
from fastapi.responses import StreamingResponse

from sekiso.model.library import AuditEntry
from sekiso.model.listing import AuditFilter, AuditSort
from sekiso.model.task import SubjectKind
from sekiso.services.audit import AuditVerdict
from sekiso.web.answers import topic
from sekiso.web.auth import Use, Who
from sekiso.web.exporting import FORMATS, ExportFormat, export_name
from sekiso.web.params import PAGED, Descending, Filter, Offset, Text, listing_of, rows_of

router = topic("audit")
_Time = Annotated[float | None, Query(ge=0, le=1e12, allow_inf_nan=False, description="Unix seconds.")]


async def _filter(
    actor: Filter = None,
    action: Annotated[
        Filter, Query(max_length=200, description="What the action begins with, such as layer.")
    ] = None,
    subject_kind: SubjectKind | None = None,
    subject: Filter = None,
    from_s: _Time = None,
    to_s: _Time = None,
) -> AuditFilter:
    return AuditFilter(actor, action, subject_kind, subject, from_s, to_s)


_Which = Annotated[AuditFilter, Depends(_filter)]


@router.get("/audit", operation_id="list_audit", **PAGED)
def list_audit(
    use: Use,
    who: Who,
    response: Response,
    which: _Which,
    before: Annotated[int | None, Query(ge=1, le=1 << 53)] = None,
    text: Text = "",
    sort: AuditSort | None = None,
    descending: Descending = None,
    offset: Offset = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> tuple[AuditEntry, ...]:
    """List the audit history, newest first. `text` is looked for in actor, action and name."""
    listing = listing_of(text, sort, descending=descending, offset=offset, limit=limit)
    return rows_of(response, use.audit.page(who, replace(which, before=before), listing))


@router.get(
    "/audit/export",
    operation_id="export_audit",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The file.",
            "content": {
                form.media_type.partition(";")[0]: {"schema": {"type": "string"}} for form in FORMATS.values()
            },
        }
    },
)
def export_audit(
    use: Use, who: Who, which: _Which, text: Text = "", format: ExportFormat = ExportFormat.CSV
) -> StreamingResponse:
    """Download the audit history as CSV or JSON lines. In CSV a formula gets an apostrophe."""
    form = FORMATS[format]
    return StreamingResponse(
        form.encode(use.audit.export(who, which, text)),
        media_type=form.media_type,
        headers={"Content-Disposition": f'attachment; filename="{export_name("audit", format)}"'},
    )


@router.get("/audit/verify", operation_id="verify_audit")
def verify_audit(use: Use, who: Who) -> AuditVerdict:
    """Check the chain of the audit history."""
    return use.audit.verify(who)
