"""What can be said of a layer before it is made: the rules of `LayerTasks`, part by part (LY-1, LY-2, LY-3).

Nothing is begun here. Whoever fills in a form step by step asks this before each next step.
"""

from __future__ import annotations

from collections.abc import Sequence

from sekiso.errors import AlreadyExistsError
from sekiso.model.layer import LayerKind
from sekiso.services.core import Core
from sekiso.services.layer_tasks import AddVersion, base_of, base_of_version, find_layer, previous_of
from sekiso.services.layers import check_icon, check_priority, require_free_name
from sekiso.services.library_rules import check_name, check_notes
from sekiso.services.sites import ResolvedSite, resolve_site


class LayerChecks:
    """Looks at parts of a layer that is to be made."""

    def __init__(self, core: Core) -> None:
        """Look at what an appliance has."""
        self._core = core

    def place(self, configuration: str) -> ResolvedSite:
        """Return what a connector configuration comes to.

        Raises:
            NotFoundError: there is no such configuration.
            ConfigurationInvalidError: it does not work (any more).
        """
        with self._core.db.read() as work:
            return resolve_site(work, configuration)

    def imported(self, name: str, version: str, *, notes: str = "", icon: str = "") -> None:
        """Check what an imported OS layer is called.

        Raises:
            RuleError: a value cannot be used.
            AlreadyExistsError: the layer has a version of that name.
        """
        check_name("name", name)
        check_name("version", version)
        check_notes(notes)
        check_icon(icon)
        with self._core.db.read() as work:
            known = find_layer(work, LayerKind.OS, name)
            if known is not None:
                require_free_name(work, known, version)

    def created(
        self,
        kind: LayerKind,
        name: str,
        version: str,
        *,
        notes: str = "",
        icon: str = "",
        priority: int | None = None,
    ) -> None:
        """Check what a new platform or app layer is called.

        Raises:
            RuleError: a value cannot be used.
            AlreadyExistsError: there is such a layer.
        """
        check_name("name", name)
        check_name("version", version)
        check_notes(notes)
        check_icon(icon)
        if priority is not None:
            check_priority(kind, priority)
        with self._core.db.read() as work:
            if find_layer(work, kind, name) is not None:
                raise AlreadyExistsError(
                    what="The layer", name=name, remedy="Add a version to it, or choose another name."
                )

    def base(self, os_version_id: str, prerequisite_version_ids: Sequence[str]) -> None:
        """Check what a new layer is made on.

        Raises:
            NotFoundError: there is no such version.
            VersionNotReadyError: one is not deployable.
            RuleError: they do not go together.
        """
        with self._core.db.read() as work:
            base_of(work, os_version_id, prerequisite_version_ids)

    def version_name(self, reference: str, name: str, *, notes: str = "") -> None:
        """Check what a new version of a layer is called.

        Raises:
            NotFoundError: there is no such layer.
            RuleError: a value cannot be used.
            AlreadyExistsError: the layer has a version of that name.
        """
        check_notes(notes)
        with self._core.db.read() as work:
            require_free_name(work, work.layers.by_reference(reference), name)

    def continued(self, reference: str, version_id: str | None) -> None:
        """Check which version a new one continues; None = the newest deployable one.

        Raises:
            NotFoundError: there is no such layer or version.
            VersionNotReadyError: it is not deployable, or the layer has none that is.
            RuleError: it belongs to another layer.
        """
        with self._core.db.read() as work:
            previous_of(work, work.layers.by_reference(reference), version_id)

    def version_base(self, reference: str, wish: AddVersion) -> None:
        """Check what a new version continues and what it is made on.

        Raises:
            NotFoundError: there is no such layer or version.
            VersionNotReadyError: the layer has no deployable version, or one it is made on is not.
            RuleError: they do not go together.
        """
        with self._core.db.read() as work:
            layer = work.layers.by_reference(reference)
            base_of_version(work, layer, previous_of(work, layer, wish.from_version_id), wish)
