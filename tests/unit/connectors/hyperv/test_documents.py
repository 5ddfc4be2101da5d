"""Configurations as documents: out and in again, strictly (CC-11)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso.connectors.errors import DocumentError
from sekiso.connectors.hyperv.documents import export_document, import_document, import_documents
from sekiso.connectors.hyperv.settings import HyperVSettings
from sekiso.model.machine import DiskFormat, Generation

from .examples import GOOD


@given(
    st.builds(
        HyperVSettings,
        generation=st.sampled_from(Generation),
        disk_format=st.sampled_from([DiskFormat.VHD, DiskFormat.VHDX]),
    )
)
def test_round_trip_through_json(settings: HyperVSettings) -> None:
    document = json.loads(json.dumps(export_document(settings)))
    assert import_document(document, source="x.yaml") == settings


def test_the_document() -> None:
    document = export_document(GOOD)
    assert list(document) == ["kind", "version", "connector", "settings"]
    assert document["settings"]["generation"] == 1
    assert type(document["settings"]["generation"]) is int
    assert type(document["settings"]["disk_format"]) is str
    short = {**document, "settings": {"name": "n", "agent": "a", "storage_path": "/s"}}
    assert import_document(short, source="x") == HyperVSettings("n", "a", "/s")


def wrong(key: str, value: object, *, inside: bool = True) -> dict[Any, Any]:
    document: dict[Any, Any] = export_document(GOOD)
    (document["settings"] if inside else document)[key] = value
    return document


@pytest.mark.parametrize(
    ("document", "key"),
    [
        (None, "/"),
        ([], "/"),
        ("text", "/"),
        ({}, "kind"),
        (wrong("kind", "image-template", inside=False), "kind"),
        (wrong("version", 2, inside=False), "version"),
        (wrong("version", True, inside=False), "version"),
        (wrong("version", 1.0, inside=False), "version"),
        (wrong("connector", "vsphere", inside=False), "connector"),
        (wrong("extra", 1, inside=False), "extra"),
        (wrong("settings", [], inside=False), "settings"),
        (wrong("CPUs", 4), "settings.CPUs"),
        (wrong("cpus", "4"), "settings.cpus"),
        (wrong("cpus", True), "settings.cpus"),
        (wrong("cpus", None), "settings.cpus"),
        (wrong("offload", 1), "settings.offload"),
        (wrong("offload", "yes"), "settings.offload"),
        (wrong("generation", True), "settings.generation"),
        (wrong("generation", 3), "settings.generation"),
        (wrong("generation", "2"), "settings.generation"),
        (wrong("disk_format", "VHDX"), "settings.disk_format"),
        (wrong("disk_format", "raw"), "settings.disk_format"),
        (wrong("name", None), "settings.name"),
        (wrong("name", 5), "settings.name"),
        (wrong("network", []), "settings.network"),
        (wrong("cache_gb", 1.5), "settings.cache_gb"),
        (wrong("cache_gb", 10**5000), None),
    ],
    ids=lambda v: str(v)[:40] if not isinstance(v, dict) else "document",
)
def test_refused_at(document: object, key: str | None) -> None:
    if key is None:  # a number of any size is a number; its range is a rule
        assert isinstance(import_document(document, source="x"), HyperVSettings)
        return
    with pytest.raises(DocumentError) as caught:
        import_document(document, source="x.yaml")
    assert caught.value.params["key"] == key
    assert "x.yaml" in caught.value.render()


def test_several() -> None:
    other = replace(GOOD, name="Other")
    documents = [export_document(GOOD), export_document(other)]
    assert import_documents(documents, source="x") == (GOOD, other)
    with pytest.raises(DocumentError) as caught:
        import_documents([*documents, export_document(replace(GOOD, name="ＯＴＨＥＲ "))], source="x")
    assert caught.value.params["key"] == "[2].settings.name"
    with pytest.raises(DocumentError) as caught:
        import_documents([*documents, 5], source="x")
    assert caught.value.params["key"] == "[2]"
    with pytest.raises(DocumentError):
        import_documents(documents * 501, source="x")
