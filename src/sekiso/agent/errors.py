"""Errors of machines that package or prove."""

from __future__ import annotations

from sekiso.errors import Family, SekisoError


class PackagingFailedError(SekisoError):
    """Something in the packaging machine failed. Params: what, reason."""

    code = "packaging.failed"
    family = Family.GUEST
    brief = "{what} failed in the packaging machine."
    why = "{reason}"
    resolution = "The packaging disk is kept. Mend the cause and start it again, or delete it and begin anew."
