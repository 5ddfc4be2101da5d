"""Every store of upload sessions keeps what it was told is durable."""

from __future__ import annotations

import pytest

from sekiso.transfer.packets import new_session_id
from sekiso.transfer.partial import PartExistsError
from tests.contract.transfer.rigs import StoreRig, head


def test_a_new_session_is_durable_and_empty(rig: StoreRig) -> None:
    key = new_session_id()
    made = rig.store.create(head(rig.folder, key))
    assert list(made.entries) == [head(rig.folder, key).to_entry()]
    made.close()
    store = rig.restart()
    assert store.ids() == [key]
    part = store.open(key)
    assert part is not None and part.size_bytes() == 0
    assert store.peek(key) == head(rig.folder, key), "also while it is held"
    assert store.peek(new_session_id()) is None
    assert list(part.entries) == [head(rig.folder, key).to_entry()]
    assert part.read_at(0, 10) == b""
    part.close()
    assert store.touched_s(key) > 0
    assert store.open(new_session_id()) is None


def test_data_and_journal_come_back(rig: StoreRig) -> None:
    key = new_session_id()
    part = rig.store.create(head(rig.folder, key))
    part.write_at(0, [b"hello ", memoryview(b"world")])
    part.write_at(6, [b"W"])
    part.sync()
    part.record({"next": 11})
    assert part.size_bytes() == 11
    part.close()
    again = rig.restart().open(key)
    assert again is not None
    assert again.read_at(0, 100) == b"hello World"
    assert again.read_at(6, 2) == b"Wo"
    assert list(again.entries)[1:] == [{"next": 11}]
    again.cut(5)
    assert again.read_at(0, 100) == b"hello"
    again.close()


def test_publishing_is_one_step_and_may_be_repeated(rig: StoreRig) -> None:
    key = new_session_id()
    mine = head(rig.folder, key)
    part = rig.store.create(mine)
    part.write_at(0, [b"content"])
    part.sync()
    part.record({"state": "publishing"})
    assert rig.published(mine.final) is None
    part.publish()
    assert rig.published(mine.final) == b"content"
    part.publish()
    part.close()
    again = rig.restart().open(key)
    assert again is not None
    again.publish()
    again.discard()
    assert rig.published(mine.final) == b"content"
    assert (rig.leftovers(), rig.store.ids()) == (0, [])


def test_publishing_never_replaces(rig: StoreRig) -> None:
    keys = [new_session_id(), new_session_id()]
    parts = [rig.store.create(head(rig.folder, key)) for key in keys]
    for number, part in enumerate(parts):
        part.write_at(0, [b"content %d" % number])
        part.record({"state": "publishing"})
    parts[0].publish()
    with pytest.raises(PartExistsError):
        parts[1].publish()
    assert rig.published(head(rig.folder, keys[0]).final) == b"content 0"
    for part in parts:
        part.discard()


def test_discarding_leaves_nothing(rig: StoreRig) -> None:
    key = new_session_id()
    part = rig.store.create(head(rig.folder, key))
    part.write_at(0, [b"x"])
    part.discard()
    assert (rig.leftovers(), rig.store.ids(), rig.store.open(key)) == (0, [], None)


def test_a_long_journal_is_shortened(rig: StoreRig) -> None:
    key = new_session_id()
    part = rig.store.create(head(rig.folder, key))
    part.compact([])
    assert len(part.entries) == 1
    for number in range(5000):
        part.entries.append({"n": number})  # type: ignore[attr-defined]
    first = part.entries[0]
    part.compact([first, {"n": -1}])
    part.record({"n": -2})
    part.close()
    again = rig.restart().open(key)
    assert again is not None
    assert list(again.entries) == [first, {"n": -1}, {"n": -2}]
    again.close()
