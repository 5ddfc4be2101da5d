"""Settings of the appliance."""

from __future__ import annotations

from sekiso.services.appliance_settings import ApplianceSettingsView
from sekiso.web.answers import topic
from sekiso.web.auth import Language, Use, Who
from sekiso.web.bodies import SettingsBody
from sekiso.web.shown import shown_appliance_settings

router = topic("settings")


@router.get("/settings", operation_id="get_settings")
def get_settings(use: Use, language: Language) -> ApplianceSettingsView:
    """Show the settings of the appliance, and what is decided where it is started."""
    return shown_appliance_settings(use.appliance_settings.get(), language)


@router.patch("/settings", operation_id="change_settings")
def change_settings(body: SettingsBody, use: Use, who: Who, language: Language) -> ApplianceSettingsView:
    """Change settings of the appliance, at once; what is left out stays."""
    return shown_appliance_settings(use.appliance_settings.set(who, body.values), language)
