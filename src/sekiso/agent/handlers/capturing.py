"""`layer.capture`: the changes on a packaging disk become a layer file at the agent (LY-2)."""

from __future__ import annotations

from pathlib import Path

from sekiso.agent.contract import CaptureLayerParams, LayerMade
from sekiso.agent.handlers import engine
from sekiso.agent.handlers.context import Command
from sekiso.agent.handlers.hardware import find_machine, machine_in, require_off
from sekiso.agent.handlers.layers import keep_layer, layer_files
from sekiso.agent.handlers.opening import usable_places
from sekiso.agent.handlers.packaging_home import PackagingHome
from sekiso.agent.handlers.results import finished_layer, fresh_folder, keep_result


def capture_layer(command: Command, params: CaptureLayerParams) -> LayerMade:
    """Capture a packaging disk; its machine must be off."""
    places = usable_places(params.storage_path)
    scratch = places.scratch(params.task_id)
    out = scratch / "capture" / "layer.wim"
    done = finished_layer(places, scratch, "layer.capture", out)
    if done is not None:
        return done
    home = PackagingHome(places, params.version_id)
    record = home.require()
    driver = command.host.driver
    machine = find_machine(driver, record.machine_id) or machine_in(driver, home.machine_folder)
    if machine is not None:
        require_off(machine, "be captured")
    wish = engine.CaptureWish(
        packaging_disk=home.require_packaging_disk(),
        boot_disk=Path(record.boot_disk),
        base=layer_files(places, params.base),
        name=params.name,
        version=params.version,
        kind=params.kind,
        ignore_gate=params.ignore_gate,
    )
    fresh_folder(out.parent)
    made = engine.capture_changes(wish, out, progress=command.progress)
    result = LayerMade(
        path=str(places.layer(made.identity)),
        identity=made.identity,
        file_bytes=out.stat().st_size,
        changed=made.changed,
        deleted=made.deleted,
        notes=made.notes,
    )
    keep_result(scratch, "layer.capture", result)
    keep_layer(places, out, made.identity)
    return result
