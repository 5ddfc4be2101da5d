"""Image templates."""

from __future__ import annotations

from fastapi import Response

from sekiso.compositing.jobs import PlanSummary
from sekiso.model.library import TemplateRecord
from sekiso.model.listing import TemplateSort
from sekiso.model.task import TaskRecord
from sekiso.services.templates import TemplateView, TemplateWish
from sekiso.web.answers import topic
from sekiso.web.auth import Language, Use, Who
from sekiso.web.bodies import Publication, Renaming, TemplateBody
from sekiso.web.params import PAGED, Descending, Limit, Offset, Ref, Text, listing_of, rows_of
from sekiso.web.shown import shown_task

router = topic("image templates")


@router.get("/image-templates", operation_id="list_templates", **PAGED)
def list_templates(
    use: Use,
    response: Response,
    text: Text = "",
    sort: TemplateSort | None = None,
    descending: Descending = None,
    offset: Offset = 0,
    limit: Limit = None,
) -> tuple[TemplateView, ...]:
    """List the image templates."""
    listing = listing_of(text, sort, descending=descending, offset=offset, limit=limit)
    return rows_of(response, use.templates.page(listing))


@router.post("/image-templates", operation_id="create_template", status_code=201)
def create_template(body: TemplateBody, use: Use, who: Who) -> TemplateView:
    """Make an image template."""
    return use.templates.create(who, TemplateWish(**body.model_dump()))


@router.post(
    "/image-templates/publish",
    operation_id="publish",
    status_code=202,
    response_description="The tasks were started.",
)
def publish(body: Publication, use: Use, who: Who, language: Language) -> tuple[TaskRecord, ...]:
    """Publish images from templates; one task for each."""
    tasks = use.templates.publish(who, body.templates, count=body.count)
    return tuple(shown_task(task, language) for task in tasks)


@router.get("/image-templates/{reference}", operation_id="get_template")
def get_template(reference: Ref, use: Use) -> TemplateView:
    """Show an image template."""
    return use.templates.get(reference)


@router.put("/image-templates/{reference}", operation_id="change_template")
def change_template(reference: Ref, body: TemplateBody, use: Use, who: Who) -> TemplateView:
    """Change an image template; the revision before is kept."""
    return use.templates.change(who, reference, TemplateWish(**body.model_dump()))


@router.delete("/image-templates/{reference}", operation_id="remove_template", status_code=204)
def remove_template(reference: Ref, use: Use, who: Who) -> None:
    """Delete an image template; its images stay."""
    use.templates.remove(who, reference)


@router.post("/image-templates/{reference}/clone", operation_id="clone_template", status_code=201)
def clone_template(reference: Ref, body: Renaming, use: Use, who: Who) -> TemplateView:
    """Make an image template like another."""
    return use.templates.clone(who, reference, body.name)


@router.get("/image-templates/{reference}/history", operation_id="get_template_history")
def get_template_history(reference: Ref, use: Use) -> tuple[TemplateRecord, ...]:
    """Show every revision of an image template, newest first."""
    return use.templates.history(reference)


@router.get("/image-templates/{reference}/preview", operation_id="preview_template")
def preview_template(reference: Ref, use: Use) -> PlanSummary:
    """Show the plan of an image: order, conflicts, size, every action with its reason."""
    return use.templates.preview(reference)
