"""The identity of a layer: what it depends on, and that it never changes by itself."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import msgspec
import pytest

from sekiso.model.canonical import canonical_json
from sekiso.model.layer import BootFacts, GuestFamily, LayerKind, LayerManifest, Provenance
from sekiso.model.machine import Generation

BOOT = BootFacts(
    generation=Generation.TWO,
    boot_loader="shim+grub",
    root_uuid="5bd3a2f6-8f3f-4f0b-9d53-0d1d1f5f0a11",
    root_label="root",
    root_filesystem="ext4",
    root_size_bytes=4 << 30,
    used_bytes=1 << 30,
)
LAYER = LayerManifest(
    name="Debian",
    layer_version="12.1",
    kind=LayerKind.OS,
    family=GuestFamily.LINUX,
    tree="ab" * 32,
    boot=BOOT,
    notes=("A socket was left out.",),
    provenance=Provenance("sekiso 0.1.0", "2026-11-24T06:00:00Z", "import of debian.vhdx"),
)

#: Another value for every field that counts.
CHANGES: dict[str, Any] = {
    "name": "Ubuntu",
    "layer_version": "12.2",
    "kind": LayerKind.APP,
    "family": GuestFamily.WINDOWS,
    "tree": "cd" * 32,
    "base": ("ef" * 32,),
    "deleted": ("/a",),
    "changed_directories": ("/a",),
    "replaced": ("/a",),
    "structured": ("/a",),
    "boot": None,
    "notes": (),
    "format": "another",
    "version": 2,
}


def test_golden_identity() -> None:
    """A layer made by an earlier version of Sekiso must keep its identity: never change this value.

    When the manifest gains a field, its identity for format version 1 must not depend on it.
    """
    assert LAYER.identity == GOLDEN


GOLDEN = "862b7c9a1971c6658707235ec2777b96cd7287b32c2f55e071d93c4daeaf92da"


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_counts(field: str) -> None:
    assert replace(LAYER, **{field: CHANGES[field]}).identity != LAYER.identity


def test_no_field_is_forgotten_here() -> None:
    assert {f.name for f in fields(LayerManifest)} == {*CHANGES, "provenance"}


def test_provenance_does_not_count() -> None:
    assert replace(LAYER, provenance=Provenance("other", "later", "elsewhere")).identity == LAYER.identity


def test_each_boot_fact_counts() -> None:
    others: dict[str, Any] = {
        "generation": Generation.ONE,
        "boot_loader": "grub",
        "root_uuid": "x",
        "root_label": "",
        "root_filesystem": "ntfs",
        "root_size_bytes": 1,
        "used_bytes": 1,
    }
    assert set(others) == {f.name for f in fields(BootFacts)}
    identities = {replace(LAYER, boot=replace(BOOT, **{k: v})).identity for k, v in others.items()}
    assert len(identities | {LAYER.identity}) == len(others) + 1


def test_order_of_the_base_counts() -> None:
    one, other = replace(LAYER, base=("aa", "bb")), replace(LAYER, base=("bb", "aa"))
    assert one.identity != other.identity


def test_survives_json() -> None:
    text = canonical_json(msgspec.to_builtins(LAYER))
    back = msgspec.json.decode(text, type=LayerManifest)
    assert back == LAYER
    assert back.identity == LAYER.identity
