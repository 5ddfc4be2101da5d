"""Agents, registration tokens, the command journal, users, credentials, settings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from sekiso.errors import AlreadyExistsError, NotFoundError
from sekiso.store.database.api import CommandRow
from sekiso.store.database.database import Database

from . import samples


def test_an_agent_was_seen(db: Database) -> None:
    with db.begin() as work:
        work.agents.add(samples.AGENT)
        work.agents.seen("agent-1", 77.5)
        work.agents.seen("removed", 77.5)
        assert work.agents.get("agent-1") == replace(samples.AGENT, last_seen_s=77.5)


def test_a_token_is_used_once(db: Database, other: Database) -> None:
    secret = samples.TOKEN.secret_sha256
    with db.begin() as work:
        work.tokens.add(samples.TOKEN)
        with pytest.raises(AlreadyExistsError):
            work.tokens.add(replace(samples.TOKEN, id="same secret"))
        assert work.tokens.use("0" * 64, 15.0) is None
        assert work.tokens.use(secret, 20.0) is None
        assert work.tokens.get("token-1").used_s is None

    def use(number: int) -> bool:
        with (db if number % 2 else other).begin() as work:
            return work.tokens.use(secret, 10.0 + number) is not None

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(use, range(6))) == 1
    with db.begin() as work:
        assert work.tokens.use(secret, 15.0) is None
        used = work.tokens.get("token-1").used_s
        assert used is not None
        assert 10 <= used < 16


def test_a_token_shows_when_it_was_used(db: Database) -> None:
    with db.begin() as work:
        work.tokens.add(samples.TOKEN)
        assert work.tokens.use(samples.TOKEN.secret_sha256, 19.5) == replace(samples.TOKEN, used_s=19.5)


def test_the_first_end_of_a_command_counts(db: Database) -> None:
    with db.begin() as work:
        work.agents.add(samples.AGENT)
        assert work.commands.find("c1") is None
        begun = work.commands.begin("c1", "agent-1", "disk.make")
        assert begun == CommandRow("c1", "agent-1", "disk.make", None, None, begun.created_s, None)
        assert work.commands.begin("c1", "agent-1", "disk.make") == begun == work.commands.find("c1")
        work.commands.end("c1", result=samples.DEEP)
        ended = work.commands.begin("c1", "agent-1", "disk.make")
        assert ended == replace(begun, result=samples.DEEP, ended_s=ended.ended_s)
        assert ended.ended_s is not None
        assert ended.ended_s > begun.created_s
        work.commands.end("c1", error={"code": "late"})
        assert work.commands.begin("c1", "agent-1", "disk.make") == ended
        work.commands.end("nothing", result={})


def test_commands_are_forgotten(db: Database) -> None:
    with db.begin() as work:
        work.agents.add(samples.AGENT)
        for command_id in ("c1", "c2", "c3"):
            work.commands.begin(command_id, "agent-1", "m")
        work.commands.end("c1", error={"code": "x"})
        work.commands.end("c2", result={})
        second = work.commands.begin("c2", "agent-1", "m").ended_s
        assert second is not None
        assert work.commands.forget_ended_before(second) == 1
        assert work.commands.begin("c1", "agent-1", "m").error is None
        with pytest.raises(NotFoundError, match="The agent nobody"):
            work.commands.begin("c9", "nobody", "m")
        work.agents.remove("agent-1")
        with pytest.raises(NotFoundError):
            work.commands.begin("c3", "agent-1", "m")


def test_credentials(db: Database) -> None:
    newer = replace(samples.CREDENTIAL, id="newer", secret_sha256="1" * 64, created_s=2.0, expires_s=None)
    with db.begin() as work:
        work.users.add(samples.USER)
        work.credentials.add(samples.CREDENTIAL)
        work.credentials.add(newer)
        with pytest.raises(AlreadyExistsError):
            work.credentials.add(replace(newer, id="same secret"))
        assert work.credentials.by_secret("f" * 64) == samples.CREDENTIAL
        assert work.credentials.by_secret("0" * 64) is None
        assert work.credentials.by_secret("\0") is None
        assert work.credentials.of_user("user-1") == (newer, samples.CREDENTIAL)
        assert work.credentials.forget_expired(49.9) == 0
        assert work.credentials.forget_expired(50.0) == 1
        assert work.credentials.of_user("user-1") == (newer,)
        work.users.remove("user-1")
        assert work.credentials.all() == ()


@pytest.mark.parametrize("value", [None, False, 0, 1.5, "層\0", [], {"a": [None]}, 2**70])
def test_settings(db: Database, value: Any) -> None:
    with db.begin() as work:
        assert work.settings.get("x") is None
        work.settings.put("x", "before")
        work.settings.put("x", value)
        work.settings.put("y", 1)
        assert work.settings.get("x") == value
