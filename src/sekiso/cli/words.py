"""Words that lower packages use as data and that a person reads here: shown in the reader's language."""

from __future__ import annotations

from sekiso.cli.language import mark, say

#: Steps that are named after a function, in plain words.
_STEPS = {
    "convert": mark("Writing the disk file"),
    "copy": mark("Copying the disk"),
    "merge": mark("Merging the disks"),
    "read": mark("Reading the volume"),
    "reading the folders of the volume": mark("Reading the folders of the volume"),
    "reading the content of the volume": mark("Reading the content of the volume"),
    "writing the content of the file system": mark("Writing the content of the file system"),
}

#: What actions of a plan do.
_ACTIONS = {
    "boot": mark("Make bootable"),
    "convert": mark("Convert"),
    "fill": mark("Fill"),
    "folder": mark("Make folder"),
    "format": mark("Format"),
    "link": mark("Link"),
    "merge": mark("Merge"),
    "partition": mark("Partition"),
    "remove": mark("Remove"),
    "write": mark("Write"),
}

_WORDS = {
    "os": mark("OS layer"),
    "app": mark("App layer"),
    "platform": mark("Platform layer"),
    "fixed": mark("Fixed"),
    "dynamic": mark("Dynamic"),
    "file": mark("File"),
    "deletion": mark("Deletion"),
    "key": mark("Entry in a file"),
    "layer": mark("Layer"),
    "image": mark("Image"),
    "none": mark("None"),
    "running": mark("Running"),
    "degraded": mark("Degraded"),
    "differencing": mark("Differencing"),
}

#: Reasons and remarks that lower packages write without being full sentences.
REMARKS = (
    mark("the base of the image"),
    mark("apps by priority"),
    mark("platform goes on top"),
    *(mark("content"), mark("attributes"), mark("times"), mark("security"), mark("links")),
    *(mark("streams"), mark("reparse"), mark("short-name"), mark("folder-times"), mark("access-time")),
    mark("libwim applies the merged tree once, straight to the file system"),
    mark("the composed tree's own file system"),
    mark("content is copied straight from the layer files into the file system, in order"),
    mark("to a {format} disk that Hyper-V attaches"),
    mark("content or metadata differs"),
    mark("deleted by {layers}"),
    mark("{reason} (to {target})"),
    mark("{role} from sector {sector}"),
    mark("sectors from {sector}"),
    mark("capture of {name}"),
    mark("import of {name}"),
)


def step_words(name: str) -> str:
    """Return the name of a step as a person reads it."""
    text = say(_STEPS.get(name, name))
    return text[:1].upper() + text[1:]


def action_words(what: str) -> str:
    """Return what an action of a plan does."""
    return say(_ACTIONS.get(what, what))


def word(value: str) -> str:
    """Return a value of an enumeration as a person reads it."""
    return say(_WORDS.get(value, value))


def generation_words(generation: int) -> str:
    """Return `generation 2`."""
    return say("generation {number}", number=int(generation))


def remark(text: str) -> str:
    """Return a reason or note of a lower package in the reader's language."""
    return say(text)
