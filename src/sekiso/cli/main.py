"""The `sekiso` command: language, logging, signals, and how errors become texts and exit codes."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click

from sekiso import __version__
from sekiso.cli.engine import engine
from sekiso.cli.errors import UnexpectedError, from_os_error, from_usage_error
from sekiso.cli.help import SekisoGroup
from sekiso.cli.language import language, say, use_language
from sekiso.cli.output import printable
from sekiso.errors import CanceledError, SekisoError
from sekiso.i18n import LANGUAGES, preferred_language, render_error

log = logging.getLogger(__name__)


@click.group(cls=SekisoGroup, context_settings={"help_option_names": ["-h", "--help"]})
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


cli.add_command(engine)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the family of the error, if there was one."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    use_language(_wanted_language(arguments))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _cancel)
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        status = _drop_output()
    except SekisoError as exc:
        log.debug("failed", exc_info=exc)
        status = _report(exc, as_json="--json" in arguments)
    except OSError as exc:
        log.debug("failed", exc_info=exc)
        status = _report(from_os_error(exc), as_json="--json" in arguments)
    except Exception as exc:
        log.debug("failed", exc_info=exc)
        reason = f"{type(exc).__name__}: {exc}"
        status = _report(UnexpectedError(reason=reason), as_json="--json" in arguments)
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


def _report(error: SekisoError, *, as_json: bool) -> int:
    brief, why, resolution = render_error(error, language())
    if as_json:
        texts = {"brief": brief, "why": why, "resolution": resolution}
        data = json.dumps({"error": {**error.to_dict(), **texts}}, ensure_ascii=False)
        click.echo(data.encode("utf-8", "backslashreplace").decode())
    else:
        click.echo(click.style(say("Error:") + " ", fg="red", bold=True) + printable(brief), err=True)
        for line in (why, resolution):
            if line:
                click.echo("  " + printable(line).replace("\n", "\n  "), err=True)
    return error.family.value
