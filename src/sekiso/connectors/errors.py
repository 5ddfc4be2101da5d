"""Errors of connectors' files."""

from __future__ import annotations

from sekiso.errors import Family, SekisoError


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
