"""The icons of layers (LY-7)."""

from __future__ import annotations

import pytest

from sekiso.console.assets import icon
from sekiso.console.layer_icons import ICONS, icon_name, layer_icon
from sekiso.i18n import translate
from sekiso.model.layer import GuestFamily, LayerKind
from sekiso.services.layers import check_icon


@pytest.mark.parametrize("name", ICONS)
def test_each_icon_is_there_and_can_be_kept(name: str) -> None:
    assert check_icon(name) == name
    assert layer_icon(name, LayerKind.APP) == icon(name)


def test_their_names_are_different_in_both_languages() -> None:
    for language in ("en", "ja"):
        assert len({translate(label, language) for label in ICONS.values()}) == len(ICONS)


@pytest.mark.parametrize("unknown", ["", "../../secret", "alert-circle", "no-such-icon"])
def test_what_is_no_icon_of_the_console_counts_as_none(unknown: str) -> None:
    assert icon_name(unknown, LayerKind.OS) == "device-desktop"
    assert icon_name(unknown, LayerKind.OS, GuestFamily.WINDOWS) == "brand-windows"
    assert icon_name(unknown, LayerKind.PLATFORM) == "server-cog"
    assert icon_name(unknown, LayerKind.APP, GuestFamily.WINDOWS) == "app-window"
