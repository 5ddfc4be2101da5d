"""Errors of connectors' files."""

from __future__ import annotations

from collections.abc import Sequence

from sekiso.errors import Family, SekisoError
from sekiso.model.machine import Violation


class ConfigFileError(SekisoError):
    """A connector's configuration file cannot be used. Params: path, reason, remedy."""

    code = "connector.config-file"
    family = Family.INPUT
    brief = "The configuration file {path} cannot be used."
    why = "{reason}"
    resolution = "{remedy}"


class ConfigKeyError(SekisoError):
    """A key of a connector's configuration file is wrong. Params: path, key, reason, remedy."""

    code = "connector.config-key"
    family = Family.INPUT
    brief = "The key {key} of the configuration file {path} is not valid."
    why = "{reason}"
    resolution = "{remedy}"


class DocumentError(SekisoError):
    """A document with connector configurations cannot be used. Params: source, key, reason, remedy."""

    code = "connector.document"
    family = Family.INPUT
    brief = "{source} holds something at {key} that cannot be taken over."
    why = "{reason}"
    resolution = "{remedy}"


class ConfigurationInvalidError(SekisoError):
    """A connector configuration breaks rules; nothing was saved. Params: field, reason, remedy."""

    code = "configuration.invalid"
    family = Family.USAGE
    brief = "The connector configuration cannot be used: {field}."
    why = "{reason}"
    resolution = "{remedy}"

    #: Every broken rule, in the order of the form.
    violations: tuple[Violation, ...] = ()

    @classmethod
    def of(cls, violations: Sequence[Violation]) -> ConfigurationInvalidError:
        """Return the error of broken rules; there is at least one."""
        first = violations[0]
        error = cls(field=first.field, reason=first.reason, remedy=first.remedy)
        error.violations = tuple(violations)
        return error


class DocumentsInvalidError(ConfigurationInvalidError):
    """Documents hold configurations that break rules. Params: source, key, reason, remedy.

    Fields of its violations are places in the file: `[0].settings.offload`.
    """

    code = "configuration.invalid-document"
    brief = "{source} holds something at {key} that cannot be taken over."

    @classmethod
    def found_in(cls, source: str, violations: Sequence[Violation]) -> DocumentsInvalidError:
        """Return the error of rules that are broken in a file; there is at least one."""
        first = violations[0]
        error = cls(source=source, key=first.field, reason=first.reason, remedy=first.remedy)
        error.violations = tuple(violations)
        return error
