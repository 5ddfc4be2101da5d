"""Grants: one agent, one file, one direction, some time."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from sekiso.errors import DamagedInputError, RuleError
from sekiso.transfer.grants import (
    Direction,
    FolderGrantStore,
    Grants,
    GrantStore,
    MemoryGrantStore,
    Ticket,
    split_key,
)
from sekiso.transfer.manifest import Manifest

EMPTY = Manifest(0, ())
OTHER = Manifest(1, (bytes(32),))


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> GrantStore:
    return MemoryGrantStore() if request.param == "memory" else FolderGrantStore(tmp_path / "grants")


@pytest.fixture
def grants(store: GrantStore, clock: Clock) -> Grants:
    return Grants(store, clock=clock)


def issue(grants: Grants, direction: Direction = Direction.DOWNLOAD) -> Ticket:
    return grants.issue(
        principal="agent-1", direction=direction, path=Path("/data/x.vhdx"), valid_s=60.0, manifest=EMPTY
    )


def test_a_grant_is_good_for_its_direction_and_time(grants: Grants, clock: Clock) -> None:
    ticket = issue(grants)
    found = grants.check(ticket.grant.id, ticket.secret, Direction.DOWNLOAD)
    assert found == ticket.grant
    assert found is not None and (found.principal, found.path, found.name) == (
        "agent-1",
        Path("/data/x.vhdx"),
        "x.vhdx",
    )
    assert grants.check(ticket.grant.id, ticket.secret, Direction.UPLOAD) is None
    clock.now_s += 60.0
    assert grants.check(ticket.grant.id, ticket.secret, Direction.DOWNLOAD) is None


def test_another_secret_opens_nothing(grants: Grants) -> None:
    one, two = issue(grants), issue(grants)
    assert one.grant.id != two.grant.id and one.secret != two.secret
    wrong = ["", two.secret, one.secret[:-1], one.secret + "A", one.secret.swapcase(), "\ud800", "é" * 43]
    for secret in wrong:
        assert grants.check(one.grant.id, secret, Direction.DOWNLOAD) is None
    for grant_id in ("", two.grant.id, one.grant.id.upper() + "x", "../" + one.grant.id, "\x00"):
        assert grants.check(grant_id, one.secret, Direction.DOWNLOAD) is None


def test_secrets_are_long_and_never_shown(grants: Grants, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ticket = issue(grants)
    assert len(ticket.secret) == 43
    grants.check(ticket.grant.id, ticket.secret, Direction.DOWNLOAD)
    shown = f"{ticket} {ticket!r} {ticket.grant!r} {caplog.text}"
    assert ticket.secret not in shown and ticket.grant.secret_hash.hex() not in shown


def test_the_secret_is_not_stored(tmp_path: Path) -> None:
    grants = Grants(FolderGrantStore(tmp_path))
    ticket = issue(grants)
    (file,) = tmp_path.iterdir()
    assert ticket.secret not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_both_forms_of_the_url(grants: Grants) -> None:
    ticket = grants.issue(
        principal="a",
        direction=Direction.DOWNLOAD,
        path=Path("/x"),
        valid_s=1.0,
        name="a b/c".replace("/", "#"),
        manifest=EMPTY,
    )
    assert ticket.url_path() == f"/transfer/{ticket.grant.id}/a%20b%23c"
    key = ticket.url_path(with_secret=True).split("/")[2]
    assert split_key(key) == (ticket.grant.id, ticket.secret)
    assert split_key(ticket.grant.id) == (ticket.grant.id, "")


@pytest.mark.parametrize("name", ["", "a/b", "a\\b", "..", ".", "a\nb", "a\x00", "x" * 256])
def test_names_that_cannot_be_in_a_url(grants: Grants, name: str) -> None:
    with pytest.raises(RuleError):
        grants.issue(
            principal="a", direction=Direction.UPLOAD, path=Path("/x"), valid_s=1.0, name=name, manifest=EMPTY
        )


def test_a_download_needs_a_manifest(grants: Grants) -> None:
    with pytest.raises(RuleError):
        grants.issue(principal="a", direction=Direction.DOWNLOAD, path=Path("/x"), valid_s=1.0)


def test_content_is_agreed_once(grants: Grants) -> None:
    ticket = grants.issue(principal="a", direction=Direction.UPLOAD, path=Path("/x"), valid_s=1.0)
    for _ in range(2):
        grants.agree(ticket.grant.id, EMPTY)
    found = grants.check(ticket.grant.id, ticket.secret, Direction.UPLOAD)
    assert found is not None and found.manifest == EMPTY
    with pytest.raises(RuleError):
        grants.agree(ticket.grant.id, OTHER)
    with pytest.raises(RuleError):
        grants.agree("0" * 32, OTHER)


def test_revoked_and_expired_grants_are_gone(grants: Grants, store: GrantStore, clock: Clock) -> None:
    one, two = issue(grants), issue(grants)
    grants.revoke(one.grant.id)
    assert not grants.exists(one.grant.id) and grants.exists(two.grant.id)
    assert grants.check(one.grant.id, one.secret, Direction.DOWNLOAD) is None
    assert grants.expire() == 0
    clock.now_s += 61.0
    assert not grants.exists(two.grant.id)
    assert grants.expire() == 1
    assert store.ids() == []


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    ours, theirs = Grants(FolderGrantStore(tmp_path)), Grants(FolderGrantStore(tmp_path))
    ticket = ours.issue(principal="a", direction=Direction.UPLOAD, path=Path("/x"), valid_s=60.0)
    assert theirs.check(ticket.grant.id, ticket.secret, Direction.UPLOAD) == ticket.grant
    ours.agree(ticket.grant.id, OTHER)
    found = theirs.check(ticket.grant.id, ticket.secret, Direction.UPLOAD)
    assert found is not None and found.manifest == OTHER
    ours.revoke(ticket.grant.id)
    assert theirs.check(ticket.grant.id, ticket.secret, Direction.UPLOAD) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"id": 1}'])
def test_a_damaged_grant_is_an_error(tmp_path: Path, text: str) -> None:
    store = FolderGrantStore(tmp_path)
    (tmp_path / f"{'0' * 32}.json").write_text(text)
    with pytest.raises(DamagedInputError):
        store.get("0" * 32)
    assert json.dumps(store.ids()) == json.dumps(["0" * 32])


def test_a_grant_with_a_key_is_the_same_again(store: GrantStore, clock: Clock) -> None:
    grants = Grants(store, clock=clock, master=b"m" * 32)

    def again(key: str) -> Ticket:
        return grants.issue(principal="a", direction=Direction.UPLOAD, path=Path("/x"), valid_s=60.0, key=key)

    first = again("task.1.send")
    clock.now_s += 30.0
    second = again("task.1.send")
    assert (first.secret, first.url_path()) == (second.secret, second.url_path())
    assert second.grant.expires_s == clock.now_s + 60.0 and second.grant.modified_s == first.grant.modified_s
    assert again("task.2.send").grant.id != first.grant.id
    other = Grants(store, clock=clock, master=b"n" * 32)
    foreign = other.issue(
        principal="a", direction=Direction.UPLOAD, path=Path("/x"), valid_s=60.0, key="task.1.send"
    )
    assert foreign.grant.id != first.grant.id and foreign.secret != first.secret
    assert grants.check(first.grant.id, first.secret, Direction.UPLOAD) is not None


def test_a_key_needs_a_master_secret(grants: Grants) -> None:
    with pytest.raises(ValueError, match="master"):
        grants.issue(principal="a", direction=Direction.UPLOAD, path=Path("/x"), valid_s=60.0, key="k")
