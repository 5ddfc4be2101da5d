"""Errors of every hypervisor driver; the texts name the machine or the disk they are about."""

from __future__ import annotations

from sekiso.errors import Family, SekisoError


class MachineNotFoundError(SekisoError):
    """No machine has this identifier or name. Params: machine."""

    code = "machine.not-found"
    family = Family.NOT_FOUND
    brief = "The machine {machine} does not exist."
    why = "The hypervisor has no machine of that identifier; it may have been deleted by someone else."
    resolution = "List the machines and choose one of them."


class SwitchNotFoundError(SekisoError):
    """No switch has this name. Params: switch, known."""

    code = "switch.not-found"
    family = Family.NOT_FOUND
    brief = "The switch {switch} does not exist."
    why = "The host has these switches: {known}."
    resolution = "Choose one of them, or create the switch on the host first."


class DiskNotFoundError(SekisoError):
    """A disk file or the attachment of one is not there. Params: path, reason."""

    code = "disk.not-found"
    family = Family.NOT_FOUND
    brief = "The disk {path} cannot be found."
    why = "{reason}"
    resolution = "Check the path; the disk may have been moved or deleted."


class NameTakenError(SekisoError):
    """Another machine has the name. Params: machine."""

    code = "machine.name-taken"
    family = Family.CONFLICT
    brief = "There is a machine named {machine} already."
    why = "Sekiso works with machines by their names in messages and logs, so a name may be used once only."
    resolution = "Choose another name, or delete the machine that has it."


class WrongStateError(SekisoError):
    """The machine's state does not allow the operation. Params: machine, state, operation, needed."""

    code = "machine.wrong-state"
    family = Family.CONFLICT
    brief = "The machine {machine} is {state}."
    why = "It must be {needed} to {operation}."
    resolution = "Bring the machine into that state first and repeat."


class DiskInUseError(SekisoError):
    """A disk is used by someone else. Params: path, user, reason."""

    code = "disk.in-use"
    family = Family.CONFLICT
    retryable = True
    brief = "The disk {path} is in use by {user}."
    why = "{reason}"
    resolution = "Detach the disk there, or use a copy of it."


class GenerationError(SekisoError):
    """A machine's generation does not offer this. Params: machine, generation, reason, remedy."""

    code = "machine.generation"
    family = Family.UNSUPPORTED
    brief = "The generation {generation} machine {machine} does not support this."
    why = "{reason}"
    resolution = "{remedy}"


class DiskFormatError(SekisoError):
    """The hypervisor cannot attach disks of this format. Params: path, format, known."""

    code = "disk.format"
    family = Family.UNSUPPORTED
    brief = "The disk {path} cannot be attached."
    why = "This hypervisor attaches the formats {known}, not {format}."
    resolution = "Convert the disk to one of those formats."


class NoSlotError(SekisoError):
    """A controller has no free place, or the wanted one is taken. Params: machine, controller, reason."""

    code = "disk.no-slot"
    family = Family.CONFLICT
    brief = "The machine {machine} has no place for the disk on its {controller} controller."
    why = "{reason}"
    resolution = "Detach a disk that is no longer needed, or choose another slot."


class TemplateUnsuitableError(SekisoError):
    """A machine cannot serve as template (CC-4). Params: machine, reason."""

    code = "template.unsuitable"
    family = Family.USAGE
    brief = "The machine {machine} cannot be used as a template."
    why = "{reason}"
    resolution = "Change the machine on the host, or choose another template."


class StateTimeoutError(SekisoError):
    """A machine did not reach a state in time. Params: machine, state, wanted, timeout_s."""

    code = "machine.timeout"
    family = Family.GUEST
    retryable = True
    brief = "The machine {machine} was not {wanted} within {timeout_s} seconds."
    why = "It is still {state}."
    resolution = "Look at the machine's screen: its operating system may be waiting for an answer."


class GuestSilentError(SekisoError):
    """The guest did not report what was waited for. Params: machine, wanted, reason, last."""

    code = "guest.silent"
    family = Family.GUEST
    brief = "The guest in the machine {machine} did not report {wanted}."
    why = "{reason} Its last words were: {last}"
    resolution = "Look at the machine's screen and at its console log."


class HypervisorError(SekisoError):
    """The hypervisor refused or failed an operation. Params: machine, operation, reason."""

    code = "hypervisor.failed"
    family = Family.TOOL
    brief = "The hypervisor could not {operation} (machine {machine})."
    why = "{reason}"
    resolution = "Nothing else was changed. The log of the machine may say more."
