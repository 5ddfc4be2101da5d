"""Errors of transfers that a person may read."""

from __future__ import annotations

from sekiso.errors import Family, SekisoError


class TransferCertificateError(SekisoError):
    """The other side's certificate is not accepted (CC-9). Params: path, reason."""

    code = "transfer.certificate"
    family = Family.ENVIRONMENT
    brief = "Copying the file to {path} failed. The certificate authority is invalid or incorrect."
    why = "An error occurred while processing the remote file. {reason}"
    resolution = (
        "Install a valid certificate on the appliance, pin the appliance's certificate by registering the "
        "agent again, or set ignoreCertificateErrors in config.json."
    )


class TransferInterruptedError(SekisoError):
    """The connection kept breaking, or the other side stayed busy. Params: path, attempts, reason."""

    code = "transfer.interrupted"
    family = Family.ENVIRONMENT
    retryable = True
    brief = "Copying {path} was interrupted {attempts} times and has been given up."
    why = "{reason}"
    resolution = "What has arrived is kept. Start the transfer again and it goes on from there."


class TransferRefusedError(SekisoError):
    """The other side refuses the transfer. Params: path, status, reason."""

    code = "transfer.refused"
    family = Family.CONFLICT
    brief = "The other side refused to copy {path} (HTTP status {status})."
    why = "{reason}"
    resolution = "Start the task again: it asks for a new permission to transfer the file."


class TransferContentError(SekisoError):
    """What arrived is not what was promised. Params: path, leaf (number), offset (bytes), reason."""

    code = "transfer.content"
    family = Family.VERIFICATION
    brief = "The content of {path} is not what was promised: block {leaf}, at byte {offset}, differs."
    why = "{reason}"
    resolution = "No file was left under the final name. Start again; if it fails again, check the source."


class TransferProtocolError(SekisoError):
    """The other side does not speak the protocol. Params: path, reason."""

    code = "transfer.protocol"
    family = Family.ENVIRONMENT
    brief = "The other side answered in a way that makes no sense while copying {path}."
    why = "{reason}"
    resolution = "Check that the address is that of a Sekiso appliance and that no proxy changes the answers."
