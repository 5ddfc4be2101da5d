"""`sekiso engine boot`: starts an image or a packaging machine and shows what its guest says."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from sekiso.agent.machines import MachineSettings, RunResult, boot_test, raw_disk, run_packaging_machine
from sekiso.agent.run_once import make_run_once_disk
from sekiso.cli.engine.boot_plan import plan_machine, show_plan
from sekiso.cli.help import SekisoCommand
from sekiso.cli.language import number, say
from sekiso.cli.options import INPUT_FILE, OutputFile, Size, dry_run_option, json_option, quiet_option
from sekiso.cli.output import print_json, print_pairs, printable
from sekiso.cli.progress import make_progress
from sekiso.cli.words import word
from sekiso.disks.image import inspect
from sekiso.errors import AlreadyExistsError
from sekiso.hypervisors.facts import DiskFile
from sekiso.hypervisors.qemu.driver import QemuDriver
from sekiso.model.machine import DiskFormat, Generation, SecureBootTemplate


@click.command(cls=SekisoCommand)
@click.argument("image", type=INPUT_FILE)
@click.option("--generation", type=click.Choice(["1", "2"]), help="Default: 1 for VHD, 2 for VHDX.")
@click.option("--secure-boot", is_flag=True, help="Enforce Secure Boot (generation 2).")
@click.option(
    "--secure-boot-template",
    type=click.Choice([t.value for t in SecureBootTemplate]),
    default=SecureBootTemplate.MICROSOFT_UEFI_CA.value,
    show_default=True,
    help="Whose signatures the firmware trusts.",
)
@click.option("--cpus", type=click.IntRange(1, 64), default=1, show_default=True, help="Virtual processors.")
@click.option(
    "--memory", type=Size("64M", "1T"), default="1G", show_default=True, help="Memory of the machine."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(1),
    default=600.0,
    show_default=True,
    help="Seconds to wait.",
)
@click.option("--screenshot", type=OutputFile(".png"), help="Save the machine's screen as PNG.")
@click.option("--console", type=OutputFile(), help="Save the end of its text console.")
@click.option(
    "--packaging-disk",
    type=OutputFile(),
    help="Start a packaging machine: record changes in this disk (made if absent) and wait until it is off.",
)
@click.option(
    "--run-once",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with run.sh and its files, run once in the packaging machine.",
)
@dry_run_option
@json_option
@quiet_option
def boot(
    image: Path,
    generation: str | None,
    secure_boot: bool,
    secure_boot_template: str,
    cpus: int,
    memory: int,
    timeout_s: float,
    screenshot: Path | None,
    console: Path | None,
    packaging_disk: Path | None,
    run_once: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Start IMAGE in a machine of its own and print what its guest reports.

    IMAGE itself is never written. Without --packaging-disk everything the guest writes is thrown away and the
    machine is shut down after its report. With it, the machine runs until it switches itself off.
    """
    if run_once is not None and packaging_disk is None:
        raise click.UsageError("--run-once needs --packaging-disk.")
    if secure_boot and generation == "1":
        raise click.UsageError("--secure-boot needs --generation 2.")
    for made in (screenshot, console):
        if made is not None and made.exists():
            raise AlreadyExistsError(what="The file", name=str(made), remedy="Choose another name.")
    disk = DiskFile(image.resolve(), inspect(image).format)
    settings = MachineSettings(
        generation=Generation(int(generation)) if generation else _generation_of(disk.format),
        cpus=cpus,
        memory_bytes=memory,
        secure_boot=secure_boot,
        secure_boot_template=SecureBootTemplate(secure_boot_template),
        timeout_s=timeout_s,
    )
    if dry_run:
        show_plan(plan_machine(disk, settings, packaging_disk, run_once), as_json=as_json)
        return
    with (
        tempfile.TemporaryDirectory(prefix="sekiso-", dir=image.resolve().parent) as folder,
        make_progress(quiet=quiet or as_json) as progress,
    ):
        driver = QemuDriver(Path(folder) / "machines")
        if packaging_disk is None:
            result = boot_test(driver, disk, settings, Path(folder), progress=progress)
        else:
            extra: list[DiskFile] = []
            if run_once is not None:
                extra.append(raw_disk(make_run_once_disk(run_once, Path(folder) / "run-once.raw")))
            writable = _packaging_disk(driver, disk, packaging_disk)
            result = run_packaging_machine(driver, writable, settings, extra_disks=extra, progress=progress)
    if screenshot is not None and result.screenshot:
        screenshot.write_bytes(result.screenshot)
    if console is not None:
        console.write_text(result.console, encoding="utf-8", errors="backslashreplace")
    _show(result, as_json=as_json)


def _packaging_disk(driver: QemuDriver, boot_disk: DiskFile, path: Path) -> DiskFile:
    if path.exists():
        return DiskFile(path, DiskFormat.QCOW2)
    made = driver.create_packaging_disk(boot_disk, path.with_suffix(""))
    if made.path != path:
        made.path.rename(path)
    return DiskFile(path, made.format)


def _generation_of(disk_format: DiskFormat) -> Generation:
    return Generation.TWO if disk_format is DiskFormat.VHDX else Generation.ONE


def _show(result: RunResult, *, as_json: bool) -> None:
    report = result.report
    if as_json:
        print_json({"report": report, "elapsed_s": result.elapsed_s, "reported_s": result.reported_s})
        return
    secure = {True: say("enforced"), False: say("off"), None: say("unknown")}[report.secure_boot]
    print_pairs(
        [
            ("System", report.os_name),
            ("Kernel", report.kernel),
            (
                "Firmware",
                say(
                    "{firmware}, Secure Boot {secure}, lockdown {lockdown}",
                    firmware=report.firmware.upper(),
                    secure=secure,
                    lockdown=report.lockdown or say("unknown"),
                ),
            ),
            ("Packages", f"{number(report.package_count or 0)} (SHA-256 {report.packages_sha256[:16]}…)"),
            ("Services", word(report.services_state)),
            ("Failed services", ", ".join(report.failed_services)),
            ("Integrity gate", _gate(result)),
            (
                "Finalized",
                "" if report.finalize is None else (say("yes") if report.finalize.ok else say("no")),
            ),
            (
                "Reported after",
                ""
                if result.reported_s is None
                else say("{seconds} seconds", seconds=f"{result.reported_s:.1f}"),
            ),
            ("Ended after", say("{seconds} seconds", seconds=f"{result.elapsed_s:.1f}")),
        ]
    )
    for item in (*report.hooks, *report.run_once):
        click.echo(say("{name} (status {status}):", name=printable(item.name), status=item.status))
        for line in item.output.rstrip().splitlines()[-20:]:
            click.echo("  " + printable(line))


def _gate(result: RunResult) -> str:
    gate = result.report.gate
    if gate is None:
        return ""
    return (
        say("clear") if gate.ok else "; ".join(f"{reason.code}: {reason.detail}" for reason in gate.reasons)
    )
