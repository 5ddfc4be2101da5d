"""Layer versions as people name them: `LAYER`, `LAYER:VERSION`, or an identifier."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from sekiso.cli.remote import View, connect, find, flat, views
from sekiso.errors import AmbiguousNameError, NotFoundError, SekisoError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from sekiso.cli.client import ApplianceClient

_REMEDY = "Layers and versions are shown by: sekiso layer list --versions"
DEPLOYABLE = ("deployable",)
BEING_EDITED = ("editing", "finalizable", "broken")
_MOST_COMPLETIONS = 200


class Library:
    """The layers of an appliance, listed once per command."""

    def __init__(self, appliance: ApplianceClient) -> None:
        self._layers: list[View] = views(appliance.get("/layers"))

    def layer(self, reference: str, kinds: Sequence[str] = ()) -> View:
        """Return a layer by identifier or name.

        Raises:
            NotFoundError: there is none.
            AmbiguousNameError: layers of several kinds have the name.
        """
        return find(self._of(kinds), reference, "The layer", _REMEDY)

    def version(
        self, reference: str, *, kinds: Sequence[str] = (), states: Sequence[str] | None = None
    ) -> View:
        """Return a version; of `LAYER` alone, the newest in one of the states, none if they are None.

        Raises:
            NotFoundError: there is none.
            AmbiguousNameError: several are meant.
        """
        layers = self._of(kinds)
        found = [v for layer in layers for v in versions_of(layer) if str(v["id"]) == reference]
        found = found or self._named(layers, reference, states)
        if not found:
            raise NotFoundError(what="The layer version", name=reference, remedy=_REMEDY)
        if len(found) > 1:
            ids = ", ".join(str(v["id"]) for v in found)
            raise AmbiguousNameError(what="The layer version", name=reference, ids=ids)
        return found[0]

    def ids(self, references: Iterable[str], *, kinds: Sequence[str] = ()) -> list[str]:
        """Return the identifiers of deployable versions."""
        return [self.version(r, kinds=kinds, states=DEPLOYABLE)["id"] for r in references]

    def _of(self, kinds: Sequence[str]) -> list[View]:
        return [layer for layer in self._layers if not kinds or layer["kind"] in kinds]

    def _named(self, layers: Sequence[View], reference: str, states: Sequence[str] | None) -> list[View]:
        whole = [layer for layer in layers if states is not None and _is(layer, reference)]
        newest = [v for v in (_newest(layer, states or ()) for layer in whole) if v is not None]
        if newest:
            return newest
        # Names of layers and versions may have colons themselves, so every colon is tried.
        cuts = [i for i, char in enumerate(reference) if char == ":"]
        return [
            version
            for cut in cuts
            for layer in layers
            if _is(layer, reference[:cut])
            for version in versions_of(layer)
            if _is(version, reference[cut + 1 :])
        ]


def versions_of(layer: View) -> list[View]:
    """Return the versions of a layer's view, oldest first, each with its layer's name and kind."""
    items: Sequence[Any] = layer.get("versions") or ()
    return [{"layer_name": layer["name"], "kind": layer["kind"], **flat(item)} for item in items]


def _newest(layer: View, states: Sequence[str]) -> View | None:
    found = [v for v in versions_of(layer) if v["state"] in states]
    return found[-1] if found else None


def _is(item: View, reference: str) -> bool:
    wanted = reference.casefold()
    return wanted in (str(item["name"]).casefold(), str(item["id"]).casefold())


def complete_versions(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete `LAYER:VERSION`."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 (for the shell only)

    del ctx, param
    try:
        with connect() as appliance:
            layer_name = incomplete.partition(":")[0] or None
            layers = views(appliance.get("/layers", {"text": layer_name}, patience_s=0))
    except (SekisoError, OSError):  # a shell that asks for completions can show no error
        return []
    names = [f"{layer['name']}:{v['name']}" for layer in layers for v in versions_of(layer)]
    fitting = [n for n in names if n.casefold().startswith(incomplete.casefold())]
    return [CompletionItem(name) for name in fitting[:_MOST_COMPLETIONS]]
