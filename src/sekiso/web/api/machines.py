"""Packaging machines."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import Response

from sekiso.agent.contract import PackagingState
from sekiso.services.screens import MachineScreen
from sekiso.web.answers import content, topic
from sekiso.web.auth import Use, Who
from sekiso.web.bodies import Keys
from sekiso.web.params import Id

router = topic("packaging machines")
_MACHINE = "/layer-versions/{version_id}/machine"


@router.get(_MACHINE, operation_id="get_machine")
def get_machine(version_id: Id, use: Use) -> PackagingState:
    """Show what the packaging machine of a version is doing."""
    return use.layers.machine(version_id)


@router.post(f"{_MACHINE}/start", operation_id="start_machine")
def start_machine(version_id: Id, use: Use, who: Who) -> PackagingState:
    """Start a packaging machine again."""
    return use.layers.start_machine(who, version_id)


@router.post(f"{_MACHINE}/shut-down", operation_id="shut_down_machine")
def shut_down_machine(version_id: Id, use: Use, who: Who) -> PackagingState:
    """Ask the guest of a packaging machine to shut down."""
    return use.layers.shut_down_machine(who, version_id)


@router.post(f"{_MACHINE}/turn-off", operation_id="turn_off_machine")
def turn_off_machine(version_id: Id, use: Use, who: Who) -> PackagingState:
    """Cut the power of a packaging machine."""
    return use.layers.turn_off_machine(who, version_id)


@router.get(
    f"{_MACHINE}/screenshot",
    operation_id="get_machine_screenshot",
    response_class=Response,
    responses=content("image/png", "The screen."),
)
def get_machine_screenshot(version_id: Id, use: Use) -> Response:
    """Return the screen of a packaging machine as PNG."""
    return Response(use.layers.screenshot(version_id), media_type="image/png")


@router.get(f"{_MACHINE}/screen", operation_id="get_machine_screen")
def get_machine_screen(version_id: Id, use: Use) -> MachineScreen:
    """Show how its screen is reached: `rfb`: a WebSocket at this address; `vmconnect`: screen.rdp."""
    return use.layers.screen(version_id)


@router.get(
    f"{_MACHINE}/screen.rdp",
    operation_id="get_machine_screen_file",
    response_class=Response,
    responses=content("application/x-rdp", "The file."),
)
def get_machine_screen_file(version_id: Id, use: Use) -> Response:
    """Return a file that opens the screen on the Hyper-V server, in Remote Desktop Connection."""
    name, found = use.layers.screen_file(version_id)
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return Response(found, media_type="application/x-rdp", headers={"Content-Disposition": disposition})


@router.post(f"{_MACHINE}/keys", operation_id="press_keys", status_code=204)
def press_keys(version_id: Id, body: Keys, use: Use, who: Who) -> None:
    """Press keys in a packaging machine."""
    use.layers.press_keys(who, version_id, body.keys)
