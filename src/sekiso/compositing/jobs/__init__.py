"""Engine work in a process of its own: foreign disks are parsed there, and a cancellation ends it."""

from __future__ import annotations

from sekiso.compositing.jobs.errors import EngineCrashedError
from sekiso.compositing.jobs.model import (
    CaptureJob,
    ComposeJob,
    ConflictsJob,
    DiffLayersJob,
    ImportJob,
    Job,
    JobOf,
    ListFilesJob,
    PackJob,
    PlanJob,
    SquashJob,
    VerifyLayerJob,
)
from sekiso.compositing.jobs.results import (
    CaptureSummary,
    ComposeSummary,
    ConflictsSummary,
    Difference,
    DiffSummary,
    FileEntry,
    FilesSummary,
    ImportSummary,
    PackSummary,
    PlanSummary,
    SquashSummary,
    Summary,
    VerifySummary,
)
from sekiso.compositing.jobs.run import run_job
from sekiso.compositing.jobs.workplace import replace_unfinished

__all__ = [
    "CaptureJob",
    "CaptureSummary",
    "ComposeJob",
    "ComposeSummary",
    "ConflictsJob",
    "ConflictsSummary",
    "DiffLayersJob",
    "DiffSummary",
    "Difference",
    "EngineCrashedError",
    "FileEntry",
    "FilesSummary",
    "ImportJob",
    "ImportSummary",
    "Job",
    "JobOf",
    "ListFilesJob",
    "PackJob",
    "PackSummary",
    "PlanJob",
    "PlanSummary",
    "SquashJob",
    "SquashSummary",
    "Summary",
    "VerifyLayerJob",
    "VerifySummary",
    "replace_unfinished",
    "run_job",
]
