"""What an image template would make, before anything is made: order, plan, cache (IM-1, IM-4, LY-6)."""

from __future__ import annotations

from collections.abc import Sequence

from sekiso.agent.cache import recipe_key
from sekiso.agent.contract import CacheFacts, CacheParams, DiskRecipe
from sekiso.compositing.jobs import PlanJob, PlanSummary, run_job
from sekiso.model.library import TemplateRecord, VersionState
from sekiso.model.listing import VersionChoice
from sekiso.services.core import Core, new_id
from sekiso.services.library_rules import StackedVersion, in_merge_order
from sekiso.services.sites import resolve_site
from sekiso.services.template_rules import (
    TemplatePart,
    TemplateWish,
    check_disk,
    check_part,
    checked_template,
    template_recipe,
)
from sekiso.store.database.api import UnitOfWork
from sekiso.store.layers import LayerStore
from sekiso.tasks.flows.params import Site


class TemplatePlans:
    """Image templates as they would be published."""

    def __init__(self, core: Core, store: LayerStore) -> None:
        """Plan for an appliance.

        Args:
            core: what every service works with.
            store: the layer files.
        """
        self.core, self._store = core, store

    def check(self, wish: TemplateWish, part: TemplatePart, reference: str | None = None) -> None:
        """Check one part of a template that is being filled in; what comes after it may still be empty.

        Args:
            wish: the template.
            part: what to check.
            reference: the template that is being changed; None = a new one.

        Raises:
            SekisoError: as for `TemplateService.create`, of that part.
        """
        with self.core.db.read() as work:
            template_id = work.templates.by_reference(reference).id if reference is not None else ""
            check_part(work, wish, part, template_id)

    def stack(self, version_ids: Sequence[str]) -> tuple[VersionChoice, ...]:
        """Return versions as they are merged: OS, app layers by priority, platform; without those gone."""
        with self.core.db.read() as work:
            found = [work.versions.find(version_id) for version_id in dict.fromkeys(version_ids)]
            items = [StackedVersion(work.layers.get(v.layer_id), v) for v in found if v is not None]
        return tuple(VersionChoice.of(item.layer, item.version) for item in in_merge_order(items))

    def unready(self, version_ids: Sequence[str]) -> frozenset[str]:
        """Return which of these versions are gone or not deployable: nothing is published with them."""
        with self.core.db.read() as work:
            found = {version_id: work.versions.find(version_id) for version_id in version_ids}
        return frozenset(i for i, v in found.items() if v is None or v.state is not VersionState.DEPLOYABLE)

    def preview(self, reference: str) -> PlanSummary:
        """Return the plan of an image: order, conflicts, size, every action with its reason. Nothing is made.

        Raises:
            NotFoundError: there is no such template.
            SekisoError: it cannot be published; the same error that publishing gives.
        """
        with self.core.db.read() as work:
            recipe, _ = _planned(work, work.templates.by_reference(reference))
        return run_job(self._job(recipe))

    def preview_of(self, wish: TemplateWish, reference: str | None = None) -> PlanSummary:
        """Return the plan of an image of a template that is not saved yet.

        Args:
            wish: the template.
            reference: the template that is being changed; None = a new one.

        Raises:
            SekisoError: as for `TemplateService.create`.
        """
        with self.core.db.read() as work:
            own = work.templates.by_reference(reference).id if reference is not None else new_id()
            template = checked_template(work, wish, template_id=own, revision=1, created_s=0.0, now_s=0.0)
            recipe, _ = _planned(work, template)
        return run_job(self._job(recipe))

    def is_cached(self, reference: str) -> bool:
        """Return whether the disk of a template is in the layer disk cache where it would be published.

        Raises:
            NotFoundError: there is no such template.
            AgentOfflineError: the agent is not connected.
            SekisoError: it cannot be published.
        """
        with self.core.db.read() as work:
            recipe, site = _planned(work, work.templates.by_reference(reference))
        params = CacheParams(site.storage_path)
        held: CacheFacts = self.core.agents.call(site.agent_id, "cache.list", params)
        return recipe_key(recipe) in {disk.key for disk in held.disks}

    def _job(self, recipe: DiskRecipe) -> PlanJob:
        return PlanJob(
            layers=tuple(str(self._store.path(identity)) for identity in recipe.identities),
            generation=recipe.generation,
            disk_format=recipe.disk_format,
            allocation=recipe.allocation,
            size_bytes=recipe.size_bytes,
            generalization=recipe.generalization,
            seed=recipe_key(recipe),
            created_s=recipe.created_s,
            title=recipe.title,
        )


def _planned(work: UnitOfWork, template: TemplateRecord) -> tuple[DiskRecipe, Site]:
    found = resolve_site(work, template.configuration_id)
    check_disk(template.disk_format, template.size_bytes, template.keep_last, found)
    return template_recipe(work, template, found.site), found.site
