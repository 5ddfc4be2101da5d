"""Errors of requests themselves, before any service is asked."""

from __future__ import annotations

from collections.abc import Sequence

from sekiso.errors import Family, SekisoError
from sekiso.model.machine import Violation


class RequestInvalidError(SekisoError):
    """A request has another form than the API's. Params: field, reason."""

    code = "request.invalid"
    family = Family.USAGE
    brief = "The request cannot be understood: {field}."
    why = "{reason}"
    resolution = "See the description of the API: /api/v1/openapi.json"

    #: Everything that is wrong with it.
    violations: tuple[Violation, ...] = ()

    @classmethod
    def of(cls, violations: Sequence[Violation]) -> RequestInvalidError:
        """Return the error of a request; there is at least one violation."""
        error = cls(field=violations[0].field, reason=violations[0].reason)
        error.violations = tuple(violations)
        return error


class RequestTooLargeError(SekisoError):
    """The body of a request is too large. Params: limit_bytes."""

    code = "request.too-large"
    family = Family.INPUT
    brief = "The request is too large."
    why = "At most {limit_bytes} bytes are taken here."
    resolution = "Send less."


class AddressUnknownError(SekisoError):
    """There is nothing at an address. Params: path."""

    code = "request.address"
    family = Family.NOT_FOUND
    brief = "There is nothing at the address {path}."
    why = ""
    resolution = "See the description of the API: /api/v1/openapi.json"


class MethodRefusedError(SekisoError):
    """An address does not take a method. Params: path, method."""

    code = "request.method"
    family = Family.USAGE
    brief = "The address {path} does not take {method}."
    why = ""
    resolution = "See the description of the API: /api/v1/openapi.json"


class HostRefusedError(SekisoError):
    """A request was meant for another server. Params: host."""

    code = "request.host"
    family = Family.INPUT
    brief = "This appliance is not {host}."
    why = "The request names another host than those that the appliance has."
    resolution = "Use a name of the appliance, or have the administrator add this one."


class ForeignRequestError(SekisoError):
    """A change by cookie without the value that only our own pages know. No params."""

    code = "request.foreign"
    family = Family.USAGE
    brief = "The request was not accepted."
    why = "It changes something and lacks the header X-Sekiso-CSRF that belongs to the session."
    resolution = "Send the value that the login has answered, or use an API token."


class ScreensBusyError(SekisoError):
    """As many screens are shown as the appliance shows at once. Params: most."""

    code = "screen.busy"
    family = Family.ENVIRONMENT
    retryable = True
    brief = "The screen cannot be shown now."
    why = "At most {most} screens are shown at once."
    resolution = "Close a screen that nobody looks at, and open this one again."


class ScreenEndedError(SekisoError):
    """A screen has ended at the machine. No params."""

    code = "screen.ended"
    family = Family.GUEST
    brief = "The screen has ended: the machine was turned off."
    why = "A machine that is off shows nothing."
    resolution = "Start the machine, and open its screen again."


class ScreenMessageError(SekisoError):
    """A screen was sent something else than binary messages. No params."""

    code = "screen.message"
    family = Family.INPUT
    brief = "A screen takes binary messages only."
    why = "Its protocol is RFB (RFC 6143)."
    resolution = "Use a program that speaks it over WebSocket, e.g. noVNC."


class UploadRefusedError(SekisoError):
    """An uploaded file cannot be used. Params: reason, remedy."""

    code = "upload.refused"
    family = Family.INPUT
    brief = "The uploaded file cannot be used."
    why = "{reason}"
    resolution = "{remedy}"
