"""Users: passwords, sessions, API tokens, roles (OP-4)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from time import thread_time
from typing import Any

import pytest
from argon2 import PasswordHasher

from sekiso.errors import AlreadyExistsError, NotFoundError, RuleError
from sekiso.model.library import CredentialKind, Role
from sekiso.services.core import Actor, NotAllowedError
from sekiso.services.passwords import Passwords
from sekiso.services.users import (
    IDLE_S,
    LOCK_S,
    MAX_FAILURES,
    SESSION_S,
    LoginFailedError,
    Session,
    UserService,
)

from ...support.appliance import CHEAP, MANAGER, PUBLISHER, READER, Appliance

SECRET = "correct horse"
OTHER = "battery staple"


@pytest.fixture
def users(appliance: Appliance) -> UserService:
    """Users with the administrator `admin`."""
    appliance.users.first_start(SECRET)
    return appliance.users


@pytest.fixture
def admin(users: UserService) -> Actor:
    return users.login("admin", SECRET).actor


def refused(users: UserService, name: str, password: str) -> bool:
    try:
        users.login(name, password)
    except LoginFailedError:
        return True
    return False


def stored(appliance: Appliance) -> str:
    """Everything of the database that could give a secret away."""
    with appliance.db.read() as work:
        every = [*work.users.all(), *work.credentials.all(), *work.tokens.all()]
        return repr((every, work.audit.list(limit=1000)))


# --- first start --------------------------------------------------------------------------------------------


def test_first_start_makes_up_a_password_once(appliance: Appliance) -> None:
    password = appliance.users.first_start()
    assert password is not None
    assert len(password) >= 20
    assert appliance.users.login("admin", password).actor.role is Role.ADMINISTRATOR
    assert appliance.users.first_start() is None
    assert appliance.users.first_start(OTHER) is None
    assert refused(appliance.users, "admin", OTHER)
    assert appliance.actions()[0] == "user.create"
    assert password not in stored(appliance)


def test_first_start_with_a_given_password_tells_none(appliance: Appliance) -> None:
    assert appliance.users.first_start(SECRET) is None
    assert not refused(appliance.users, "admin", SECRET)


@pytest.mark.parametrize("password", ["", "short", "x" * 1001])
def test_first_start_with_a_password_that_cannot_be_used(password: str, appliance: Appliance) -> None:
    with pytest.raises(RuleError) as caught:
        appliance.users.first_start(password)
    assert caught.value.params["field"] == "password"
    assert appliance.users.list() == ()


# --- login --------------------------------------------------------------------------------------------------


def test_login_and_logout(appliance: Appliance, users: UserService) -> None:
    session = users.login("ADMIN", SECRET)
    assert session.actor == users.authenticate(session.secret)
    assert session.expires_s == appliance.clock.now_s + SESSION_S
    assert len(session.secret) >= 43
    assert session.secret not in stored(appliance)
    assert SECRET not in stored(appliance)
    users.logout(session.secret)
    assert users.authenticate(session.secret) is None
    users.logout(session.secret)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("admin", OTHER),
        ("admin", ""),
        ("admin", SECRET + "x"),
        ("admin", SECRET * 100_000),
        ("admin", "\ud800"),
        ("admin", "\x00"),
        ("nobody", SECRET),
        ("", ""),
        ("\ud800\x00", SECRET),
        ("a" * 100_000, SECRET),
    ],
)
def test_one_answer_for_all_that_is_wrong(name: str, password: str, users: UserService) -> None:
    with pytest.raises(LoginFailedError) as caught:
        users.login(name, password)
    assert caught.value.params == {}


def test_a_login_takes_as_long_whoever_it_is(appliance: Appliance) -> None:
    slow = PasswordHasher(time_cost=2, memory_cost=8192, parallelism=1)
    users = UserService(appliance.core, hasher=slow)
    users.first_start(SECRET)
    users.add(_admin(users), "gone", OTHER, Role.READ_ONLY)
    users.change(_admin(users), "gone", disabled=True)

    def time_of(name: str) -> float:
        start = thread_time()
        assert refused(users, name, "something else")
        return thread_time() - start

    hash_s = median(_seconds(lambda: slow.hash(SECRET)) for _ in range(5))
    times = {name: median(time_of(name) for _ in range(5)) for name in ("admin", "gone", "nobody")}
    # Each costs one hash: without it, a refusal would take a small part of that. Measured in time of the
    # processor, so that the load of the machine does not count.
    assert min(times.values()) > 0.5 * hash_s, (times, hash_s)
    assert max(times.values()) < 3 * min(times.values()), times


def _seconds(work: Callable[[], object]) -> float:
    start = thread_time()
    work()
    return thread_time() - start


def _admin(users: UserService) -> Actor:
    return users.login("admin", SECRET).actor


def test_many_logins_at_once_do_not_take_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, 0
    guard = threading.Lock()

    class Counting:
        def verify(self, hashed: str, password: bytes) -> bool:
            nonlocal running, most
            with guard:
                running += 1
                most = max(most, running)
            threading.Event().wait(0.01)
            with guard:
                running -= 1
            return True

    counting: Any = Counting()
    passwords = Passwords(counting)
    threads = [threading.Thread(target=passwords.match, args=("x", "y")) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 < most <= 4


def test_a_hash_with_other_parameters_is_made_anew_at_login(appliance: Appliance, users: UserService) -> None:
    def hash_of() -> str:
        with appliance.db.read() as work:
            return work.users.by_reference("admin").password_hash

    weak = hash_of()
    stronger = UserService(appliance.core, hasher=PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    stronger.login("admin", SECRET)
    assert hash_of() != weak
    assert "m=16,t=2" in hash_of()
    assert not refused(stronger, "admin", SECRET)


# --- lockout ------------------------------------------------------------------------------------------------


def test_ten_failures_lock_for_five_minutes(appliance: Appliance, users: UserService) -> None:
    session = users.login("admin", SECRET)
    for _ in range(MAX_FAILURES):
        assert refused(users, "admin", OTHER)
    assert users.list()[0].locked
    assert refused(users, "admin", SECRET)
    assert appliance.actions()[-1] == "user.lock"
    # Who is logged in goes on working.
    assert users.authenticate(session.secret) is not None
    appliance.clock.now_s += LOCK_S - 1
    assert refused(users, "admin", SECRET)
    appliance.clock.now_s += 2
    assert not users.list()[0].locked
    assert not refused(users, "admin", SECRET)


def test_a_success_begins_the_count_anew(users: UserService) -> None:
    for _ in range(3):
        for _ in range(MAX_FAILURES - 1):
            assert refused(users, "admin", OTHER)
        assert not refused(users, "admin", SECRET)


def test_failures_while_locked_do_not_lock_longer(appliance: Appliance, users: UserService) -> None:
    for _ in range(MAX_FAILURES * 2):
        assert refused(users, "admin", OTHER)
    appliance.clock.now_s += LOCK_S + 1
    assert not refused(users, "admin", SECRET)


def test_guessing_the_old_password_locks_too(users: UserService, admin: Actor) -> None:
    for _ in range(MAX_FAILURES):
        with pytest.raises(LoginFailedError):
            users.change_password(admin, "wrong guess", OTHER)
    with pytest.raises(LoginFailedError):
        users.change_password(admin, SECRET, OTHER)
    assert users.list()[0].locked


def test_an_administrator_unlocks(appliance: Appliance, users: UserService, admin: Actor) -> None:
    users.add(admin, "maya", OTHER, Role.LAYER_MANAGER)
    for _ in range(MAX_FAILURES):
        assert refused(users, "maya", SECRET)
    assert refused(users, "maya", OTHER)
    users.change(admin, "maya", disabled=False)
    assert not refused(users, "maya", OTHER)


# --- sessions -----------------------------------------------------------------------------------------------


def test_a_session_ends_when_it_is_not_used(appliance: Appliance, users: UserService) -> None:
    session = users.login("admin", SECRET)
    for _ in range(5):
        appliance.clock.now_s += IDLE_S - 1
        assert users.authenticate(session.secret) is not None
    appliance.clock.now_s += IDLE_S + 1
    assert users.authenticate(session.secret) is None


def test_a_session_ends_after_twelve_hours(appliance: Appliance, users: UserService) -> None:
    session = users.login("admin", SECRET)
    while appliance.clock.now_s + 1800 < session.expires_s:
        appliance.clock.now_s += 1800
        assert users.authenticate(session.secret) is not None
    appliance.clock.now_s = session.expires_s
    assert users.authenticate(session.secret) is None


def test_use_is_noted_at_most_each_minute(appliance: Appliance, users: UserService) -> None:
    session = users.login("admin", SECRET)

    def used_s() -> float | None:
        with appliance.db.read() as work:
            return work.credentials.all()[0].last_used_s

    begun = appliance.clock.now_s
    appliance.clock.now_s += 59
    users.authenticate(session.secret)
    assert used_s() == begun
    appliance.clock.now_s += 2
    users.authenticate(session.secret)
    assert used_s() == begun + 61


@pytest.mark.parametrize("secret", ["", "x", "\ud800", "é" * 10_000, "\x00"])
def test_what_proves_nobody(secret: str, users: UserService) -> None:
    assert users.authenticate(secret) is None
    users.logout(secret)


def test_a_disabled_user_is_out_at_once(users: UserService, admin: Actor) -> None:
    users.add(admin, "maya", OTHER, Role.LAYER_MANAGER)
    session = users.login("maya", OTHER)
    token = users.create_token(session.actor, "ci")
    users.change(admin, "maya", disabled=True)
    assert users.authenticate(session.secret) is None
    assert users.authenticate(token.token) is None
    assert refused(users, "maya", OTHER)
    users.change(admin, "maya", disabled=False)
    # Sessions are gone for good, tokens work again.
    assert users.authenticate(session.secret) is None
    assert users.authenticate(token.token) is not None


def test_a_new_role_counts_at_once(users: UserService, admin: Actor) -> None:
    users.add(admin, "maya", OTHER, Role.LAYER_MANAGER)
    session = users.login("maya", OTHER)
    users.change(admin, "maya", role=Role.READ_ONLY)
    actor = users.authenticate(session.secret)
    assert actor is not None
    assert actor.role is Role.READ_ONLY


# --- passwords ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["", "123456789", "x" * 1001, "Maya.Yamada"])
def test_passwords_that_cannot_be_used(password: str, users: UserService, admin: Actor) -> None:
    gives: list[Callable[[], object]] = [
        lambda: users.add(admin, "maya.yamada", password, Role.READ_ONLY),
        lambda: users.change(admin, "admin", password=password),
        lambda: users.change_password(admin, SECRET, password),
    ]
    for give in gives[: 1 if password == "Maya.Yamada" else 3]:
        with pytest.raises(RuleError) as caught:
            give()
        assert caught.value.params["field"] == "password"
    assert [u.name for u in users.list()] == ["admin"]
    assert not refused(users, "admin", SECRET)


def test_any_long_text_is_a_password(users: UserService, admin: Actor) -> None:
    for index, password in enumerate(("パスワードは長い方がよい", "x" * 1000, "\x00" * 10, "\ud800" * 10)):
        users.add(admin, f"user{index}", password, Role.READ_ONLY)
        assert not refused(users, f"user{index}", password)
        assert refused(users, f"user{index}", password + "x")


def test_a_new_password_ends_the_other_sessions(appliance: Appliance, users: UserService) -> None:
    mine, other = users.login("admin", SECRET), users.login("admin", SECRET)
    token = users.create_token(mine.actor, "ci")
    users.change_password(mine.actor, SECRET, OTHER, keep=mine.secret)
    assert users.authenticate(mine.secret) is not None
    assert users.authenticate(other.secret) is None
    assert users.authenticate(token.token) is not None
    assert refused(users, "admin", SECRET)
    assert not refused(users, "admin", OTHER)
    assert appliance.actions()[-2:] == ["user.change-password", "user.login"]
    assert OTHER not in stored(appliance)


def test_a_wrong_old_password_changes_nothing(users: UserService, admin: Actor) -> None:
    with pytest.raises(LoginFailedError):
        users.change_password(admin, OTHER, "another long one")
    assert not refused(users, "admin", SECRET)


def test_a_password_set_by_an_administrator_ends_every_session(users: UserService, admin: Actor) -> None:
    users.add(admin, "maya", OTHER, Role.LAYER_MANAGER)
    session = users.login("maya", OTHER)
    users.change(admin, "maya", password="another long one")
    assert users.authenticate(session.secret) is None
    assert refused(users, "maya", OTHER)
    assert not refused(users, "maya", "another long one")


def test_a_login_does_not_undo_what_happens_meanwhile(
    appliance: Appliance, users: UserService, admin: Actor
) -> None:
    """The password is compared outside of a transaction; what changes in that time counts."""
    users.add(admin, "maya", OTHER, Role.LAYER_MANAGER)
    happening: list[Callable[[], object]] = [
        lambda: users.change(admin, "maya", disabled=True),
        lambda: users.change(admin, "maya", disabled=False, password="set meanwhile"),
        lambda: users.remove(admin, "maya"),
    ]
    for happens, password in zip(happening, (OTHER, OTHER, "set meanwhile"), strict=True):
        slow = UserService(appliance.core, hasher=CHEAP)
        slow._passwords = _Interrupted(happens)  # pyright: ignore[reportPrivateUsage]
        assert refused(slow, "maya", password)
    assert [u.name for u in users.list()] == ["admin"]


class _Interrupted(Passwords):
    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__(CHEAP)
        self._happens = happens

    def match(self, hashed: str, password: str) -> bool:
        right = super().match(hashed, password)
        self._happens()
        return right


# --- users --------------------------------------------------------------------------------------------------


def test_users_are_made_changed_and_removed(appliance: Appliance, users: UserService, admin: Actor) -> None:
    made = users.add(admin, "Maya", OTHER, Role.LAYER_MANAGER)
    assert (made.name, made.role, made.disabled, made.locked) == ("Maya", Role.LAYER_MANAGER, False, False)
    assert made.created_s == appliance.clock.now_s
    assert [u.name for u in users.list()] == ["admin", "Maya"]
    assert users.change(admin, "maya", role=Role.PUBLISHER).role is Role.PUBLISHER
    session = users.login("maya", OTHER)
    users.remove(admin, made.id)
    assert users.authenticate(session.secret) is None
    assert [u.name for u in users.list()] == ["admin"]
    entries = [e for e in appliance.entries() if e.subject_id == made.id]
    assert [e.action for e in entries] == ["user.create", "user.change", "user.login", "user.delete"]
    assert entries[1].details == {"role": "publisher", "disabled": False, "password": False}


@pytest.mark.parametrize("name", ["ADMIN", "ａｄｍｉｎ"])
def test_names_are_unique(name: str, users: UserService, admin: Actor) -> None:
    with pytest.raises(AlreadyExistsError):
        users.add(admin, name, OTHER, Role.READ_ONLY)


@pytest.mark.parametrize("name", ["", " ", " maya", "maya ", "a\nb", "x" * 65, "a\x00b", "\ud800"])
def test_names_that_cannot_be_used(name: str, users: UserService, admin: Actor) -> None:
    with pytest.raises(RuleError) as caught:
        users.add(admin, name, OTHER, Role.READ_ONLY)
    assert caught.value.params["field"] == "name"


def test_the_last_administrator_stays(users: UserService, admin: Actor) -> None:
    users.add(admin, "maya", OTHER, Role.LAYER_MANAGER)
    users.add(admin, "ada", OTHER, Role.ADMINISTRATOR)
    users.change(admin, "ada", disabled=True)
    tries: list[Callable[[], object]] = [
        lambda: users.remove(admin, "admin"),
        lambda: users.change(admin, "admin", disabled=True),
        lambda: users.change(admin, "admin", role=Role.READ_ONLY),
    ]
    for try_it in tries:
        with pytest.raises(RuleError) as caught:
            try_it()
        assert caught.value.params["field"] == "user"
    assert not refused(users, "admin", SECRET)
    users.change(admin, "ada", disabled=False)
    users.remove(admin, "admin")
    assert [u.name for u in users.list()] == ["ada", "maya"]


@pytest.mark.parametrize("actor", [MANAGER, PUBLISHER, READER], ids=lambda a: a.role.value)
def test_only_administrators_manage_users(actor: Actor, appliance: Appliance, users: UserService) -> None:
    before = users.list(), appliance.actions()
    tries: list[Callable[[], object]] = [
        lambda: users.add(actor, "x", OTHER, Role.ADMINISTRATOR),
        lambda: users.change(actor, "admin", disabled=True),
        lambda: users.remove(actor, "admin"),
    ]
    for try_it in tries:
        with pytest.raises(NotAllowedError):
            try_it()
    assert (users.list(), appliance.actions()) == before


def test_users_that_do_not_exist(users: UserService, admin: Actor) -> None:
    for try_it in (lambda: users.change(admin, "x", disabled=True), lambda: users.remove(admin, "x")):
        with pytest.raises(NotFoundError):
            try_it()


# --- API tokens ---------------------------------------------------------------------------------------------


def test_api_tokens(appliance: Appliance, users: UserService, admin: Actor) -> None:
    made = users.create_token(admin, "ci", valid_s=3600)
    assert users.authenticate(made.token) == admin
    assert made.token not in stored(appliance)
    (shown,) = users.tokens(admin)
    assert (shown.id, shown.name, shown.expires_s) == (made.id, "ci", appliance.clock.now_s + 3600)
    assert json.dumps(appliance.entries()[-1].details) == "{}"
    appliance.clock.now_s += 3600
    assert users.authenticate(made.token) is None


def test_an_api_token_does_not_end_for_want_of_use(
    appliance: Appliance, users: UserService, admin: Actor
) -> None:
    made = users.create_token(admin, "for ever")
    appliance.clock.now_s += 5 * 366 * 86400.0
    assert users.authenticate(made.token) == admin
    # A session cannot be ended by a token, nor a token by logging out.
    users.logout(made.token)
    assert users.authenticate(made.token) == admin


def test_api_tokens_are_revoked_by_their_owner_or_an_administrator(users: UserService, admin: Actor) -> None:
    users.add(admin, "maya", OTHER, Role.LAYER_MANAGER)
    users.add(admin, "rei", OTHER, Role.READ_ONLY)
    maya, rei = (users.login(name, OTHER).actor for name in ("maya", "rei"))
    first, second = users.create_token(maya, "a"), users.create_token(maya, "b")
    assert [t.name for t in users.tokens(maya)] in (["b", "a"], ["a", "b"])
    assert users.tokens(rei) == ()
    with pytest.raises(NotFoundError):
        users.revoke_token(rei, first.id)
    users.revoke_token(maya, first.id)
    users.revoke_token(admin, second.id)
    assert users.authenticate(first.token) is None
    assert users.authenticate(second.token) is None
    with pytest.raises(NotFoundError):
        users.revoke_token(maya, first.id)


def test_a_session_is_no_api_token(appliance: Appliance, users: UserService) -> None:
    session: Session = users.login("admin", SECRET)
    with appliance.db.read() as work:
        (credential,) = work.credentials.all()
    assert credential.kind is CredentialKind.SESSION
    assert users.tokens(session.actor) == ()
    with pytest.raises(NotFoundError):
        users.revoke_token(session.actor, credential.id)


@pytest.mark.parametrize("name", ["", " ", "x" * 65, "a\nb"])
def test_names_of_api_tokens(name: str, users: UserService, admin: Actor) -> None:
    with pytest.raises(RuleError):
        users.create_token(admin, name)


@pytest.mark.parametrize("valid_s", [0.0, -1.0, 59.0, 1e12, float("nan"), float("inf")])
def test_times_of_api_tokens(valid_s: float, users: UserService, admin: Actor) -> None:
    with pytest.raises(RuleError):
        users.create_token(admin, "ci", valid_s=valid_s)


def test_a_credential_of_a_removed_user_proves_nobody(appliance: Appliance, users: UserService) -> None:
    session = users.login("admin", SECRET)
    with appliance.db.begin() as work:
        record = work.users.by_reference("admin")
        work.users.replace(replace(record, disabled=True))
    assert users.authenticate(session.secret) is None
