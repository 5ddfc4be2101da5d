"""Finds who does a job, and loads no more than that needs: a person may wait for a listing."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from sekiso.compositing.jobs.listing import diff_layers, list_files, without_surrogates
from sekiso.compositing.jobs.model import DiffLayersJob, JobOf, ListFilesJob
from sekiso.compositing.jobs.results import Summary
from sekiso.model.progress import Progress
from sekiso.store.layer_file import LayerFile


def do_job(job: JobOf[Any], progress: Progress) -> Summary:
    """Do a job in this process.

    Raises:
        SekisoError: as the engine's function for it.
    """
    return without_surrogates(_do(job, progress))


def _do(job: JobOf[Any], progress: Progress) -> Summary:
    if isinstance(job, ListFilesJob):
        progress.step("Reading the layer")
        with LayerFile(Path(job.layer)) as layer:
            return list_files(layer, job.path, limit=job.limit)
    if isinstance(job, DiffLayersJob):
        progress.step("Reading layers")
        with LayerFile(Path(job.left)) as left, LayerFile(Path(job.right)) as right:
            return diff_layers(left, right, limit=job.limit)
    return import_module("sekiso.compositing.jobs.work").do_work(job, progress)
