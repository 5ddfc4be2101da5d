"""All mergers of the Linux family; the first that claims a path has it."""

from __future__ import annotations

from sekiso.guests.linux.accounts import ACCOUNT_MERGERS
from sekiso.guests.linux.alternatives import AlternativesMerger
from sekiso.guests.linux.derived import DERIVED_MERGERS
from sekiso.guests.linux.linefiles import LINE_MERGERS
from sekiso.guests.linux.stanzas import AptStatesMerger, DebconfMerger, PackageMerger
from sekiso.guests.merging import StructuredMerger

LINUX_MERGERS: tuple[StructuredMerger, ...] = (
    PackageMerger(),
    *ACCOUNT_MERGERS,
    AlternativesMerger(),
    DebconfMerger(),
    AptStatesMerger(),
    *LINE_MERGERS,
    *DERIVED_MERGERS,
)
