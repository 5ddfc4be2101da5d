"""What only a disk can do to a part file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sekiso.transfer.packets import new_session_id
from sekiso.transfer.partial import DiskPartFile, PartBusyError, PartExistsError, journal_line, parse_journal
from sekiso.transfer.sessions import DiskSessionStore
from tests.contract.transfer.rigs import head


def paths(folder: Path) -> tuple[Path, Path, Path]:
    return folder / ".part", folder / "journal", folder / "final"


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first = DiskPartFile(*paths(tmp_path))
    with pytest.raises(PartBusyError):
        DiskPartFile(*paths(tmp_path))
    first.close()
    DiskPartFile(*paths(tmp_path)).close()


def test_a_journal_torn_at_any_byte_keeps_its_whole_lines(tmp_path: Path) -> None:
    entries = [{"next": n, "text": "\u2028 ä"} for n in range(3)]
    lines = [journal_line(entry) for entry in entries]
    raw = b"".join(lines)
    for end in range(len(raw) + 1):
        found, good_bytes = parse_journal(raw[:end])
        whole = sum(end >= sum(map(len, lines[: n + 1])) for n in range(3))
        assert (found, good_bytes) == (entries[:whole], sum(map(len, lines[:whole])))
    _, journal, _ = paths(tmp_path)
    journal.write_bytes(raw[:-3])
    part = DiskPartFile(*paths(tmp_path))
    part.record({"next": 9})
    part.close()
    assert parse_journal(journal.read_bytes())[0] == [*entries[:2], {"next": 9}]


@pytest.mark.parametrize("garbage", [b"\x00" * 100, b"deadbeef {}\n", b"[" * 100_000 + b"\n", b"\n\n"])
def test_a_journal_of_garbage_is_an_empty_one(garbage: bytes) -> None:
    assert parse_journal(garbage) == ([], 0)


def test_a_crash_between_the_two_steps_of_publishing(tmp_path: Path) -> None:
    data, _, final = paths(tmp_path)
    part = DiskPartFile(*paths(tmp_path))
    part.write_at(0, [b"content"])
    part.record({"state": "publishing"})
    os.link(data, final)
    part.publish()
    assert not data.exists() and final.read_bytes() == b"content"
    part.close()


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    data, _, final = paths(tmp_path)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    final.symlink_to(victim)
    part = DiskPartFile(*paths(tmp_path))
    part.write_at(0, [b"content"])
    with pytest.raises(PartExistsError):
        part.publish()
    part.discard()
    data.symlink_to(victim)
    part = DiskPartFile(*paths(tmp_path))
    with pytest.raises(OSError, match="symbolic"):
        part.write_at(0, [b"content"])
    part.close()
    assert victim.read_bytes() == b"precious"


def test_a_session_whose_head_was_torn_never_was(tmp_path: Path) -> None:
    store = DiskSessionStore(tmp_path / "sessions")
    (tmp_path / "out").mkdir()
    key = new_session_id()
    store.create(head(tmp_path, key)).close()
    (journal,) = (tmp_path / "sessions").iterdir()
    journal.write_bytes(journal.read_bytes()[:-5])
    assert store.open(key) is None
    assert store.ids() == []
