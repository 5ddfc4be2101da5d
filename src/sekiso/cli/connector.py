"""`sekiso connector`: connector types, their settings, and connector configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from sekiso.cli import cache as cache_commands
from sekiso.cli.connector_options import (
    given_settings,
    name_argument,
    pairs,
    reference_argument,
    setting_options,
)
from sekiso.cli.errors import WrongUsageError
from sekiso.cli.help import SekisoGroup
from sekiso.cli.language import say
from sekiso.cli.options import Name, OutputFile, json_option
from sekiso.cli.output import print_json, print_notes, print_pairs, print_table, printable
from sekiso.cli.remote import (
    View,
    confirm,
    connect,
    flat,
    listed,
    moment,
    names_of,
    part,
    subjects_text,
    views,
    yes_no,
    yes_option,
)
from sekiso.cli.words import remark, word
from sekiso.errors import AlreadyExistsError

_PATH = "/connector-configurations"
_connector_argument = click.argument("code", metavar="CONNECTOR", shell_complete=names_of("/connectors"))


@click.group(cls=SekisoGroup)
def connector() -> None:
    """Connectors, connector configurations.

    A connector configuration says where machines are made and images published: agent, storage path,
    hardware, generation, disk format.
    """


@connector.command("types")
@json_option
def types(as_json: bool) -> None:
    """List the types of connectors."""
    with connect() as appliance:
        answer = appliance.get("/connectors")
    if as_json:
        print_json(listed("connectors", answer))
        return
    rows = [(t.get("code"), remark(str(t.get("label", "")))) for t in views(answer)]
    print_table(["Connector", "Name"], rows)


@connector.command("form")
@_connector_argument
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="Give a setting by its name.")
@json_option
def form(code: str, values: tuple[str, ...], as_json: bool) -> None:
    """Show the settings of a connector, what each can be, and what is wrong with the given values."""
    given = pairs(values, "sekiso connector form")
    with connect() as appliance:
        answer = appliance.post(f"/connectors/{part(code)}/form", {"values": given})
    print_json(listed("sections", answer)) if as_json else _show_form(views(answer))


def _show_form(sections: Sequence[View]) -> None:
    fields = [f for section in sections for f in section["fields"] if f.get("shown", True)]
    rows = [
        (
            f["name"],
            f["label"],
            say("required") if f.get("required") else "",
            _plain(f.get("value")),
            ", ".join(str(c["value"]) for c in f.get("choices") or () if c.get("offered", True)),
        )
        for f in fields
    ]
    print_table(["Setting", "Name", "", "Value", "Choices"], rows)
    problems = [(f["name"], p) for f in fields for p in f.get("problems") or ()]
    print_notes(f"{name}: {p['reason']} {p.get('remedy') or ''}".rstrip() for name, p in problems)


@connector.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the connector configurations."""
    with connect() as appliance:
        answer = appliance.get(_PATH)
    if as_json:
        print_json(listed("configurations", answer))
        return
    rows: list[tuple[object, ...]] = []
    for found in views(answer):
        settings = _settings(found)
        rows.append(
            (
                found.get("name"),
                found.get("connector"),
                found.get("agent_name") or settings.get("agent"),
                settings.get("generation"),
                str(settings.get("disk_format", "")).upper(),
                yes_no(settings.get("offload")),
                settings.get("storage_path"),
            )
        )
    print_table(
        ["Name", "Connector", "Agent", "Generation", "Format", "Offload", "Storage path"], rows, right=[3]
    )


@connector.command("show")
@reference_argument
@json_option
def show(reference: str, as_json: bool) -> None:
    """Show a connector configuration."""
    with connect() as appliance:
        answer = appliance.get(f"{_PATH}/{part(reference)}")
    print_json(answer) if as_json else _show(answer)


def _show(answer: Any) -> None:
    found = flat(answer)
    settings = _settings(found)
    online = say("online") if found.get("agent_online") else say("offline")
    print_pairs(
        [
            ("Name", found.get("name")),
            ("Identifier", found.get("id")),
            ("Connector", found.get("connector")),
            ("Agent", " ".join(filter(None, (found.get("agent_name") or settings.get("agent"), online)))),
            ("Storage path", settings.get("storage_path")),
            ("Storage path as UNC path", settings.get("storage_unc_path")),
            ("Template VM", settings.get("template_vm")),
            ("Number of CPUs", settings.get("cpus")),
            ("Memory (MB)", settings.get("memory_mb")),
            ("Network", settings.get("network")),
            ("Generation", settings.get("generation")),
            ("Firmware", word(str(found.get("firmware") or ""))),
            ("Disk format", str(settings.get("disk_format", "")).upper()),
            ("Offload compositing", yes_no(settings.get("offload"))),
            ("Layer disk cache size (GB)", settings.get("cache_gb")),
            ("Changed", moment(found.get("changed_s"))),
            ("Used by", subjects_text(found.get("used_by"))),
        ]
    )
    print_notes(str(w) for w in found.get("warnings") or ())
    print_notes(f"{v['field']}: {remark(v['reason'])}" for v in found.get("violations") or ())


def _settings(found: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = found.get("settings") or found.get("values") or {}
    return settings


@connector.command("create")
@name_argument
@click.option(
    "--type", "code", default="hyperv", show_default=True, metavar="CONNECTOR", help="Type of connector."
)
@setting_options
@click.option("--test", "with_test", is_flag=True, help="Test it first; save it only if every check passes.")
@json_option
def create(
    name: str, code: str, others: tuple[str, ...], with_test: bool, as_json: bool, **options: Any
) -> None:
    """Make a connector configuration.

    What is left out has its default. Every broken rule is shown at once, and then nothing is saved.
    """
    values = {"name": name, **given_settings(options, others, "sekiso connector create")}
    body = {"connector": code, "values": values}
    with connect() as appliance:
        if with_test:
            _test_first(appliance.rows(f"{_PATH}/test", body), as_json=as_json)
        answer = appliance.post(_PATH, body)
    _saved(answer, as_json=as_json)


@connector.command("update")
@reference_argument
@click.option("--name", type=Name(), help="New name.")
@setting_options
@click.option("--test", "with_test", is_flag=True, help="Test it first; save it only if every check passes.")
@json_option
def update(
    reference: str,
    name: str | None,
    others: tuple[str, ...],
    with_test: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Change settings of a connector configuration; the others stay.

    An empty value takes an optional setting away.
    """
    given = given_settings(options, others, "sekiso connector update")
    if name is not None:
        given["name"] = name
    if not given:
        raise WrongUsageError(reason="Nothing is to be changed.", command="sekiso connector update")
    with connect() as appliance:
        before = flat(appliance.get(f"{_PATH}/{part(reference)}"))
        values = {**_settings(before), **given}
        if with_test:
            body = {"connector": before.get("connector"), "values": values, "reference": before.get("id")}
            _test_first(appliance.rows(f"{_PATH}/test", body), as_json=as_json)
        answer = appliance.put(f"{_PATH}/{part(reference)}", {"values": values})
    _saved(answer, as_json=as_json)


def _test_first(rows: Any, *, as_json: bool) -> None:
    from sekiso.cli.connector_test import exit_unless, show_test  # noqa: PLC0415 (needed for tests only)
    from sekiso.cli.reporting import hint  # noqa: PLC0415

    found = list(rows) if as_json else rows
    if as_json:
        passed = all(row["status"] != "failed" for row in found)
        if not passed:
            print_json({"checks": found})
    else:
        passed = show_test(found, as_json=False)
    if not passed:
        hint(say("Nothing was saved."))
    exit_unless(passed)


def _saved(answer: Any, *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    found = flat(answer)
    click.echo(say("The connector configuration {name} was saved.", name=found.get("name")))
    print_notes(str(w) for w in found.get("warnings") or ())


@connector.command("clone")
@reference_argument
@click.argument("new_name", type=Name())
@json_option
def clone(reference: str, new_name: str, as_json: bool) -> None:
    """Make a copy of a connector configuration under another name."""
    with connect() as appliance:
        answer = appliance.post(f"{_PATH}/{part(reference)}/clone", {"name": new_name})
    _saved(answer, as_json=as_json)


@connector.command("delete")
@reference_argument
@yes_option
@json_option
def delete(reference: str, yes: bool, as_json: bool) -> None:
    """Delete a connector configuration that nothing uses."""
    confirm(say("Delete the connector configuration {name}?", name=reference), yes=yes)
    with connect() as appliance:
        appliance.delete(f"{_PATH}/{part(reference)}")
    text = say("The connector configuration {name} was deleted.", name=reference)
    print_json({"deleted": reference}) if as_json else click.echo(text)


@connector.command("test")
@reference_argument
@json_option
def test(reference: str, as_json: bool) -> None:
    """Test a saved connector configuration against its live agent.

    Every check is shown with its outcome and what to do. The exit code is 0 if none failed, else 3.
    """
    from sekiso.cli.connector_test import exit_unless, show_test  # noqa: PLC0415 (needed for tests only)

    with connect() as appliance:
        passed = show_test(appliance.rows(f"{_PATH}/{part(reference)}/test"), as_json=as_json)
    exit_unless(passed)


@connector.command("export")
@click.argument(
    "references", nargs=-1, metavar="[CONFIGURATION]...", shell_complete=names_of("/connector-configurations")
)
@click.option("--out", type=OutputFile(".yaml", ".yml", ".json"), help="File to write; else it is printed.")
@json_option
def export(references: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Write connector configurations as YAML that sekiso apply takes; all if none is named."""
    form = "json" if as_json or (out is not None and out.suffix.lower() == ".json") else "yaml"
    with connect() as appliance:
        data = appliance.get_bytes(f"{_PATH}/export", {"reference": list(references) or None, "format": form})
    if out is None:
        click.echo(data.decode("utf-8", "backslashreplace").rstrip("\n"))
        return
    try:
        with out.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise AlreadyExistsError(what="The file", name=out, remedy="Choose another name.") from None
    if not as_json:
        click.echo(say("Written: {path}", path=out))


@connector.command("settings")
@_connector_argument
@json_option
def settings(code: str, as_json: bool) -> None:
    """Show the file transfer settings of a connector (config.json)."""
    with connect() as appliance:
        answer = appliance.get(f"/connectors/{part(code)}/settings")
    print_json(answer) if as_json else _show_file(answer)


@connector.command("set")
@_connector_argument
@click.argument("values", nargs=-1, required=True, metavar="KEY=VALUE...")
@json_option
def set_(code: str, values: tuple[str, ...], as_json: bool) -> None:
    """Change the file transfer settings of a connector (config.json).

    The change is in force after sekiso connector restart.

      sekiso connector set hyperv useHttpsFileTransfer=true ignoreCertificateErrors=false
    """
    given = pairs(values, "sekiso connector set")
    with connect() as appliance:
        answer = appliance.put(f"/connectors/{part(code)}/settings", {"values": given})
    print_json(answer) if as_json else _show_file(answer)


@connector.command("restart")
@_connector_argument
@json_option
def restart(code: str, as_json: bool) -> None:
    """Restart a connector, so that its settings come into force."""
    with connect() as appliance:
        answer = appliance.post(f"/connectors/{part(code)}/restart")
    print_json(answer) if as_json else _show_file(answer)


def _show_file(answer: Mapping[str, Any]) -> None:
    in_file: Mapping[str, Any] = answer["file"] or {}
    rows = [(key, _plain(in_file.get(key)), _plain(value)) for key, value in answer["in_force"].items()]
    print_pairs([("File", answer.get("path"))])
    print_table(["Key", "In the file", "In force"], rows)
    if answer.get("pending_restart"):
        connector = answer.get("connector", "hyperv")
        click.echo(say("A restart puts the file into force: sekiso connector restart {name}", name=connector))
    print_notes(filter(None, (answer.get("problem"), *(answer.get("warnings") or ()))))


def _plain(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "", True: "true", False: "false"}[value]
    return printable(str(value))


connector.add_command(cache_commands.show, "cache")
connector.add_command(cache_commands.clear, "clear-cache")
