"""What services answer, with the texts in it in the reader's language.

Services speak English; texts are translated here, by themselves, as everywhere. English stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sekiso.compositing.jobs.errors import error_from_dict
from sekiso.connectors.checks import CHECKS, CheckResult, CheckStatus
from sekiso.i18n import translate
from sekiso.model.machine import Violation
from sekiso.model.task import LogLine, TaskRecord
from sekiso.services.appliance_settings import ApplianceSettingsView
from sekiso.services.certificates import CertificateView
from sekiso.services.configurations import ConfigurationView, ConnectorTypeView
from sekiso.services.connector_settings import ConnectorSettingsView
from sekiso.services.health import HealthView
from sekiso.wording import error_texts, step_of


def shown_task(task: TaskRecord, language: str) -> TaskRecord:
    """Return a task as it is shown; its error has title, detail and resolution besides."""
    return replace(
        task,
        step=step_of(task.step, language) if task.step else "",
        action=translate(task.action, language),
        error=_error(task.error, language) if task.error is not None else None,
    )


def _error(data: dict[str, object], language: str) -> dict[str, object]:
    error = error_from_dict(data, work="task")
    if error.code != data.get("code"):
        return data
    title, detail, resolution = error_texts(error, language)
    return {**data, "title": title, "detail": detail, "resolution": resolution}


def shown_line(line: LogLine, language: str) -> LogLine:
    """Return a line of a task's log as it is shown."""
    return replace(line, text=translate(line.text, language))


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One row of a test.

    Attributes:
        code: stable name of the check.
        title: its name.
        status: its outcome.
        detail: what was found, or why it was skipped.
        what_to_do: what a person can do; empty unless it failed.
        fields: the settings that it is about, where it failed by a rule.
    """

    code: str
    title: str
    status: CheckStatus
    detail: str
    what_to_do: str
    fields: tuple[str, ...]


_TITLES = {check.code: check.title for check in CHECKS}


def shown_check(row: CheckResult, language: str) -> CheckRow:
    """Return a row of a test as it is shown."""
    return CheckRow(
        code=row.code,
        title=translate(_TITLES.get(row.code, row.code), language),
        status=row.status,
        detail=translate(row.detail, language),
        what_to_do=translate(row.what_to_do, language),
        fields=row.fields,
    )


def shown_configuration(view: ConfigurationView, language: str) -> ConfigurationView:
    """Return a connector configuration as it is shown."""
    return replace(
        view,
        violations=tuple(_violation(v, language) for v in view.violations),
        warnings=tuple(translate(text, language) for text in view.warnings),
    )


def _violation(violation: Violation, language: str) -> Violation:
    return replace(
        violation,
        reason=translate(violation.reason, language),
        remedy=translate(violation.remedy, language),
    )


def shown_settings(view: ConnectorSettingsView, language: str) -> ConnectorSettingsView:
    """Return the settings of a connector as they are shown."""
    return replace(
        view,
        problem=translate(view.problem, language),
        warnings=tuple(translate(text, language) for text in view.warnings),
    )


def shown_health(view: HealthView, language: str) -> HealthView:
    """Return how the appliance is as it is shown."""
    checks = (
        replace(
            check,
            title=translate(check.title, language),
            text=translate(check.text, language),
            what_to_do=translate(check.what_to_do, language),
        )
        for check in view.checks
    )
    return replace(view, checks=tuple(checks))


def shown_certificate(view: CertificateView, language: str) -> CertificateView:
    """Return the appliance's certificate as it is shown."""
    return replace(view, warnings=tuple(translate(text, language) for text in view.warnings))


def shown_appliance_settings(view: ApplianceSettingsView, language: str) -> ApplianceSettingsView:
    """Return the appliance's settings as they are shown."""
    fields = (
        replace(item, label=translate(item.label, language), help=translate(item.help, language))
        for item in view.fields
    )
    return replace(view, fields=tuple(fields))


def shown_type(view: ConnectorTypeView, language: str) -> ConnectorTypeView:
    """Return a connector type as it is shown."""
    return replace(view, label=translate(view.label, language), help=translate(view.help, language))
