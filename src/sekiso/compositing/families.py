"""Which guest family supports what; the one place that knows them all."""

from __future__ import annotations

from collections.abc import Sequence

from sekiso.guests.base import GuestFamilySupport
from sekiso.guests.linux import LinuxSupport
from sekiso.guests.windows import WindowsSupport
from sekiso.model.layer import GuestFamily


def all_families() -> Sequence[GuestFamilySupport]:
    """Return the support of every family, in the order in which a disk is tried."""
    return (LinuxSupport(), WindowsSupport())


def support_for(family: GuestFamily) -> GuestFamilySupport:
    """Return the support of one family."""
    return next(item for item in all_families() if item.family is family)
