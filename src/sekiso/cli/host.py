"""`sekiso host`: machines and switches of a QEMU host, which has no Hyper-V Manager."""

from __future__ import annotations

from pathlib import Path

import click

from sekiso.cli.help import SekisoCommand, SekisoGroup
from sekiso.cli.language import say
from sekiso.cli.options import Name, Size, json_option
from sekiso.cli.output import human_bytes, print_json, print_pairs, print_table
from sekiso.cli.words import word
from sekiso.hypervisors.facts import MachineSpec, NetworkAdapter, SwitchKind
from sekiso.hypervisors.qemu.driver import QemuDriver
from sekiso.hypervisors.waiting import find_machine
from sekiso.model.machine import Generation, SecureBootTemplate

_STORAGE = click.option(
    "--storage",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder with the machines of the agent, as at its registration.",
)


@click.group(cls=SekisoGroup)
def host() -> None:
    """Look after the machines of a QEMU host.

    On a Hyper-V server, Hyper-V Manager does this.
    """


@host.command("machines", cls=SekisoCommand)
@_STORAGE
@json_option
def machines(storage: Path, as_json: bool) -> None:
    """List the machines of this host."""
    found = QemuDriver(storage).list_machines()
    if as_json:
        print_json({"machines": found})
        return
    print_table(
        ["Name", "State", "Generation", "Processors", "Memory", "Disks", "Identifier"],
        [
            (
                m.name,
                word(m.state),
                int(m.generation),
                m.spec.cpus,
                human_bytes(m.spec.memory_bytes),
                len(m.disks),
                m.id,
            )
            for m in found
        ],
        right=[2, 3, 4, 5],
    )


@host.command("switches", cls=SekisoCommand)
@_STORAGE
@json_option
def switches(storage: Path, as_json: bool) -> None:
    """List the virtual switches of this host."""
    found = QemuDriver(storage).list_switches()
    if as_json:
        print_json({"switches": found})
        return
    rows = [(s.name, word(s.kind), say("yes") if s.reaches_host else say("no")) for s in found]
    print_table(["Name", "Kind", "Reaches the host"], rows)


@host.command("add-switch", cls=SekisoCommand)
@click.argument("name", type=Name())
@click.option(
    "--kind",
    type=click.Choice([SwitchKind.PRIVATE.value, SwitchKind.ISOLATED.value]),
    default=SwitchKind.PRIVATE.value,
    show_default=True,
    help="Whether machines on it reach each other (private) or nothing (isolated).",
)
@_STORAGE
def add_switch(name: str, kind: str, storage: Path) -> None:
    """Add a virtual switch to this host."""
    QemuDriver(storage).add_switch(name, SwitchKind(kind))


@host.command("add-template", cls=SekisoCommand)
@click.argument("name", type=Name())
@_STORAGE
@click.option(
    "--generation", type=click.Choice(["1", "2"]), default="2", show_default=True, help="Generation."
)
@click.option("--cpus", type=click.IntRange(1, 240), default=4, show_default=True, help="Virtual processors.")
@click.option("--memory", type=Size("64M", "1T"), default="8G", show_default=True, help="Memory.")
@click.option("--switch", "switch_name", default="Isolated", show_default=True, help="Switch of its adapter.")
@click.option("--secure-boot", is_flag=True, help="Enforce Secure Boot (generation 2).")
@click.option(
    "--secure-boot-template",
    type=click.Choice([t.value for t in SecureBootTemplate]),
    default=SecureBootTemplate.MICROSOFT_UEFI_CA.value,
    show_default=True,
    help="Whose signatures the firmware trusts.",
)
@click.option("--tpm", is_flag=True, help="Give it a TPM 2.0 (generation 2).")
@json_option
def add_template(
    name: str,
    storage: Path,
    generation: str,
    cpus: int,
    memory: int,
    switch_name: str,
    secure_boot: bool,
    secure_boot_template: str,
    tpm: bool,
    as_json: bool,
) -> None:
    """Make a template VM: a machine without disks whose hardware other machines take over."""
    made = QemuDriver(storage).create_machine(
        MachineSpec(
            name=name,
            generation=Generation(int(generation)),
            cpus=cpus,
            memory_bytes=memory,
            adapters=(NetworkAdapter(switch=switch_name),),
            secure_boot=secure_boot,
            secure_boot_template=SecureBootTemplate(secure_boot_template),
            tpm=tpm,
        )
    )
    if as_json:
        print_json({"id": made.id, "name": made.name})
    else:
        print_pairs([("Template VM", made.name), ("Identifier", made.id)])


@host.command("remove-machine", cls=SekisoCommand)
@click.argument("name", type=Name())
@_STORAGE
def remove_machine(name: str, storage: Path) -> None:
    """Remove a machine that is off; its disks stay."""
    driver = QemuDriver(storage)
    found = find_machine(driver, name)
    if found is None:
        raise click.UsageError(f"There is no machine {name}.")
    driver.delete_machine(found.id, delete_disks=False)
