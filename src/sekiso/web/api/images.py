"""Image templates and published images."""

from __future__ import annotations

from fastapi import APIRouter, Response

from sekiso.compositing.jobs import PlanSummary
from sekiso.model.library import TemplateRecord
from sekiso.model.task import TaskRecord
from sekiso.services.images import ImageView
from sekiso.services.templates import TemplateView, TemplateWish
from sekiso.web.answers import TASK, Responses, Tags, started
from sekiso.web.auth import Use, Who
from sekiso.web.bodies import Publication, Renaming, TemplateBody

router = APIRouter()
_TEMPLATES: Tags = ["image templates"]
_IMAGES: Tags = ["images"]
_PNG: Responses = {200: {"content": {"image/png": {}}, "description": "A picture."}}


@router.get("/image-templates", tags=_TEMPLATES, operation_id="list_templates")
def list_templates(use: Use, _who: Who) -> tuple[TemplateView, ...]:
    """List the image templates."""
    return use.templates.list()


@router.post("/image-templates", tags=_TEMPLATES, operation_id="create_template", status_code=201)
def create_template(body: TemplateBody, use: Use, who: Who) -> TemplateView:
    """Make an image template."""
    return use.templates.create(who, TemplateWish(**body.model_dump()))


@router.post("/image-templates/publish", tags=_TEMPLATES, operation_id="publish", status_code=202)
def publish(body: Publication, use: Use, who: Who) -> tuple[TaskRecord, ...]:
    """Publish images from templates; one task for each."""
    return use.templates.publish(who, body.templates, count=body.count)


@router.get("/image-templates/{reference}", tags=_TEMPLATES, operation_id="get_template")
def get_template(reference: str, use: Use, _who: Who) -> TemplateView:
    """Show an image template."""
    return use.templates.get(reference)


@router.put("/image-templates/{reference}", tags=_TEMPLATES, operation_id="change_template")
def change_template(reference: str, body: TemplateBody, use: Use, who: Who) -> TemplateView:
    """Change an image template; the revision before is kept."""
    return use.templates.change(who, reference, TemplateWish(**body.model_dump()))


@router.delete(
    "/image-templates/{reference}", tags=_TEMPLATES, operation_id="remove_template", status_code=204
)
def remove_template(reference: str, use: Use, who: Who) -> None:
    """Delete an image template; its images stay."""
    use.templates.remove(who, reference)


@router.post(
    "/image-templates/{reference}/clone",
    tags=_TEMPLATES,
    operation_id="clone_template",
    status_code=201,
)
def clone_template(reference: str, body: Renaming, use: Use, who: Who) -> TemplateView:
    """Make an image template like another."""
    return use.templates.clone(who, reference, body.name)


@router.get("/image-templates/{reference}/history", tags=_TEMPLATES, operation_id="template_history")
def template_history(reference: str, use: Use, _who: Who) -> tuple[TemplateRecord, ...]:
    """Show every revision of an image template, newest first."""
    return use.templates.history(reference)


@router.get("/image-templates/{reference}/preview", tags=_TEMPLATES, operation_id="preview_template")
def preview_template(reference: str, use: Use, _who: Who) -> PlanSummary:
    """Show the plan of an image: order, conflicts, size, every action with its reason."""
    return use.templates.preview(reference)


@router.get("/images", tags=_IMAGES, operation_id="list_images")
def list_images(use: Use, _who: Who) -> tuple[ImageView, ...]:
    """List the published images."""
    return use.images.list()


@router.get("/images/{reference}", tags=_IMAGES, operation_id="get_image")
def get_image(reference: str, use: Use, _who: Who) -> ImageView:
    """Show a published image."""
    return use.images.get(reference)


@router.delete("/images/{reference}", tags=_IMAGES, operation_id="remove_image", **TASK)
def remove_image(reference: str, response: Response, use: Use, who: Who) -> TaskRecord:
    """Delete a published image with its machine and disk."""
    return started(response, use.images.remove(who, reference))


@router.post("/images/{reference}/boot-test", tags=_IMAGES, operation_id="boot_test_image", **TASK)
def boot_test_image(reference: str, response: Response, use: Use, who: Who) -> TaskRecord:
    """Start a published image once, without writing to it."""
    return started(response, use.images.boot_test(who, reference))


@router.get(
    "/images/{reference}/screenshot",
    tags=_IMAGES,
    operation_id="image_screenshot",
    response_class=Response,
    responses=_PNG,
)
def image_screenshot(reference: str, use: Use, _who: Who) -> Response:
    """Return the picture of an image's last boot test as PNG."""
    return Response(use.images.screenshot(reference), media_type="image/png")
