"""`sekiso layer`: layers, their versions, and the packaging machines they are made on."""

from __future__ import annotations

import click

from sekiso.cli.help import SekisoGroup
from sekiso.cli.layer.change import change, clone, delete, delete_version
from sekiso.cli.layer.content import conflicts, diff, export, files
from sekiso.cli.layer.look import list_, show
from sekiso.cli.layer.machine import machine
from sekiso.cli.layer.make import add_version, create, discard, finalize, import_os


@click.group(cls=SekisoGroup)
def layer() -> None:
    """Layers, versions, packaging machines.

    A version of a layer is named LAYER:VERSION; LAYER alone means its newest version that fits. The usual
    way:

      sekiso layer import-os Debian --version 12 --connector prod --disk /srv/debian.vhdx --wait
      sekiso layer create --kind app nginx --version 1.22 --os Debian --connector prod
             --run-once nginx-setup/ --wait
      sekiso template create web --connector prod --os Debian --app nginx
    """


for command in (
    *(list_, show, import_os, create, add_version, finalize, discard, machine),
    *(change, clone, delete, delete_version, files, diff, conflicts, export),
):
    layer.add_command(command)
