"""Layer files at the agent: whole or missing, never in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sekiso.agent.contract import MissingLayersParams, RemoveLayersParams
from sekiso.agent.handlers import layers
from sekiso.agent.handlers.layers import LayerRecord, keep_layer
from sekiso.agent.handlers.records import read_record
from sekiso.agent.places import open_places
from sekiso.errors import DamagedInputError, SekisoError, VerificationError

from .bench import TASK, Bench, write_layer

NOBODY = "0" * 64


def missing(bench: Bench, *identities: str) -> tuple[str, ...]:
    return bench.run("layers.missing", MissingLayersParams(bench.path, identities)).missing


def test_what_is_not_there_is_missing(bench: Bench) -> None:
    one, two = bench.add_layer("one"), bench.add_layer("two")
    assert missing(bench, NOBODY, one, two) == (NOBODY,)


def test_a_layer_that_looks_as_it_did_is_not_read_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench.add_layer()
    monkeypatch.setattr(layers, "hash_file", None)
    assert missing(bench, one) == ()


def test_one_that_looks_changed_is_read_again_and_remembered(bench: Bench) -> None:
    one = bench.add_layer()
    places = open_places(bench.path)
    os.utime(places.layer(one), (1, 1))
    assert missing(bench, one) == ()
    record = read_record(places.layer_record(one), LayerRecord)
    assert record is not None and record.modified_ns == 1_000_000_000


@pytest.mark.parametrize("harm", ["flip", "cut", "no record", "broken record", "empty"])
def test_one_that_is_damaged_is_missing(bench: Bench, harm: str) -> None:
    one = bench.add_layer()
    places = open_places(bench.path)
    path = places.layer(one)
    if harm == "flip":
        data = bytearray(path.read_bytes())
        data[300] ^= 1
        path.write_bytes(data)
    elif harm == "no record":
        places.layer_record(one).unlink()
    elif harm == "broken record":
        places.layer_record(one).write_text("{")
    else:
        os.truncate(path, 0 if harm == "empty" else 100)
    assert missing(bench, one) == (one,)


def test_a_file_that_is_another_layer_does_not_get_the_name(bench: Bench, tmp_path: Path) -> None:
    places = open_places(bench.path)
    file = places.scratch(TASK) / "x.wim"
    write_layer(file)
    with pytest.raises(VerificationError):
        keep_layer(places, file, NOBODY)
    assert not file.exists() and not places.layer(NOBODY).exists()
    file.write_bytes(b"rubbish" * 100)
    with pytest.raises(SekisoError) as caught:
        keep_layer(places, file, NOBODY)
    assert isinstance(caught.value, DamagedInputError)


def test_layers_are_forgotten(bench: Bench) -> None:
    one, two = bench.add_layer("one"), bench.add_layer("two")
    bench.run("layers.remove", RemoveLayersParams(bench.path, (one, NOBODY)))
    bench.run("layers.remove", RemoveLayersParams(bench.path, (one,)))
    assert missing(bench, one, two) == (one,)
    assert [p for p in bench.tree() if one in p] == []
