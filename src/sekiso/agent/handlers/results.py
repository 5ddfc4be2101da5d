"""Results of long work, kept in the scratch of its task until it is cleaned up.

Work whose result may differ from one time to the next (files that are added carry the time) is done
once: its result is written down before it is put in place, and a repeated command goes on from there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from sekiso.agent.contract import LayerMade
from sekiso.agent.handlers.layers import is_whole, keep_layer
from sekiso.agent.handlers.records import read_record, remove_folder, write_record
from sekiso.agent.places import Places, make_folder

_T = TypeVar("_T")


def kept_result(scratch: Path, method: str, kind: type[_T]) -> _T | None:
    """Return the result that an earlier call has written down."""
    return read_record(scratch / f"{method}.json", kind)


def keep_result(scratch: Path, method: str, result: object) -> None:
    """Write a result down."""
    write_record(scratch / f"{method}.json", result)


def fresh_folder(folder: Path) -> Path:
    """Return an empty folder: what a cut-off call has left there is removed."""
    remove_folder(folder)
    return make_folder(folder)


def finished_layer(places: Places, scratch: Path, method: str, work: Path) -> LayerMade | None:
    """Return the layer that an earlier call has made, put in place; None if it has to be made.

    Args:
        places: the storage path.
        scratch: scratch of the task.
        method: the command.
        work: where the layer file lies until it is put in place.
    """
    made = kept_result(scratch, method, LayerMade)
    if made is None:
        return None
    if work.is_file():
        keep_layer(places, work, made.identity)
    return made if is_whole(places, made.identity) else None
