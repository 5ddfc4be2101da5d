"""What the appliance refuses, as errors of the command line; the texts come translated from the appliance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, cast

from sekiso.cli.language import language, say
from sekiso.errors import Family, SekisoError
from sekiso.i18n import render_error

#: Loading these loads every error that a task can fail with.
_TASK_ERRORS = ("sekiso.tasks.flows.registry", "sekiso.agent.link.plain_data")
_BY_STATUS = {
    400: Family.INPUT,
    401: Family.USAGE,
    403: Family.USAGE,
    404: Family.NOT_FOUND,
    409: Family.CONFLICT,
    413: Family.INPUT,
    422: Family.USAGE,
    429: Family.CONFLICT,
    502: Family.TOOL,
    503: Family.ENVIRONMENT,
}


class UnreachableError(SekisoError):
    """The appliance cannot be reached. Params: url, reason."""

    code = "appliance.unreachable"
    family = Family.ENVIRONMENT
    retryable = True
    brief = "The appliance at {url} cannot be reached."
    why = "{reason}"
    resolution = "Check the address, the network, and whether the appliance runs."


class NotAnApplianceError(SekisoError):
    """Something answers that is not an appliance of this version. Params: url, reason."""

    code = "appliance.answer"
    family = Family.ENVIRONMENT
    brief = "{url} does not answer as an appliance does."
    why = "{reason}"
    resolution = "Check the address, and that appliance and command line have the same version."


class ApiError(SekisoError):
    """The appliance refused a request; the texts are its own. Params: brief, why, resolution."""

    code = "api"
    brief = "{brief}"
    why = "{why}"
    resolution = "{resolution}"

    def describe(self, sent: Mapping[str, Any], code: str, family: Family) -> ApiError:
        """Give this error the kind that the appliance told, and what it sent; return it."""
        self._sent = sent
        # Of other errors the class tells code and family; here each instance does.
        vars(self).update(code=code, family=family, retryable=bool(sent.get("retryable")))
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the error as the appliance sent it, with every broken rule."""
        data = super().to_dict()
        sent: Mapping[str, Any] | None = getattr(self, "_sent", None)
        if sent is not None:
            data["params"] = dict(_mapping(sent.get("params")))
            if sent.get("errors"):
                data["errors"] = sent["errors"]
        return data


def error_from_problem(problem: Any, status: int) -> SekisoError:
    """Return the error that a problem document of the appliance describes.

    Args:
        problem: the document (RFC 9457, with Sekiso's members).
        status: the HTTP status, for documents that do not tell the kind of failure.
    """
    data = _mapping(problem)
    code = str(data.get("code") or "api")
    rules = violation_lines(data.get("errors"))
    # A rule that stands among the broken ones is not said again.
    detail, resolution = (
        "" if text and any(text in rule for rule in rules) else text
        for text in (str(data.get("detail") or ""), str(data.get("resolution") or ""))
    )
    lines = [detail, *rules]
    error = ApiError(
        brief=str(data.get("title") or say("The appliance refused the request.")),
        why="\n".join(line for line in lines if line),
        resolution=resolution,
    )
    return error.describe(data, code, _family_of(data, code, status))


def error_from_task(error: Mapping[str, Any]) -> SekisoError:
    """Return the error that a task failed with: by the texts of the appliance, else by those known here."""
    code = str(error.get("code") or "internal")
    names = (("brief", "title"), ("why", "detail"), ("resolution", "resolution"))
    texts = [str(error.get(one) or error.get(other) or "") for one, other in names]
    if not texts[0]:
        texts = _own_texts(code, error)
    found = ApiError(brief=texts[0], why=texts[1], resolution=texts[2])
    return found.describe(error, code, _family_of(error, code, 500))


def violation_lines(violations: Any) -> list[str]:
    """Return broken rules, one per line: field, reason, what to do."""
    found: list[str] = []
    for item in cast("Sequence[Any]", violations) if isinstance(violations, list) else ():
        rule = _mapping(item)
        texts = (str(rule.get(key) or "") for key in ("reason", "remedy"))
        found.append(f"{rule.get('field', '')}: " + " ".join(text for text in texts if text))
    return found


def _own_texts(code: str, error: Mapping[str, Any]) -> list[str]:
    params = _mapping(error.get("params"))
    if _known_class(code) is None:
        for module in _TASK_ERRORS:
            import_module(module)
    known = _known_class(code)
    if known is not None:
        return list(render_error(known(**params), language()))
    words = ", ".join(f"{name}={value}" for name, value in params.items())
    return [say("The task failed with the error {code}.", code=code), str(error.get("text") or words), ""]


def _known_class(code: str) -> type[SekisoError] | None:
    waiting: list[type[SekisoError]] = [SekisoError]
    while waiting:
        cls = waiting.pop()
        if cls.code == code and not issubclass(cls, ApiError):
            return cls
        waiting += cls.__subclasses__()
    return None


def _family_of(data: Mapping[str, Any], code: str, status: int) -> Family:
    name = str(data.get("family") or "").upper()
    if name in Family.__members__:
        return Family[name]
    known = _known_class(code)
    if known is not None:
        return known.family
    return _BY_STATUS.get(status, Family.INTERNAL)


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}
