"""Settings of the appliance: what they may be, and that they hold (OP-4)."""

from __future__ import annotations

from typing import Any

import pytest

from sekiso.model.library import Role
from sekiso.services.appliance_settings import (
    FIELDS,
    ApplianceSettingsService,
    ApplianceValues,
    SettingsInvalidError,
    plain_values,
    values_of,
)
from sekiso.services.core import NotAllowedError
from sekiso.services.users import LoginFailedError

from ...support.appliance import ADMIN, MANAGER, Appliance
from ...support.system import facts_of

PASSWORD = "a long password"


@pytest.fixture
def settings(appliance: Appliance) -> ApplianceSettingsService:
    return ApplianceSettingsService(
        appliance.core,
        facts=lambda: facts_of(appliance.core),
        names=lambda: ("Appliance.example", "*.example.org", "192.0.2.1"),
    )


def test_every_setting_is_described(settings: ApplianceSettingsService) -> None:
    view = settings.get()
    assert view.values == plain_values(ApplianceValues())
    assert [f.name for f in FIELDS] == list(view.values)
    for field in FIELDS:
        assert field.label and field.help.endswith(".")
        assert view.values[field.name] == (list(field.default) if field.kind == "names" else field.default)
    assert view.hosts == ("*.example.org", "appliance.example", "localhost")
    assert view.facts.database == "sqlite"


def test_what_is_set_holds_at_once(appliance: Appliance, settings: ApplianceSettingsService) -> None:
    settings.values()
    view = settings.set(ADMIN, {"session_hours": 8, "host_names": [" Sekiso.Example", "sekiso.example"]})
    assert view.values["session_hours"] == 8 and view.values["host_names"] == ["sekiso.example"]
    assert settings.values().session_hours == 8
    assert settings.set(ADMIN, {}).values == view.values
    (entry,) = appliance.entries()
    assert entry.action == "appliance.settings"
    assert entry.details["session_hours"] == {"before": 12, "after": 8}
    with pytest.raises(NotAllowedError):
        settings.set(MANAGER, {"session_hours": 9})


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("session_idle_minutes", 4, "out-of-range"),
        ("session_idle_minutes", 1441, "out-of-range"),
        ("session_hours", "8", "not-a-number"),
        ("session_hours", True, "not-a-number"),
        ("session_hours", 8.5, "not-a-number"),
        ("lockout_failures", 2, "out-of-range"),
        ("lockout_minutes", None, "not-a-number"),
        ("task_retention_days", 0, "out-of-range"),
        ("default_language", "fr", "not-a-choice"),
        ("default_language", ["en"], "not-a-choice"),
        ("host_names", "a.example", "not-names"),
        ("host_names", [1], "not-names"),
        ("host_names", ["a.example:8443"], "not-a-host"),
        ("host_names", ["a"] * 101, "too-many"),
        ("no_such_setting", 1, "unknown-setting"),
    ],
)
def test_what_is_refused(
    appliance: Appliance, settings: ApplianceSettingsService, name: str, value: Any, code: str
) -> None:
    with pytest.raises(SettingsInvalidError) as caught:
        settings.set(ADMIN, {"session_hours": 8, name: value})
    (violation,) = caught.value.violations
    assert (violation.field, violation.code) == (name, code)
    assert violation.reason.endswith(".") and violation.remedy.endswith(".")
    assert settings.get().values == plain_values(ApplianceValues())
    assert appliance.actions() == []


def test_every_violation_is_named(settings: ApplianceSettingsService) -> None:
    with pytest.raises(SettingsInvalidError) as caught:
        settings.set(ADMIN, {"session_hours": 0, "lockout_minutes": 0, "session_idle_minutes": 10})
    assert [v.field for v in caught.value.violations] == ["session_hours", "lockout_minutes"]


def test_what_a_later_version_has_kept_does_no_harm(appliance: Appliance) -> None:
    with appliance.db.begin() as work:
        work.settings.put("appliance.settings", {"session_hours": 9, "lockout_minutes": 0, "strange": 1})
        assert values_of(work) == ApplianceValues(session_hours=9)
        work.settings.put("appliance.settings", "strange")
        assert values_of(work) == ApplianceValues()


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("appliance.example", True),
        ("appliance.example.", True),
        ("a.example.org", True),
        ("a.b.example.org", False),
        ("example.org", False),
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("203.0.113.5", True),
        ("sekiso.example", False),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("*.example.org", True),
        ("", True),
    ],
)
def test_hosts(settings: ApplianceSettingsService, host: str, own: bool) -> None:
    assert settings.is_own_host(host) is own


def test_a_host_that_is_added(settings: ApplianceSettingsService) -> None:
    assert not settings.is_own_host("sekiso.example")
    settings.set(ADMIN, {"host_names": ["sekiso.example"]})
    assert settings.is_own_host("sekiso.example")


def test_settings_that_were_read_hold_when_the_database_is_gone(
    appliance: Appliance, settings: ApplianceSettingsService, caplog: pytest.LogCaptureFixture
) -> None:
    settings.set(ADMIN, {"host_names": ["sekiso.example"], "default_language": "ja"})
    (appliance.state / "sekiso.db").rename(appliance.state / "away.db")
    appliance.db.close()
    settings.look_again()
    assert settings.is_own_host("sekiso.example") and not settings.is_own_host("evil.example")
    assert settings.default_language == "ja"
    assert "cannot be read" in caplog.text


def test_sessions_and_lockouts_go_by_them(appliance: Appliance, settings: ApplianceSettingsService) -> None:
    settings.set(
        ADMIN,
        {"session_hours": 1, "session_idle_minutes": 5, "lockout_failures": 3, "lockout_minutes": 1},
    )
    appliance.users.add(ADMIN, "eve", PASSWORD, Role.READ_ONLY)
    session = appliance.users.login("eve", PASSWORD)
    assert session.expires_s == appliance.clock.now_s + 3600
    appliance.clock.now_s += 299
    assert appliance.users.authenticate(session.secret) is not None
    appliance.clock.now_s += 301
    assert appliance.users.authenticate(session.secret) is None
    for _ in range(3):
        with pytest.raises(LoginFailedError):
            appliance.users.login("eve", "wrong")
    with pytest.raises(LoginFailedError):
        appliance.users.login("eve", PASSWORD)
    appliance.clock.now_s += 61
    appliance.users.login("eve", PASSWORD)
