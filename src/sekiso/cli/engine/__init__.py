"""`sekiso engine`: the compositing engine without an appliance."""

from __future__ import annotations

import click

from sekiso.cli.engine.boot import boot
from sekiso.cli.engine.capture import capture
from sekiso.cli.engine.compose import compose
from sekiso.cli.engine.conflicts import conflicts
from sekiso.cli.engine.diff import diff
from sekiso.cli.engine.import_ import import_
from sekiso.cli.engine.inspect import inspect
from sekiso.cli.engine.verify import verify
from sekiso.cli.help import SekisoGroup


@click.group(cls=SekisoGroup)
def engine() -> None:
    """Work on layers and disks right here, without an appliance.

    The usual way:

      sekiso engine import debian.vhdx --out debian.wim --name Debian --version 12.9
      sekiso engine compose debian.wim --out boot.vhdx --generation 2 --generalize none
      sekiso engine boot boot.vhdx --packaging-disk nginx.qcow2 --run-once nginx-setup/
      sekiso engine capture nginx.qcow2 --boot-disk boot.vhdx --base debian.wim
             --out nginx.wim --name nginx --version 1.22
      sekiso engine compose debian.wim nginx.wim --out image.vhdx --generation 2
      sekiso engine boot image.vhdx --secure-boot
    """


for command in (import_, capture, compose, inspect, diff, conflicts, verify, boot):
    engine.add_command(command)
