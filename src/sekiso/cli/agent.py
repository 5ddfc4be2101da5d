"""`sekiso agent`: agents, what they report, how they are registered; and the agent itself on its host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from sekiso.cli.language import mark, number, say
from sekiso.cli.lazy import Later, LazyGroup
from sekiso.cli.options import Name, json_option, page_options
from sekiso.cli.output import human_bytes, print_json, print_notes, print_pairs, print_table
from sekiso.cli.remote import (
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
from sekiso.cli.reporting import hint
from sekiso.cli.words import word

_COMPLETE = names_of("/agents")
_HOUR_S = 3600
#: What runs on the agent's own host; it needs no appliance to be logged in at.
_SERVICE = {
    "register": Later(
        "sekiso.cli.agent_service",
        "register_command",
        mark("Register this machine as an agent, with a one-time token."),
    ),
    "run": Later(
        "sekiso.cli.agent_service",
        "run_command",
        mark("Run the agent until it is ended (SIGTERM, or Ctrl-C)."),
    ),
}


@click.group(cls=LazyGroup, later=_SERVICE)
def agent() -> None:
    """Agents.

    An agent runs on the hypervisor's host, where it makes machines and disks for the appliance.
    """


@agent.command("list")
@page_options
@json_option
def list_(text: str | None, offset: int | None, limit: int | None, as_json: bool) -> None:
    """List the registered agents."""
    with connect() as appliance:
        answer = appliance.get("/agents", {"text": text, "offset": offset, "limit": limit})
    if as_json:
        print_json(listed("agents", answer))
        return
    rows = [
        (
            a.get("name"),
            _state(a),
            a.get("host_name"),
            f"{a.get('hypervisor') or ''} {a.get('hypervisor_version') or ''}".strip(),
            a.get("version"),
            moment(a.get("last_seen_s")),
            subjects_text(a.get("used_by")),
        )
        for a in views(answer)
    ]
    print_table(["Name", "State", "Host", "Hypervisor", "Version", "Last seen", "Used by"], rows)


@agent.command("show")
@click.argument("name", metavar="AGENT", shell_complete=_COMPLETE)
@json_option
def show(name: str, as_json: bool) -> None:
    """Show an agent."""
    with connect() as appliance:
        answer = appliance.get(f"/agents/{part(name)}")
    if as_json:
        print_json(answer)
        return
    found = flat(answer)
    print_pairs(
        [
            ("Agent", found.get("name")),
            ("Identifier", found.get("id")),
            ("State", _state(found)),
            ("Host", found.get("host_name")),
            ("Platform", str(found.get("platform") or "").capitalize()),
            (
                "Hypervisor",
                f"{found.get('hypervisor') or ''} {found.get('hypervisor_version') or ''}".strip(),
            ),
            ("Version", found.get("version")),
            ("Last seen", moment(found.get("last_seen_s"))),
            ("Registered", moment(found.get("registered_s"))),
            ("Certificate valid until", moment(found.get("certificate_expires_s"))),
            ("Used by", subjects_text(found.get("used_by"))),
        ]
    )


def _state(found: Mapping[str, Any]) -> str:
    if found.get("revoked"):
        return say("revoked")
    return say("online") if found.get("online") else say("offline")


@agent.command("inventory")
@click.argument("name", metavar="AGENT", shell_complete=_COMPLETE)
@click.option("--refresh", is_flag=True, help="Ask the agent now instead of showing its last report.")
@json_option
def inventory(name: str, refresh: bool, as_json: bool) -> None:
    """Show what an agent reports of its host, such as switches, machines and volumes."""
    with connect() as appliance:
        found = appliance.get_long(
            f"/agents/{part(name)}/inventory", {"refresh": "true" if refresh else None}
        )
    if as_json:
        print_json(found)
    elif found:
        _show_inventory(found)
    else:
        click.echo(say("The agent has not reported yet."))


def _show_inventory(found: Mapping[str, Any]) -> None:
    print_pairs(
        [
            ("Host", found["host_name"]),
            ("Hypervisor", f"{found['hypervisor']} {found['hypervisor_version']}".strip()),
            ("Agent version", found["agent_version"]),
            ("Account", found["account"]),
            ("Processors", found["cpus"] or ""),
            ("Memory", f"{number(found['memory_mb'])} MB" if found["memory_mb"] else ""),
            ("Disk formats", ", ".join(f.upper() for f in found["disk_formats"])),
            ("Offload compositing", yes_no(found["offload"])),
        ]
    )
    if found.get("offload_hindrance"):
        print_notes([found["offload_hindrance"]])
    _switches(found["switches"])
    _machines(found["template_vms"])
    _volumes(found["volumes"])


def _switches(switches: Sequence[Mapping[str, Any]]) -> None:
    if switches:
        click.echo()
        rows = [(s["name"], s["kind"], yes_no(s["reaches_host"])) for s in switches]
        print_table(["Switch", "Kind", "Reaches the host"], rows)


def _machines(machines: Sequence[Mapping[str, Any]]) -> None:
    if machines:
        click.echo()
        rows = [
            (m["name"], word(m["firmware"]), m["cpus"], m["memory_mb"], len(m["adapters"]), len(m["disks"]))
            for m in machines
        ]
        print_table(
            ["Machine", "Firmware", "Processors", "Memory (MB)", "Network adapters", "Disks"],
            rows,
            right=[2, 3, 4, 5],
        )


def _volumes(volumes: Sequence[Mapping[str, Any]]) -> None:
    if volumes:
        click.echo()
        rows = [(v["path"], human_bytes(v["size_bytes"]), human_bytes(v["free_bytes"])) for v in volumes]
        print_table(["Volume", "Size", "Free"], rows, right=[1, 2])


@agent.command("token")
@click.option("--name", type=Name(), help="Name that the agent will have; its host name otherwise.")
@click.option(
    "--valid-hours", type=click.IntRange(1, 168), default=1, show_default=True, help="How long it is valid."
)
@json_option
def token(name: str | None, valid_hours: int, as_json: bool) -> None:
    """Make a one-time token to register an agent, and print it, this once."""
    with connect() as appliance:
        answer = appliance.post("/agent-tokens", {"name": name, "valid_s": valid_hours * _HOUR_S})
        url = appliance.url
    if as_json:
        print_json(answer)
        return
    click.echo(answer["token"])
    hint(say("It is shown this once, and can be used once until {time}.", time=moment(answer["expires_s"])))
    hint(say("On the agent's machine, run this and give the token when it is asked for:"))
    hint(f"  sekiso agent register --appliance {url}")


@agent.command("rename")
@click.argument("name", metavar="AGENT", shell_complete=_COMPLETE)
@click.argument("new_name", type=Name())
@json_option
def rename(name: str, new_name: str, as_json: bool) -> None:
    """Give an agent another name."""
    with connect() as appliance:
        answer = appliance.patch(f"/agents/{part(name)}", {"name": new_name})
    print_json(answer) if as_json else click.echo(say("The agent is now called {name}.", name=new_name))


@agent.command("revoke")
@click.argument("name", metavar="AGENT", shell_complete=_COMPLETE)
@click.option("--force", is_flag=True, help="Also if connector configurations use it.")
@yes_option
@json_option
def revoke(name: str, force: bool, yes: bool, as_json: bool) -> None:
    """Refuse an agent from now on; it has to be registered again."""
    confirm(say("Revoke the agent {name}?", name=name), yes=yes)
    with connect() as appliance:
        answer = appliance.post(f"/agents/{part(name)}/revoke", {"force": force})
    print_json(answer) if as_json else click.echo(say("The agent {name} was revoked.", name=name))


@agent.command("remove")
@click.argument("name", metavar="AGENT", shell_complete=_COMPLETE)
@yes_option
@json_option
def remove(name: str, yes: bool, as_json: bool) -> None:
    """Remove an agent that nothing uses."""
    confirm(say("Remove the agent {name}?", name=name), yes=yes)
    with connect() as appliance:
        appliance.delete(f"/agents/{part(name)}")
    print_json({"removed": name}) if as_json else click.echo(say("The agent {name} was removed.", name=name))
