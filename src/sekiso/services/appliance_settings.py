"""Settings that a running appliance may change: declared once, kept in the database (OP-4)."""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, cast

import msgspec

from sekiso.errors import Family, SekisoError
from sekiso.i18n import LANGUAGES, mark
from sekiso.model.library import Role
from sekiso.model.machine import Violation
from sekiso.model.task import Subject, SubjectKind
from sekiso.services.certificate_rules import is_host
from sekiso.services.core import Actor, Core, require
from sekiso.store.database.api import UnitOfWork

log = logging.getLogger(__name__)
_KEY = "appliance.settings"
_MAX_HOSTS = 100
#: What another worker of the appliance has changed is noticed so soon.
_FRESH_S = 5.0


class SettingsInvalidError(SekisoError):
    """Settings of the appliance break rules; nothing was changed. Params: field, reason, remedy."""

    code = "appliance.settings"
    family = Family.USAGE
    brief = "The settings of the appliance cannot be changed: {field}."
    why = "{reason}"
    resolution = "{remedy}"

    #: Every broken rule.
    violations: tuple[Violation, ...] = ()

    @classmethod
    def of(cls, violations: Sequence[Violation]) -> SettingsInvalidError:
        """Return the error of broken rules; there is at least one."""
        first = violations[0]
        error = cls(field=first.field, reason=first.reason, remedy=first.remedy)
        error.violations = tuple(violations)
        return error


@dataclass(frozen=True, slots=True)
class ApplianceValues:
    """The settings; their defaults.

    Attributes:
        session_idle_minutes: a session ends after so long without a request.
        session_hours: a session ends after so long in any case.
        lockout_failures: after so many failed logins in a row a user is locked.
        lockout_minutes: for so long.
        host_names: names that the appliance is reached by, besides those in its certificate.
        task_retention_days: tasks that ended longer ago are forgotten.
        default_language: language of answers to requests that name none.
    """

    session_idle_minutes: int = 60
    session_hours: int = 12
    lockout_failures: int = 10
    lockout_minutes: int = 5
    host_names: tuple[str, ...] = ()
    task_retention_days: int = 90
    default_language: str = "en"


@dataclass(frozen=True, slots=True)
class SettingField:
    """One setting: what it is and what it may be.

    Attributes:
        name: its name.
        label: what it is called.
        help: a sentence about it.
        kind: `number`, `names` or `choice`.
        default: its value unless it was set.
        least: smallest number.
        most: largest number.
        choices: what may be chosen.
    """

    name: str
    label: str
    help: str
    kind: str
    default: Any
    least: int | None = None
    most: int | None = None
    choices: tuple[str, ...] = ()


_DEFAULTS = ApplianceValues()

FIELDS: tuple[SettingField, ...] = (
    SettingField(
        "session_idle_minutes",
        mark("Session timeout without activity (minutes)"),
        mark("A session ends after so long without a request."),
        *("number", _DEFAULTS.session_idle_minutes, 5, 1440),
    ),
    SettingField(
        "session_hours",
        mark("Longest session (hours)"),
        mark("A session ends after so long in any case; it holds for sessions that begin from now on."),
        *("number", _DEFAULTS.session_hours, 1, 168),
    ),
    SettingField(
        "lockout_failures",
        mark("Failed logins before a user is locked"),
        mark("After so many failed logins in a row a user is locked."),
        *("number", _DEFAULTS.lockout_failures, 3, 100),
    ),
    SettingField(
        "lockout_minutes",
        mark("Time that a user is locked (minutes)"),
        mark("A user who is locked can log in again after so long."),
        *("number", _DEFAULTS.lockout_minutes, 1, 1440),
    ),
    SettingField(
        "host_names",
        mark("Further host names"),
        mark("Names that the appliance is reached by, besides those in its certificate and its addresses."),
        *("names", _DEFAULTS.host_names),
    ),
    SettingField(
        "task_retention_days",
        mark("Tasks are kept for (days)"),
        mark("Tasks that ended longer ago are forgotten, with their logs."),
        *("number", _DEFAULTS.task_retention_days, 1, 3650),
    ),
    SettingField(
        "default_language",
        mark("Default language"),
        mark("Language of answers to requests that name none."),
        *("choice", _DEFAULTS.default_language),
        choices=LANGUAGES,
    ),
)
_BY_NAME = {found.name: found for found in FIELDS}


@dataclass(frozen=True, slots=True)
class ApplianceFacts:
    """What of an appliance is decided where it is started.

    Attributes:
        version: version of Sekiso.
        listens_at: address that everything listens at.
        api_port: TCP port of REST API and console.
        link_port: TCP port that agents connect to.
        transfer_http_port: TCP port for transfers without TLS.
        transfer_https_port: TCP port for transfers with TLS.
        state_folder: folder of all that it keeps.
        layer_folder: its layer store.
        log_file: its log.
        database: `sqlite` or `postgresql`.
    """

    version: str
    listens_at: str
    api_port: int
    link_port: int
    transfer_http_port: int
    transfer_https_port: int
    state_folder: str
    layer_folder: str
    log_file: str
    database: str


@dataclass(frozen=True, slots=True)
class ApplianceSettingsView:
    """Settings of the appliance.

    Attributes:
        values: what is in force, by name.
        fields: what each setting is and may be.
        hosts: every name that requests may be sent to; addresses are always allowed.
        facts: what cannot be changed here.
    """

    values: dict[str, Any]
    fields: tuple[SettingField, ...]
    hosts: tuple[str, ...]
    facts: ApplianceFacts


@dataclass
class _Seen:
    """Values that were read some seconds ago."""

    values: ApplianceValues
    hosts: frozenset[str] = frozenset()
    at: float = -_FRESH_S
    lock: threading.Lock = field(default_factory=threading.Lock)


class ApplianceSettingsService:
    """Settings of the appliance."""

    def __init__(
        self,
        core: Core,
        *,
        facts: Callable[[], ApplianceFacts],
        names: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """Serve the settings of an appliance.

        Args:
            core: what every service works with.
            facts: tells what is decided where it is started.
            names: tells the names in its certificate.
        """
        self._core, self._facts, self._names = core, facts, names
        self._seen = _Seen(_DEFAULTS)

    def get(self) -> ApplianceSettingsView:
        """Return the settings in force."""
        with self._core.db.read() as work:
            values = values_of(work)
        hosts = tuple(sorted(self._allowed(values)))
        return ApplianceSettingsView(plain_values(values), FIELDS, hosts, self._facts())

    def set(self, actor: Actor, given: Mapping[str, Any]) -> ApplianceSettingsView:
        """Change settings, at once; what is left out stays.

        Raises:
            SettingsInvalidError: a value cannot be used, or there is no such setting; nothing was changed.
        """
        require(actor, Role.ADMINISTRATOR)
        violations = tuple(v for name, value in given.items() if (v := _violation(name, value)))
        if violations:
            raise SettingsInvalidError.of(violations)
        with self._core.db.begin() as work:
            before = plain_values(values_of(work))
            after = {**before, **{name: _clean(value) for name, value in given.items()}}
            changed = {n: {"before": before[n], "after": after[n]} for n in after if before[n] != after[n]}
            if changed:
                work.settings.put(_KEY, after)
                subject = Subject(SubjectKind.APPLIANCE, "settings", "settings")
                work.audit.append(
                    actor=actor.name, action="appliance.settings", subject=subject, details=changed
                )
        self.look_again()
        self._fresh()
        return self.get()

    def values(self) -> ApplianceValues:
        """Return the values in force, as they were some seconds ago at the earliest."""
        return self._fresh().values

    @property
    def default_language(self) -> str:
        """Language of answers to requests that name none, as it was read last."""
        return self._seen.values.default_language

    def look_again(self) -> None:
        """Forget what was read: the names in the certificate have changed, for instance."""
        self._seen.at = -_FRESH_S

    def is_own_host(self, host: str) -> bool:
        """Whether a request that names this host is meant for the appliance.

        Addresses always are: a page of another site cannot make a browser name one in place of its own name,
        and whoever has to mend wrong names must still get in.

        Args:
            host: name or address of a request, lower case, without port.
        """
        host = host.rstrip(".")
        if not host or _is_address(host) or host == "localhost":
            return True
        allowed = self._fresh().hosts
        _, _, domain = host.partition(".")
        return host in allowed or (bool(domain) and f"*.{domain}" in allowed)

    def _fresh(self) -> _Seen:
        seen = self._seen
        with seen.lock:
            if time.monotonic() - seen.at >= _FRESH_S:
                # First, so that not every request waits for a database that does not answer.
                seen.at = time.monotonic()
                try:
                    with self._core.db.read() as work:
                        seen.values = values_of(work)
                except SekisoError as error:
                    log.warning("the settings cannot be read; those that were read last hold: %s", error)
                seen.hosts = frozenset(self._allowed(seen.values))
        return seen

    def _allowed(self, values: ApplianceValues) -> set[str]:
        named = (*self._names(), self._facts().listens_at, *values.host_names)
        return {"localhost", *(name.lower() for name in named if name and not _is_address(name))}


def values_of(work: UnitOfWork) -> ApplianceValues:
    """Return the settings in force, within a transaction; what cannot be used has its default."""
    found = work.settings.get(_KEY)
    stored = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    usable = {n: _clean(v) for n, v in stored.items() if n in _BY_NAME and _violation(n, v) is None}
    return msgspec.convert(usable, ApplianceValues)


def plain_values(values: ApplianceValues) -> dict[str, Any]:
    """Return settings as plain data."""
    return {f.name: _clean(asdict(values)[f.name]) for f in fields(values)}


def _clean(value: Any) -> Any:
    if isinstance(value, list | tuple):
        names = (str(name).strip().lower() for name in cast("Sequence[Any]", value))
        return list(dict.fromkeys(names))
    return value


def _violation(name: str, value: Any) -> Violation | None:
    setting = _BY_NAME.get(name)
    if setting is None:
        return Violation(name, "unknown-setting", "There is no such setting.", "Check its spelling.")
    match setting.kind:
        case "number":
            return _number_violation(setting, value)
        case "choice":
            if value in setting.choices:
                return None
            choices = ", ".join(setting.choices)
            return Violation(name, "not-a-choice", f"It is not one of {choices}.", "Choose one of them.")
        case _:
            return _names_violation(name, value)


def _number_violation(setting: SettingField, value: Any) -> Violation | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return Violation(setting.name, "not-a-number", "It is no whole number.", "Give a whole number.")
    least, most = setting.least or 0, setting.most or 0
    if least <= value <= most:
        return None
    return Violation(
        setting.name, "out-of-range", f"It is not between {least} and {most}.", "Choose another number."
    )


def _names_violation(name: str, value: Any) -> Violation | None:
    items = cast("Sequence[Any]", value) if isinstance(value, list | tuple) else None
    if items is None or not all(isinstance(item, str) for item in items):
        return Violation(name, "not-names", "It is no list of names.", "Give a list of host names.")
    if len(items) > _MAX_HOSTS:
        return Violation(name, "too-many", f"There are more than {_MAX_HOSTS} names.", "Give fewer.")
    for item in items:
        if not is_host(item.strip()):
            return Violation(
                name,
                "not-a-host",
                f"{item[:100]} is neither a host name nor an address.",
                "Write it like appliance.example, without port.",
            )
    return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
