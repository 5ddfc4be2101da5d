"""The `sekiso` command: language, logging, and how errors become texts and exit codes."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence

import click

from sekiso import __version__
from sekiso.cli.engine import engine
from sekiso.errors import CanceledError, Family, SekisoError
from sekiso.i18n import LANGUAGES, preferred_language, render_error, translate

EXIT_CODES_HELP = """\b
Exit codes:
  0 success        5 exists or conflicts   9 a result failed its verification
  2 wrong usage    6 not supported        10 the guest reported a failure
  3 damaged input  7 environment         130 canceled
  4 not found      8 a program failed      1 an error inside Sekiso
"""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES_HELP,
)
@click.version_option(__version__, prog_name="sekiso")
@click.option("--lang", type=click.Choice(LANGUAGES), help="Language of messages (default: by LANG).")
@click.option("-v", "--verbose", count=True, help="Log what is done; twice: every external command too.")
@click.pass_context
def cli(context: click.Context, lang: str | None, verbose: int) -> None:
    """Image layering for Microsoft Hyper-V.

    Windows or Linux, platform pieces and applications are kept apart as layers, and any stack of
    them becomes a bootable disk.
    """
    context.obj = preferred_language(lang)
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
    language = _language(arguments)
    try:
        status = cli.main(arguments, prog_name="sekiso", standalone_mode=False)
    except click.exceptions.Exit as exc:
        status = exc.exit_code
    except click.Abort:
        status = _report(CanceledError(), language, as_json="--json" in arguments)
    except KeyboardInterrupt:
        status = _report(CanceledError(), language, as_json="--json" in arguments)
    except click.UsageError as exc:
        exc.show()
        status = Family.USAGE.value
    except click.ClickException as exc:
        exc.show()
        status = exc.exit_code
    except SekisoError as exc:
        logging.getLogger(__name__).debug("failed", exc_info=exc)
        status = _report(exc, language, as_json="--json" in arguments)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing failed, and nothing can be said any more.
        sys.stderr.close()
        status = 0
    sys.exit(status if isinstance(status, int) else 0)


def _language(arguments: Sequence[str]) -> str:
    for index, word in enumerate(arguments):
        if word == "--lang" and index + 1 < len(arguments):
            return preferred_language(arguments[index + 1])
        if word.startswith("--lang="):
            return preferred_language(word.partition("=")[2])
    return preferred_language()


def _report(error: SekisoError, language: str, *, as_json: bool) -> int:
    brief, why, resolution = render_error(error, language)
    if as_json:
        texts = {"brief": brief, "why": why, "resolution": resolution}
        click.echo(json.dumps({"error": {**error.to_dict(), **texts}}, ensure_ascii=False))
    else:
        label = translate("Error", language)
        click.echo(click.style(f"{label}: ", fg="red", bold=True) + brief, err=True)
        for line in (why, resolution):
            if line:
                click.echo("  " + line.replace("\n", "\n  "), err=True)
    return error.family.value
