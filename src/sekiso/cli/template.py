"""`sekiso template`: image templates, the recipes of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from sekiso.cli.errors import WrongUsageError
from sekiso.cli.help import SekisoGroup
from sekiso.cli.language import number, say
from sekiso.cli.options import Name, json_option, page_options
from sekiso.cli.output import human_bytes, print_json, print_notes, print_pairs, print_table
from sekiso.cli.remote import (
    View,
    confirm,
    connect,
    flat,
    listed,
    moment,
    names_of,
    part,
    views,
    yes_no,
    yes_option,
)
from sekiso.cli.template_options import NO_PLATFORM, given_wish, template_options, wish_of
from sekiso.cli.version_refs import Library
from sekiso.cli.words import action_words, remark, word

_PATH = "/image-templates"
_template_argument = click.argument("reference", metavar="TEMPLATE", shell_complete=names_of(_PATH))


@click.group(cls=SekisoGroup)
def template() -> None:
    """Image templates.

    A template names layers, a connector configuration and a disk; images are published from it with sekiso
    image publish.
    """


@template.command("list")
@page_options
@json_option
def list_(text: str | None, offset: int | None, limit: int | None, as_json: bool) -> None:
    """List the image templates."""
    with connect() as appliance:
        answer = appliance.get(_PATH, {"text": text, "offset": offset, "limit": limit})
    if as_json:
        print_json(listed("templates", answer))
        return
    rows = [
        (
            t["name"],
            t["revision"],
            ", ".join(t.get("layers") or ()),
            t.get("configuration_name"),
            t["disk_format"].upper(),
            t.get("images", ""),
            moment(t.get("last_published_s")),
        )
        for t in views(answer)
    ]
    print_table(
        ["Name", "Revision", "Layers", "Connector configuration", "Format", "Images", "Last published"],
        rows,
        right=[1, 5],
    )


@template.command("show")
@_template_argument
@json_option
def show(reference: str, as_json: bool) -> None:
    """Show an image template."""
    with connect() as appliance:
        answer = appliance.get(f"{_PATH}/{part(reference)}")
    print_json(answer) if as_json else _show(flat(answer))


def _show(found: View) -> None:
    size = found.get("size_bytes")
    print_pairs(
        [
            ("Template", found["name"]),
            ("Identifier", found["id"]),
            ("Revision", found["revision"]),
            ("Layers", ", ".join(found.get("layers") or ())),
            ("Connector configuration", found.get("configuration_name")),
            ("Disk", f"{found['disk_name']}, {word(found['allocation'])}, {found['disk_format'].upper()}"),
            ("Disk size", human_bytes(size) if size else say("as the layers need")),
            ("Generalization", word(found["generalization"])),
            ("Boot test", yes_no(found.get("boot_test"))),
            ("Images kept", found.get("keep_last") or say("all")),
            ("Notes", found.get("notes")),
            ("Images", found.get("images")),
            ("Last published", moment(found.get("last_published_s"))),
            ("Changed", moment(found.get("changed_s"))),
        ]
    )


@template.command("create")
@click.argument("name", type=Name())
@template_options
@json_option
def create(name: str, as_json: bool, **options: Any) -> None:
    """Make an image template."""
    if not options["configuration"] or not options["os_version"]:
        raise WrongUsageError(reason="Give --connector and --os.", command="sekiso template create")
    with connect() as appliance:
        wish = wish_of({"name": name, **given_wish(options, Library(appliance))})
        answer = appliance.post(_PATH, wish)
    print_json(answer) if as_json else click.echo(say("The image template {name} was made.", name=name))


@template.command("change")
@_template_argument
@click.option("--name", type=Name(), help="New name.")
@template_options
@click.option("--no-platform", is_flag=True, help="Leave the platform layer out.")
@click.option("--no-apps", is_flag=True, help="Leave all app layers out.")
@json_option
def change(
    reference: str, name: str | None, no_platform: bool, no_apps: bool, as_json: bool, **options: Any
) -> None:
    """Change an image template; what is not given stays, and the revision before is kept.

    App layers that are given replace those of the template.
    """
    with connect() as appliance:
        given = given_wish(options, Library(appliance))
        if name is not None:
            given["name"] = name
        given |= NO_PLATFORM if no_platform else {}
        given |= {"app_version_ids": []} if no_apps else {}
        if not given:
            raise WrongUsageError(reason="Nothing is to be changed.", command="sekiso template change")
        before = flat(appliance.get(f"{_PATH}/{part(reference)}"))
        answer = appliance.put(f"{_PATH}/{part(reference)}", wish_of({**before, **given}))
    revision = flat(answer).get("revision")
    text = say("The image template {name} has revision {number} now.", name=reference, number=revision)
    print_json(answer) if as_json else click.echo(text)


@template.command("clone")
@_template_argument
@click.argument("new_name", type=Name())
@json_option
def clone(reference: str, new_name: str, as_json: bool) -> None:
    """Make a copy of an image template under another name."""
    with connect() as appliance:
        answer = appliance.post(f"{_PATH}/{part(reference)}/clone", {"name": new_name})
    print_json(answer) if as_json else click.echo(say("The image template {name} was made.", name=new_name))


@template.command("delete")
@_template_argument
@yes_option
@json_option
def delete(reference: str, yes: bool, as_json: bool) -> None:
    """Delete an image template; images published from it stay."""
    confirm(say("Delete the image template {name}?", name=reference), yes=yes)
    with connect() as appliance:
        appliance.delete(f"{_PATH}/{part(reference)}")
    text = say("The image template {name} was deleted.", name=reference)
    print_json({"deleted": reference}) if as_json else click.echo(text)


@template.command("history")
@_template_argument
@json_option
def history(reference: str, as_json: bool) -> None:
    """List the revisions of an image template, the newest first, with what each changed."""
    with connect() as appliance:
        answer = appliance.get(f"{_PATH}/{part(reference)}/history")
    if as_json:
        print_json(listed("revisions", answer))
        return
    revisions = views(answer)
    rows = [
        (revision["revision"], moment(revision["changed_s"]), _changes(before, revision))
        for revision, before in zip(revisions, [*revisions[1:], None], strict=True)
    ]
    print_table(["Revision", "Made", "Changed"], rows, right=[0])


def _changes(before: View | None, after: View) -> str:
    if before is None:
        return ""
    ignored = ("revision", "changed_s", "created_s", "id")
    return ", ".join(key for key in after if key not in ignored and after[key] != before.get(key))


@template.command("preview")
@_template_argument
@click.option("--actions", is_flag=True, help="List every action with its reason.")
@json_option
def preview(reference: str, actions: bool, as_json: bool) -> None:
    """Show what publishing an image template would make; nothing is made."""
    with connect() as appliance:
        plan = appliance.get_long(f"{_PATH}/{part(reference)}/preview")
    print_json(plan) if as_json else _show_plan(plan, with_actions=actions)


def _show_plan(answer: Mapping[str, Any], *, with_actions: bool) -> None:
    from sekiso.cli.layer.content import print_conflicts  # noqa: PLC0415 (needed for this only)

    plan: Mapping[str, Any] = answer.get("plan") or answer
    layers = ", ".join(f"{item['name']} {item['layer_version']}" for item in plan.get("layers") or ())
    print_pairs(
        [
            ("Layers", layers),
            ("Generation", plan.get("generation")),
            ("Disk format", str(plan.get("disk_format", "")).upper()),
            ("Disk size", human_bytes(plan.get("size_bytes") or 0)),
            ("Entries", number(plan.get("entries") or 0)),
            ("Content", human_bytes(plan.get("content_bytes") or 0)),
            ("Plan", answer.get("plan_id")),
        ]
    )
    print_conflicts(list(answer.get("conflicts") or plan.get("conflicts") or ()))
    if with_actions:
        rows = [
            (action_words(a["what"]), a["target"], remark(a["reason"])) for a in plan.get("actions") or ()
        ]
        print_table(["Action", "Target", "Reason"], rows)
    print_notes(plan.get("notes") or ())
