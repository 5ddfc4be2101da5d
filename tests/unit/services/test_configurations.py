"""Connector configurations: save, change, clone, delete, form, documents (CC-1, CC-6, CC-10, CC-11)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from sekiso.connectors.errors import ConfigurationInvalidError, DocumentError, DocumentsInvalidError
from sekiso.errors import InUseError, NotFoundError
from sekiso.model.task import NewTask, Subject, SubjectKind, TaskKind
from sekiso.services.core import Actor, NotAllowedError, new_id

from ...support.appliance import ADMIN, GOOD, HOST, MANAGER, PUBLISHER, READER, Appliance


@pytest.fixture
def saved(appliance: Appliance) -> Appliance:
    """An appliance with one agent and one configuration."""
    appliance.add_agent()
    appliance.configurations.create(ADMIN, "hyperv", GOOD)
    return appliance


def use(appliance: Appliance, configuration_id: str) -> str:
    """Have a task use a configuration; return the task."""
    subject = Subject(SubjectKind.CONFIGURATION, configuration_id, "Production")
    task = NewTask(new_id(), TaskKind.PUBLISH_IMAGE, (subject,), {}, "admin", lane=configuration_id)
    return appliance.engine.start(task).id


def test_saved_with_defaults_and_the_identifier_of_the_agent(appliance: Appliance) -> None:
    agent = appliance.add_agent()
    view = appliance.configurations.create(ADMIN, "hyperv", GOOD)
    assert view.settings == {
        "name": "Production",
        "agent": agent.id,
        "template_vm": None,
        "cpus": 4,
        "memory_mb": 8192,
        "network": "LAN",
        "offload": False,
        "generation": 1,
        "disk_format": "vhd",
        "storage_path": r"C:\Virtual Machines",
        "storage_unc_path": None,
        "cache_gb": None,
    }
    assert (view.connector, view.agent_name, view.agent_online) == ("hyperv", "hv01", True)
    assert (view.created_s, view.changed_s) == (appliance.clock.now_s, appliance.clock.now_s)
    assert "HTTPS is off" in view.warnings[0]
    assert appliance.configurations.get("production") == appliance.configurations.get(view.id) == view
    json.dumps(asdict(view))
    (entry,) = appliance.entries()
    assert (entry.actor, entry.action, entry.subject_id, entry.subject_name) == (
        "admin",
        "configuration.create",
        view.id,
        "Production",
    )


def test_several_configurations_of_one_agent_are_listed_by_name(saved: Appliance) -> None:
    for name in ("Machine creation", "archive"):
        path = rf"C:\{name}"
        saved.configurations.create(ADMIN, "hyperv", {**GOOD, "name": name, "storage_path": path})
    assert [c.name for c in saved.configurations.list()] == ["archive", "Machine creation", "Production"]


def test_change_keeps_what_is_left_out(saved: Appliance) -> None:
    before = saved.configurations.get("Production")
    saved.clock.now_s += 60
    after = saved.configurations.update(ADMIN, "Production", {"name": "Live", "cpus": 8, "network": "lan"})
    assert after.settings == {**before.settings, "name": "Live", "cpus": 8, "network": "lan"}
    assert (after.id, after.created_s, after.changed_s) == (
        before.id,
        before.created_s,
        saved.clock.now_s,
    )
    assert saved.entries()[-1].details == {"changed": ["cpus", "name", "network"]}
    # Its own name is no other's.
    assert saved.configurations.update(ADMIN, "Live", {"name": "LIVE"}).name == "LIVE"


def test_two_do_not_get_one_name(saved: Appliance) -> None:
    saved.configurations.create(ADMIN, "hyperv", {**GOOD, "name": "Other"})
    for give in (
        lambda: saved.configurations.update(ADMIN, "Other", {"name": "production"}),
        lambda: saved.configurations.clone(ADMIN, "Production", "ＯＴＨＥＲ"),
    ):
        with pytest.raises(ConfigurationInvalidError) as caught:
            give()
        assert [(v.field, v.code) for v in caught.value.violations] == [("name", "name-taken")]
    assert [c.name for c in saved.configurations.list()] == ["Other", "Production"]


def test_clone(saved: Appliance) -> None:
    original = saved.configurations.get("Production")
    copy = saved.configurations.clone(ADMIN, "Production", "Copy")
    assert copy.id != original.id
    assert copy.settings == {**original.settings, "name": "Copy"}


def test_clone_of_what_breaks_rules_now_is_refused(saved: Appliance) -> None:
    (agent,) = saved.agents.list()
    with saved.db.read() as work:
        saved.script(work.agents.get(agent.id)).inventory = replace(HOST, switches=())
    with pytest.raises(ConfigurationInvalidError) as caught:
        saved.configurations.clone(ADMIN, "Production", "Copy")
    assert caught.value.violations[0].code == "network-unknown"
    assert [c.name for c in saved.configurations.list()] == ["Production"]


def test_delete(saved: Appliance) -> None:
    saved.configurations.remove(ADMIN, "Production")
    assert saved.configurations.list() == ()
    assert saved.actions() == ["configuration.create", "configuration.delete"]


def test_delete_is_refused_while_in_use_and_names_the_users(saved: Appliance) -> None:
    view = saved.configurations.get("Production")
    task = use(saved, view.id)
    with pytest.raises(InUseError) as caught:
        saved.configurations.remove(ADMIN, "Production")
    assert caught.value.params["name"] == "Production"
    assert "publish-image" in str(caught.value.params["users"])
    assert [u.id for u in saved.configurations.get("Production").used_by] == [task]
    assert saved.actions() == ["configuration.create"]


def test_what_does_not_exist(saved: Appliance) -> None:
    service = saved.configurations
    asked: list[Callable[[], object]] = [
        lambda: service.get("x"),
        lambda: service.update(ADMIN, "x", {}),
        lambda: service.clone(ADMIN, "x", "y"),
        lambda: service.remove(ADMIN, "x"),
        lambda: service.test_saved(ADMIN, "x"),
        lambda: service.test(ADMIN, "hyperv", GOOD, reference="x"),
        lambda: service.test(ADMIN, "vmware", GOOD),
        lambda: service.create(ADMIN, "vmware", GOOD),
        lambda: service.form("vmware", {}),
        lambda: service.form("hyperv", {}, reference="x"),
        lambda: service.export(["Production", "x"]),
    ]
    for ask in asked:
        with pytest.raises(NotFoundError) as caught:
            ask()
        assert caught.value.params["name"] in ("x", "vmware")
    assert saved.actions() == ["configuration.create"]


@pytest.mark.parametrize("actor", [MANAGER, PUBLISHER, READER], ids=lambda a: a.role.value)
def test_only_administrators_change_and_test(actor: Actor, saved: Appliance) -> None:
    service = saved.configurations
    asked: list[Callable[[], object]] = [
        lambda: service.create(actor, "hyperv", {**GOOD, "name": "New"}),
        lambda: service.update(actor, "Production", {"cpus": 2}),
        lambda: service.clone(actor, "Production", "Copy"),
        lambda: service.remove(actor, "Production"),
        lambda: service.test(actor, "hyperv", GOOD),
        lambda: service.test_saved(actor, "Production"),
        lambda: service.apply(actor, [], source="file"),
    ]
    before = service.list()
    for ask in asked:
        with pytest.raises(NotAllowedError):
            ask()
    assert service.list() == before
    assert saved.actions() == ["configuration.create"]


# --- the form -----------------------------------------------------------------------------------------------


def field(view: Any, name: str) -> Any:
    return next(f for section in view.sections for f in section.fields if f.name == name)


def test_form_offers_what_the_host_has(saved: Appliance) -> None:
    view = saved.configurations.form("hyperv", {"agent": "hv01"})
    agents = [c.label for c in field(view, "agent").choices]
    assert agents == ["hv01"]
    assert [c.value for c in field(view, "network").choices] == ["LAN", "DMZ"]
    offered = {c.value: (c.offered, c.reason) for c in field(view, "template_vm").choices}
    assert offered["t-bios"] == (True, "")
    assert offered["t-disk"] == (False, "The template VM Gold has a disk attached: a.vhd.")
    assert {c.value: c.offered for c in field(view, "generation").choices} == {1: True, 2: False}
    assert view.firmware == "bios"
    json.dumps(asdict(view))


def test_what_is_well_formed_is_judged_beside_what_is_not(saved: Appliance) -> None:
    wrong = {**GOOD, "name": None, "cpus": "many", "storage_path": "layers", "network": "gone"}
    view = saved.configurations.form("hyperv", wrong)
    marked = [field.name for section in view.sections for field in section.fields if field.problems]
    assert marked == ["name", "cpus", "network", "storage_path"]
    with pytest.raises(ConfigurationInvalidError) as refused:
        saved.configurations.create(ADMIN, "hyperv", wrong)
    assert [v.field for v in refused.value.violations] == marked
    with pytest.raises(ConfigurationInvalidError) as refused:
        saved.configurations.create(ADMIN, "hyperv", {**wrong, "colour": "red"})
    assert "colour" in [v.field for v in refused.value.violations]


def test_form_names_what_is_wrong_and_what_would_be_right(saved: Appliance) -> None:
    wrong = {**GOOD, "name": "production", "offload": False, "generation": 2, "disk_format": "vhdx"}
    view = saved.configurations.form("hyperv", wrong, language="ja")
    assert [p.code for p in field(view, "generation").problems] == ["generation2-needs-offload"]
    assert [p.code for p in field(view, "name").problems] == ["name-taken"]
    assert view.values["generation"] == 2
    assert view.firmware == ""
    # What was chosen last gives way to what stands before it in the form.
    assert (view.settled["offload"], view.settled["generation"], view.settled["disk_format"]) == (
        False,
        1,
        "vhd",
    )
    own = saved.configurations.form("hyperv", wrong, reference="PRODUCTION")
    assert field(own, "name").problems == ()


@pytest.mark.parametrize("junk", [None, 7, True, [], {}, "x" * 5000, {"a": [1]}, float("nan")])
def test_form_takes_any_values(junk: object, saved: Appliance) -> None:
    names = [f.name for section in saved.configurations.form("hyperv", {}).sections for f in section.fields]
    view = saved.configurations.form("hyperv", dict.fromkeys(names, junk) | {"unknown": junk})
    assert set(names) < set(view.values)
    with pytest.raises(ConfigurationInvalidError):
        saved.configurations.create(ADMIN, "hyperv", dict.fromkeys(names, junk))


def test_types(appliance: Appliance) -> None:
    (kind,) = appliance.configurations.types()
    assert (kind.code, kind.label) == ("hyperv", "Microsoft Hyper-V")
    assert set(kind.schema["required"]) >= {"name", "agent", "storage_path"}
    assert "offload" in kind.abilities


# --- documents ----------------------------------------------------------------------------------------------


def document(**settings: Any) -> dict[str, Any]:
    return {"kind": "connector-configuration", "version": 1, "connector": "hyperv", "settings": settings}


def test_exported_and_applied_elsewhere(saved: Appliance) -> None:
    saved.configurations.update(ADMIN, "Production", {"cpus": 6, "cache_gb": 20, "template_vm": "t-bios"})
    documents = saved.configurations.export()
    assert documents[0]["settings"]["agent"] == "hv01"
    text = json.loads(json.dumps(documents))
    saved.configurations.remove(ADMIN, "Production")
    applied = saved.configurations.apply(ADMIN, text, source="prod.yaml")
    assert [(a.name, a.action) for a in applied] == [("Production", "created")]
    assert saved.configurations.export() == documents
    again = saved.configurations.apply(ADMIN, text, source="prod.yaml")
    assert [a.action for a in again] == ["unchanged"]
    assert saved.actions()[-2:] == ["configuration.delete", "configuration.apply"]


def test_applied_by_name_whatever_its_spelling(saved: Appliance) -> None:
    before = saved.configurations.get("Production")
    document_ = document(**{**GOOD, "name": "ＰＲＯＤＵＣＴＩＯＮ"})
    (applied,) = saved.configurations.apply(ADMIN, [document_], source="f")
    assert applied.action == "changed"
    (after,) = saved.configurations.list()
    assert (after.id, after.name) == (before.id, "ＰＲＯＤＵＣＴＩＯＮ")


def test_dry_run_saves_nothing(saved: Appliance) -> None:
    documents = [document(**{**GOOD, "cpus": 8}), document(**{**GOOD, "name": "New"})]
    before = saved.configurations.list()
    applied = saved.configurations.apply(ADMIN, documents, source="f", dry_run=True)
    assert [(a.name, a.action) for a in applied] == [("Production", "changed"), ("New", "created")]
    assert saved.configurations.list() == before
    assert saved.actions() == ["configuration.create"]


def test_applied_all_or_none_and_every_fault_is_named_with_its_place(saved: Appliance) -> None:
    documents = [
        document(**{**GOOD, "name": "Fine"}),
        document(**{**GOOD, "cpus": 0, "network": "WAN"}),
        document(**{**GOOD, "name": "Also fine"}),
        document(**{**GOOD, "name": "Four", "agent": "hv99"}),
    ]
    before = saved.configurations.list()
    with pytest.raises(DocumentsInvalidError) as caught:
        saved.configurations.apply(ADMIN, documents, source="estate.yaml")
    error = caught.value
    assert isinstance(error, ConfigurationInvalidError)
    assert {v.field for v in error.violations} == {
        "[1].settings.cpus",
        "[1].settings.network",
        "[3].settings.agent",
    }
    assert "estate.yaml" in str(error)
    assert "[1].settings.cpus" in str(error)
    assert saved.configurations.list() == before
    assert saved.actions() == ["configuration.create"]


@pytest.mark.parametrize(
    ("documents", "key"),
    [
        ([7], "[0]"),
        ([{}], "[0].kind"),
        ([{**document(**GOOD), "colour": 1}], "[0].colour"),
        ([document(**GOOD), document(**{**GOOD, "name": "PRODUCTION"})], "[1].settings.name"),
        ([document(**{**GOOD, "cpus": "4"})], "[0].settings.cpus"),
    ],
)
def test_documents_of_another_form(documents: list[object], key: str, saved: Appliance) -> None:
    with pytest.raises(DocumentError) as caught:
        saved.configurations.apply(ADMIN, documents, source="f")
    assert caught.value.params["key"] == key
    assert saved.actions() == ["configuration.create"]


def test_an_agent_is_asked_once_for_many_documents(saved: Appliance) -> None:
    saved.agents_port.calls.clear()
    documents = [document(**{**GOOD, "name": f"C{i}"}) for i in range(20)]
    saved.configurations.apply(ADMIN, documents, source="f")
    assert len(saved.agents_port.asked("host.inventory")) == 1
    assert len(saved.configurations.list()) == 21


def test_what_another_version_saved_is_shown_but_not_exported(saved: Appliance) -> None:
    with saved.db.begin() as work:
        record = work.configurations.by_reference("Production")
        work.configurations.replace(replace(record, settings={**record.settings, "later": 1}))
    view = saved.configurations.get("Production")
    assert [v.code for v in view.violations] == ["unknown-setting"]
    assert len(saved.configurations.list()) == 1
    with pytest.raises(ConfigurationInvalidError):
        saved.configurations.export()
