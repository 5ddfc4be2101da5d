"""All flows."""

from __future__ import annotations

from sekiso.tasks.flows.create_layer import create_layer_flow
from sekiso.tasks.flows.deps import Deps
from sekiso.tasks.flows.finalize_layer import finalize_layer_flow
from sekiso.tasks.flows.import_os import import_os_flow
from sekiso.tasks.flows.publish_image import boot_test_flow, publish_image_flow
from sekiso.tasks.flows.removal import delete_image_flow, delete_version_flow, discard_flow
from sekiso.tasks.port import Flow


def all_flows(deps: Deps) -> tuple[Flow, ...]:
    """Return every flow of the appliance."""
    return (
        import_os_flow(deps),
        create_layer_flow(deps),
        finalize_layer_flow(deps),
        publish_image_flow(deps),
        boot_test_flow(deps),
        delete_image_flow(deps),
        delete_version_flow(deps),
        discard_flow(deps),
    )
