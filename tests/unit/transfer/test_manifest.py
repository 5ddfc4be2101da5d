"""Manifests: what a file must hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from sekiso.errors import DamagedInputError
from sekiso.transfer.manifest import LEAF_BYTES, LeafHasher, Manifest, hash_file, leaf_count

SIZES = [0, 1, LEAF_BYTES - 1, LEAF_BYTES, LEAF_BYTES + 1, 2 * LEAF_BYTES]


@pytest.mark.parametrize("size", SIZES)
def test_leaves_are_plain_blake3(size: int, tmp_path: Path) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    path = tmp_path / "file"
    path.write_bytes(data[:size])
    found = hash_file(path)
    pieces = [data[at : min(size, at + LEAF_BYTES)] for at in range(0, size, LEAF_BYTES)]
    assert found == Manifest(size, tuple(blake3(p).digest() for p in pieces))
    assert len(found.leaves) == leaf_count(size)
    assert Manifest.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_root_is_pinned() -> None:
    assert Manifest(0, ()).root == EMPTY_ROOT
    assert Manifest(5, (blake3(b"hello").digest(),)).root == HELLO_ROOT
    assert Manifest(5, (bytes(32),)).etag == f'"b3-{Manifest(5, (bytes(32),)).root}"'


@given(st.lists(st.integers(1, 3 << 20), min_size=1, max_size=8))
def test_pieces_do_not_matter(sizes: list[int]) -> None:
    data = bytes(sum(sizes))
    whole, pieces = LeafHasher(), LeafHasher()
    whole.update(data)
    for size in sizes:
        pieces.update(memoryview(data)[:size])
    assert whole.manifest() == pieces.manifest()


def test_rewinding_drops_the_last_leaf() -> None:
    hasher = LeafHasher()
    hasher.update(bytes(LEAF_BYTES))
    first = hasher.manifest()
    hasher.update(b"rest")
    assert hasher.rewind() == LEAF_BYTES
    assert hasher.manifest() == first
    assert hasher.rewind() == 0
    assert hasher.rewind() == 0


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"version": 2},
        {"leaf_bytes": 1},
        {"size_bytes": -1},
        {"size_bytes": True},
        {"size_bytes": 1 << 70},
        {"size_bytes": 6},
        {"leaves": "zz" * 32},
        {"leaves": ""},
        {"leaves": None},
        {"leaves": " " * 64},
        {"root": "0" * 64},
    ],
)
def test_a_damaged_manifest_is_refused(change: dict[str, Any]) -> None:
    good = Manifest(5, (blake3(b"hello").digest(),)).to_dict()
    with pytest.raises(DamagedInputError):
        Manifest.from_dict({**good, **change})


@pytest.mark.parametrize("data", [None, [], "text", 3, {}])
def test_no_manifest_at_all(data: object) -> None:
    with pytest.raises(DamagedInputError):
        Manifest.from_dict(data)


EMPTY_ROOT = "2eaf4ee76130a9a19fc52172e42607fbd40aef0011a8d39867dd5d740fb0db33"
HELLO_ROOT = "78c71fd223c6a324293504557f86ac46be4d18a6f0438eabb749ae11a51ee742"
