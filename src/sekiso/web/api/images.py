"""Published images."""

from __future__ import annotations

from fastapi import Response

from sekiso.model.library import ImageState
from sekiso.model.listing import ImageSort
from sekiso.model.task import TaskRecord
from sekiso.services.images import ImageView
from sekiso.web.answers import TASK, content, started, topic
from sekiso.web.auth import Language, Use, Who
from sekiso.web.params import PAGED, Descending, Filter, Limit, Offset, Ref, Text, listing_of, rows_of

router = topic("images")


@router.get("/images", operation_id="list_images", **PAGED)
def list_images(
    use: Use,
    response: Response,
    template: Filter = None,
    state: ImageState | None = None,
    text: Text = "",
    sort: ImageSort | None = None,
    descending: Descending = None,
    offset: Offset = 0,
    limit: Limit = None,
) -> tuple[ImageView, ...]:
    """List the published images. `template` is the identifier of an image template."""
    listing = listing_of(text, sort, descending=descending, offset=offset, limit=limit)
    return rows_of(response, use.images.page(template=template, state=state, listing=listing))


@router.get("/images/{reference}", operation_id="get_image")
def get_image(reference: Ref, use: Use) -> ImageView:
    """Show a published image."""
    return use.images.get(reference)


@router.delete("/images/{reference}", operation_id="remove_image", **TASK)
def remove_image(reference: Ref, response: Response, use: Use, who: Who, language: Language) -> TaskRecord:
    """Delete a published image with its machine and disk."""
    return started(response, use.images.remove(who, reference), language)


@router.post("/images/{reference}/boot-test", operation_id="boot_test_image", **TASK)
def boot_test_image(reference: Ref, response: Response, use: Use, who: Who, language: Language) -> TaskRecord:
    """Start a published image once, without writing to it."""
    return started(response, use.images.boot_test(who, reference), language)


@router.get(
    "/images/{reference}/screenshot",
    operation_id="get_image_screenshot",
    response_class=Response,
    responses=content("image/png", "The picture."),
)
def get_image_screenshot(reference: Ref, use: Use) -> Response:
    """Return the picture of an image's last boot test as PNG."""
    return Response(use.images.screenshot(reference), media_type="image/png")
