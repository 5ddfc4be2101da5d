"""Words that packages use as data and that a person reads: states, roles, kinds, steps, in every language.

Command line and REST API show the same words; `sekiso.i18n` translates whole texts.
"""

from __future__ import annotations

from sekiso.errors import SekisoError, fill
from sekiso.i18n import mark, translate, translated_value

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

#: What the audit history says was done, by its stable names.
_DEEDS = {
    "agent.create-token": mark("Registration token created"),
    "agent.register": mark("Agent registered"),
    "agent.remove": mark("Agent removed"),
    "agent.remove-token": mark("Registration token revoked"),
    "agent.rename": mark("Agent renamed"),
    "agent.revoke": mark("Agent revoked"),
    "appliance.settings": mark("Settings of the appliance changed"),
    "cache.clear": mark("Layer disk cache cleared"),
    "certificate.forget-request": mark("Certificate request deleted"),
    "certificate.generate": mark("Certificate generated"),
    "certificate.request": mark("Certificate request created"),
    "certificate.settle": mark("Former certificate no longer shown"),
    "certificate.take-back": mark("Former certificate put back into force"),
    "certificate.upload": mark("Certificate uploaded"),
    "configuration.apply": mark("Connector configuration applied from a file"),
    "configuration.change": mark("Connector configuration changed"),
    "configuration.create": mark("Connector configuration created"),
    "configuration.delete": mark("Connector configuration deleted"),
    "connector.restart": mark("Connector restarted"),
    "connector.set": mark("Connector settings changed"),
    "image.boot-test": mark("Boot test started"),
    "image.delete": mark("Image deleted"),
    "image.publish": mark("Image published"),
    "layer-version.delete": mark("Layer version deleted"),
    "layer-version.discard": mark("Layer version discarded"),
    "layer-version.finalize": mark("Layer version finalized"),
    "layer.add-version": mark("Layer version added"),
    "layer.change": mark("Layer changed"),
    "layer.clone": mark("Layer cloned"),
    "layer.create": mark("Layer created"),
    "layer.delete": mark("Layer deleted"),
    "layer.import-os": mark("OS layer imported"),
    "log.download": mark("Support bundle downloaded"),
    "packaging.screen": mark("Screen of the packaging machine opened"),
    "task.cancel": mark("Task canceled"),
    "task.retry": mark("Task retried"),
    "template.change": mark("Image template changed"),
    "template.clone": mark("Image template cloned"),
    "template.create": mark("Image template created"),
    "template.delete": mark("Image template deleted"),
    "token.create": mark("API token created"),
    "token.revoke": mark("API token revoked"),
    "user.change": mark("User changed"),
    "user.change-password": mark("Password changed"),
    "user.create": mark("User created"),
    "user.delete": mark("User deleted"),
    "user.lock": mark("User locked after failed logins"),
    "user.login": mark("Logged in"),
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
    "folder": mark("Folder"),
    "link": mark("Link"),
    "device": mark("Device"),
    "deleted": mark("Deleted"),
    "layer": mark("Layer"),
    "image": mark("Image"),
    "none": mark("None"),
    "running": mark("Running"),
    "degraded": mark("Degraded"),
    "differencing": mark("Differencing"),
    # States of tasks, versions, images and machines.
    "queued": mark("Queued"),
    "action-required": mark("Action required"),
    "canceling": mark("Canceling"),
    "canceled": mark("Canceled"),
    "failed": mark("Failed"),
    "complete": mark("Complete"),
    "editing": mark("Editing"),
    "finalizable": mark("Finalizable"),
    "finalizing": mark("Finalizing"),
    "deployable": mark("Deployable"),
    "broken": mark("Broken"),
    "deleting": mark("Deleting"),
    "publishing": mark("Publishing"),
    "published": mark("Published"),
    "off": mark("Off"),
    "starting": mark("Starting"),
    "paused": mark("Paused"),
    "stopping": mark("Stopping"),
    "saved": mark("Saved"),
    "critical": mark("Critical"),
    # Kinds of tasks.
    "import-os": mark("Import an OS layer"),
    "create-layer": mark("Create a layer version"),
    "finalize-layer": mark("Finalize a layer version"),
    "publish-image": mark("Publish an image"),
    "boot-test": mark("Test whether an image starts"),
    "discard-packaging": mark("Discard a layer version"),
    "delete-layer-version": mark("Delete a layer version"),
    "delete-image": mark("Delete an image"),
    # What a template does, and outcomes of checks.
    "offline": mark("Offline"),
    "passed": mark("Passed"),
    "skipped": mark("Skipped"),
    # Kinds of objects.
    "agent": mark("Agent"),
    "connector-configuration": mark("Connector configuration"),
    "connector": mark("Connector"),
    "layer-version": mark("Layer version"),
    "image-template": mark("Image template"),
    "task": mark("Task"),
    "user": mark("User"),
    "api-token": mark("API token"),
    "layer-disk-cache": mark("Layer disk cache"),
    "appliance": mark("Appliance"),
    # How something is, and servers of the appliance.
    "ok": mark("OK"),
    "warning": mark("Warning"),
    "problem": mark("Problem"),
    "api": mark("Console and REST API"),
    "agent-link": mark("Link to the agents"),
    "transfer-https": mark("Transfers over HTTPS"),
    # Roles.
    "administrator": mark("Administrator"),
    "layer-manager": mark("Layer manager"),
    "publisher": mark("Publisher"),
    "read-only": mark("Read-only"),
    # What taking over a file did.
    "created": mark("Created"),
    "changed": mark("Changed"),
    "unchanged": mark("Unchanged"),
    # Firmware.
    "bios": mark("BIOS"),
    "uefi": mark("UEFI"),
    "uefi-secure-boot": mark("UEFI with Secure Boot"),
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
    mark("folder metadata differs"),
    mark("shim's key manager."),
    mark("a file in one layer, a folder in another"),
    mark("deleted by {layers}"),
    mark("{reason} (to {target})"),
    mark("{role} from sector {sector}"),
    mark("{step}: done in {seconds} s"),
    mark("sectors from {sector}"),
    mark("capture of {name}"),
    mark("import of {name}"),
)

#: Parameters of errors that hold such a value, never a name that a person has chosen.
_WORD_PARAMS = frozenset({"holder", "needed", "role", "state"})


def word_of(value: str, language: str) -> str:
    """Return a value of an enumeration as a person reads it."""
    return translate(_WORDS.get(value, value), language)


def deeds() -> tuple[str, ...]:
    """Return the stable names of what the audit history can say was done."""
    return tuple(_DEEDS)


def deed_of(action: str, language: str) -> str:
    """Return what was done, as the audit history names it, as a person reads it."""
    return translate(_DEEDS.get(action, action), language)


def step_of(name: str, language: str) -> str:
    """Return the name of a step as a person reads it."""
    text = translate(_STEPS.get(name, name), language)
    return text[:1].upper() + text[1:]


def action_of(what: str, language: str) -> str:
    """Return what an action of a plan does."""
    return translate(_ACTIONS.get(what, what), language)


def error_texts(error: SekisoError, language: str) -> tuple[str, str, str]:
    """Return what went wrong, why, and what to do; parts may be empty.

    As `i18n.render_error`, with roles, states and kinds of tasks in words instead of their codes.
    """
    params = {key: _shown(key, value, language) for key, value in error.params.items()}
    templates = (error.brief, error.why, error.resolution)
    brief, why, resolution = (fill(translate(text, language), params) for text in templates)
    return brief, why, resolution


def _shown(key: str, value: object, language: str) -> object:
    if not isinstance(value, str) or key not in _WORD_PARAMS or value not in _WORDS:
        return translated_value(key, value, language)
    text = word_of(value, language)
    # In the middle of an English sentence.
    return text[:1].lower() + text[1:] if language == "en" else text
