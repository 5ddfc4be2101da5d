"""`sekiso engine verify`: proves that a layer or an image is what it must be."""

from __future__ import annotations

from pathlib import Path

import click

from sekiso.cli.help import SekisoCommand
from sekiso.cli.options import INPUT_FILE, json_option, quiet_option
from sekiso.cli.output import amount, print_json, print_pairs
from sekiso.cli.progress import make_progress
from sekiso.cli.words import word
from sekiso.compositing.compare import is_wim
from sekiso.compositing.verify import read_record, verify_image, verify_layer


@click.command(cls=SekisoCommand)
@click.argument("path", type=INPUT_FILE)
@json_option
@quiet_option
def verify(path: Path, as_json: bool, quiet: bool) -> None:
    """Read a layer or an image, every byte of it, and check it.

    A layer is checked against the hashes it carries and its manifest. An image is checked against the
    record that was written beside it when it was composed.
    """
    with make_progress(quiet=quiet or as_json) as progress:
        if is_wim(path):
            result = verify_layer(path, progress=progress)
        else:
            result = verify_image(path, read_record(path), progress=progress)
    if as_json:
        print_json(result)
        return
    print_pairs(
        [
            ("Verified", f"{word(result.what)} {path}"),
            ("Identity", result.identity),
            (
                "Content",
                amount(result.entries, result.content_bytes),
            ),
        ]
    )
