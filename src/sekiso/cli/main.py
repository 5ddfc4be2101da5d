"""The `sekiso` command: language, logging, signals, and how errors become texts and exit codes."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click

from sekiso import __version__
from sekiso.cli.errors import UnexpectedError, from_os_error, from_usage_error
from sekiso.cli.language import mark, use_language
from sekiso.cli.lazy import Later, LazyGroup
from sekiso.cli.reporting import report
from sekiso.errors import CanceledError, SekisoError
from sekiso.i18n import LANGUAGES, preferred_language

log = logging.getLogger(__name__)

#: Variable by which a shell asks for completions; its value names the shell.
COMPLETE_VARIABLE = "_SEKISO_COMPLETE"

#: All commands by topic, in the order of the help page.
COMMANDS = {
    "login": Later("sekiso.cli.login", "login", mark("Log in.")),
    "logout": Later("sekiso.cli.login", "logout", mark("Log out.")),
    "whoami": Later("sekiso.cli.login", "whoami", mark("Show appliance, user, role.")),
    "agent": Later("sekiso.cli.agent", "agent", mark("Agents.")),
    "connector": Later("sekiso.cli.connector", "connector", mark("Connectors, connector configurations.")),
    "layer": Later("sekiso.cli.layer", "layer", mark("Layers, versions, packaging machines.")),
    "template": Later("sekiso.cli.template", "template", mark("Image templates.")),
    "image": Later("sekiso.cli.image", "image", mark("Published images.")),
    "task": Later("sekiso.cli.task", "task", mark("Tasks, their progress, their logs.")),
    "cache": Later("sekiso.cli.cache", "cache", mark("Caches.")),
    "apply": Later("sekiso.cli.apply", "apply", mark("Apply a file.")),
    "user": Later("sekiso.cli.user", "user", mark("Users.")),
    "token": Later("sekiso.cli.token", "token", mark("API tokens.")),
    "audit": Later("sekiso.cli.audit", "audit", mark("The audit history.")),
    "certificate": Later("sekiso.cli.certificate", "certificate", mark("The certificate of the appliance.")),
    "settings": Later("sekiso.cli.settings", "settings", mark("Settings of the appliance.")),
    "health": Later(
        "sekiso.cli.health",
        "health",
        mark("Show how the appliance is, and what to do about what is wrong."),
    ),
    "log": Later("sekiso.cli.log", "log", mark("Logs of the appliance.")),
    # It stands above this package, so it is only named here.
    "appliance": Later("sekiso.appliance.command", "appliance", mark("Run the appliance, on this machine.")),
    "host": Later("sekiso.cli.host", "host", mark("Machines, switches of a QEMU host.")),
    "engine": Later(
        "sekiso.cli.engine",
        "engine",
        mark("Work on layers and disks right here, without an appliance."),
    ),
    "completion": Later("sekiso.cli.completion", "completion", mark("Shell completion.")),
}


@click.group(cls=LazyGroup, later=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sekiso", message="%(prog)s %(version)s")
@click.option("--lang", type=click.Choice(LANGUAGES), help="Language of messages (default: by LANG).")
@click.option("-v", "--verbose", count=True, help="Log what is done; twice: every external command too.")
def cli(lang: str | None, verbose: int) -> None:
    """Image layering for Microsoft Hyper-V.

    Windows or Linux, platform pieces and applications are kept apart as layers, and any stack of
    them becomes a bootable disk.
    """
    del lang  # read before click looks at the command line, so that its own errors follow it too
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    logging.basicConfig(
        level=levels[min(verbose, 2)],
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the family of the error, if there was one."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    use_language(_wanted_language(arguments))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _cancel)
    if COMPLETE_VARIABLE in os.environ:
        sys.exit(_complete(os.environ[COMPLETE_VARIABLE]))
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        status = _drop_output()
    except SekisoError as exc:
        log.debug("failed", exc_info=exc)
        status = report(exc, as_json="--json" in arguments)
    except OSError as exc:
        log.debug("failed", exc_info=exc)
        status = report(from_os_error(exc), as_json="--json" in arguments)
    except Exception as exc:
        log.debug("failed", exc_info=exc)
        reason = f"{type(exc).__name__}: {exc}"
        status = report(UnexpectedError(reason=reason), as_json="--json" in arguments)
    sys.exit(status)


def _run(arguments: list[str]) -> int:
    try:
        with cli.make_context("sekiso", arguments) as context:
            cli.invoke(context)
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.format_message(), err=True)
        return exc.exit_code
    except click.UsageError as exc:
        raise from_usage_error(exc) from exc
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt) as exc:
        raise CanceledError from exc
    return 0


def _complete(instruction: str) -> int:
    """Answer a shell that asks for completions."""
    from click.shell_completion import shell_complete  # noqa: PLC0415 (needed for this only)

    return shell_complete(cli, {}, "sekiso", COMPLETE_VARIABLE, instruction)


def _cancel(number: int, frame: FrameType | None) -> None:
    """End the work as Ctrl-C does; a second signal does not disturb the clearing away."""
    del number, frame
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def _drop_output() -> int:
    # The reader of our output went away (`| head`): nothing failed, and nothing can be said any more.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return 0


def _wanted_language(arguments: Sequence[str]) -> str:
    for index, word in enumerate(arguments):
        if word == "--lang" and index + 1 < len(arguments):
            return preferred_language(arguments[index + 1])
        if word.startswith("--lang="):
            return preferred_language(word.partition("=")[2])
    return preferred_language()
