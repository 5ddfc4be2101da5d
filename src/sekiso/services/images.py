"""Published images: what there is, boot tests, removal (IM-2, IM-6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sekiso.agent.contract import Hardware
from sekiso.errors import BusyError, NotFoundError
from sekiso.model.library import ImageRecord, ImageState, Role
from sekiso.model.listing import ImageFilter
from sekiso.model.paging import EVERYTHING, Listing, Page
from sekiso.model.task import NewTask, Subject, SubjectKind, TaskKind, TaskRecord
from sekiso.services.core import Actor, Core, new_id, require
from sekiso.services.sites import resolve_site
from sekiso.store.database.api import UnitOfWork
from sekiso.tasks.flows.params import BootTestTask, DeleteImageTask, Site, pack
from sekiso.tasks.flows.publish_image import picture_path


@dataclass(frozen=True, slots=True)
class ImageView:
    """An image as it is shown.

    Attributes:
        image: the image.
        configuration_name: name of the connector configuration.
        agent_name: name of the agent that has it.
        layers: what it was made of in merge order, as `layer version`.
    """

    image: ImageRecord
    configuration_name: str
    agent_name: str
    layers: tuple[str, ...]


class ImageService:
    """Published images."""

    def __init__(self, core: Core) -> None:
        """Serve the images of an appliance.

        Args:
            core: what every service works with.
        """
        self._core = core

    def list(self) -> tuple[ImageView, ...]:
        """Return every image by name."""
        return self.page(listing=EVERYTHING).rows

    def page(
        self,
        *,
        template: str | None = None,
        state: ImageState | None = None,
        listing: Listing | None = None,
    ) -> Page[ImageView]:
        """Return a page of the images, sorted by `ImageSort`.

        Args:
            template: only of this image template (its identifier).
            state: only in this state.
            listing: search, order and place; None = the first page by name.

        Raises:
            RuleError: they cannot be sorted by that.
        """
        with self._core.db.read() as work:
            page = work.images.page(ImageFilter(template, state), listing or Listing())
            return Page(_views(work, page.rows), page.total, page.offset, page.limit)

    def get(self, reference: str) -> ImageView:
        """Return an image by identifier or name.

        Raises:
            NotFoundError: there is none.
        """
        with self._core.db.read() as work:
            return _views(work, [work.images.by_reference(reference)])[0]

    def remove(self, actor: Actor, reference: str) -> TaskRecord:
        """Delete an image: its machine is turned off and removed, and its disk.

        Raises:
            NotFoundError: there is none.
            BusyError: a task works on it.
        """
        require(actor, Role.PUBLISHER)
        with self._core.db.begin() as work:
            image = _free(work, reference)
            work.audit.append(actor=actor.name, action="image.delete", subject=subject(image))
        return self._start(actor, TaskKind.DELETE_IMAGE, image, pack(DeleteImageTask(image.id)))

    def boot_test(self, actor: Actor, reference: str) -> TaskRecord:
        """Start an image once, without writing to it, and wait for its guest's report (IM-6).

        Raises:
            NotFoundError: there is no such image, or its connector configuration is gone.
            BusyError: a task works on it.
        """
        require(actor, Role.PUBLISHER)
        with self._core.db.begin() as work:
            image = _free(work, reference)
            if image.state is not ImageState.PUBLISHED:
                raise NotFoundError(
                    what="The published disk of", name=image.name, remedy="Wait until it is published."
                )
            site = resolve_site(work, image.configuration_id).site
            work.audit.append(actor=actor.name, action="image.boot-test", subject=subject(image))
        params = BootTestTask(_site_of(image, site), image.id)
        return self._start(actor, TaskKind.BOOT_TEST, image, pack(params))

    def screenshot(self, reference: str) -> bytes:
        """Return the picture of an image's last boot test as a PNG file.

        Raises:
            NotFoundError: there is no such image, or no boot test was made.
        """
        path = picture_path(self._core.state, self.get(reference).image.id)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise NotFoundError(
                what="The picture of the boot test of", name=reference, remedy="Make a boot test first."
            ) from None

    def _start(
        self, actor: Actor, kind: TaskKind, image: ImageRecord, params: dict[str, object]
    ) -> TaskRecord:
        return self._core.tasks.start(
            NewTask(
                id=new_id(),
                kind=kind,
                subjects=(subject(image), Subject(SubjectKind.CONFIGURATION, image.configuration_id, "")),
                params=params,
                requested_by=actor.name,
                lane=image.configuration_id,
            )
        )


def subject(image: ImageRecord) -> Subject:
    """Return an image as tasks and audit name it."""
    return Subject(SubjectKind.IMAGE, image.id, image.name)


def _site_of(image: ImageRecord, site: Site) -> Site:
    """Return where an image is and how it was made, whatever its configuration says now."""
    hardware = site.hardware
    if (image.agent_id, image.generation) != (site.agent_id, hardware.generation):
        # Template VM and network are those of another host or another kind of machine.
        hardware = Hardware(image.generation, hardware.cpus, hardware.memory_mb)
    return replace(
        site,
        agent_id=image.agent_id,
        storage_path=image.storage_path,
        generation=image.generation,
        disk_format=image.disk_format,
        hardware=hardware,
    )


def _free(work: UnitOfWork, reference: str) -> ImageRecord:
    image = work.images.by_reference(reference)
    if image.holder_task_id is not None:
        holder = work.tasks.find(image.holder_task_id)
        raise BusyError(
            what="The image",
            name=image.name,
            holder=holder.kind.value if holder is not None else "",
            task=image.holder_task_id,
        )
    return image


def _views(work: UnitOfWork, images: Sequence[ImageRecord]) -> tuple[ImageView, ...]:
    configurations = work.configurations.names([image.configuration_id for image in images])
    agents = work.agents.names([image.agent_id for image in images])
    called = work.versions.called([version_id for image in images for version_id in image.version_ids])
    return tuple(
        ImageView(
            image,
            configurations.get(image.configuration_id, ""),
            agents.get(image.agent_id, ""),
            tuple(called.get(version_id, version_id) for version_id in image.version_ids),
        )
        for image in images
    )
