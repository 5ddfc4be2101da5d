"""The icons that layers can have: some of those that come with the console, by their names."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from sekiso.console.assets import icon
from sekiso.i18n import mark
from sekiso.model.layer import GuestFamily, LayerKind

#: What people call each icon, English.
ICONS: Mapping[str, str] = {
    "app-window": mark("Application window"),
    "package": mark("Package"),
    "packages": mark("Several packages"),
    "puzzle": mark("Puzzle piece"),
    "tool": mark("Tool"),
    "code": mark("Program code"),
    "terminal-2": mark("Terminal"),
    "database": mark("Database"),
    "world": mark("Web site"),
    "cloud": mark("Cloud"),
    "mail": mark("Mail"),
    "calendar": mark("Calendar"),
    "users": mark("Group"),
    "file-zip": mark("Archive"),
    "photo": mark("Picture"),
    "printer": mark("Printer"),
    "key": mark("Key"),
    "shield-lock": mark("Protection"),
    "network": mark("Network"),
    "device-desktop": mark("Desktop computer"),
    "device-laptop": mark("Laptop"),
    "server": mark("Server"),
    "server-cog": mark("Server with settings"),
    "building": mark("Organization"),
    "brand-windows": mark("Windows logo"),
    "brand-debian": mark("Debian logo"),
    "brand-ubuntu": mark("Ubuntu logo"),
}
_OF_KIND = {LayerKind.OS: "device-desktop", LayerKind.PLATFORM: "server-cog", LayerKind.APP: "app-window"}


def icon_name(chosen: str, kind: LayerKind, family: GuestFamily | None = None) -> str:
    """Return the icon that a layer is shown with; one that the console does not have counts as none."""
    if chosen in ICONS:
        return chosen
    return "brand-windows" if kind is LayerKind.OS and family is GuestFamily.WINDOWS else _OF_KIND[kind]


def layer_icon(chosen: str, kind: LayerKind, family: GuestFamily | None = None, css: str = "") -> Markup:
    """Return the icon of a layer for a page.

    Args:
        chosen: the name that the layer has for it; may be empty or unknown.
        kind: kind of the layer.
        family: its guest family, if it is known.
        css: more classes.
    """
    return icon(icon_name(chosen, kind, family), css)
