"""Users, logins, sessions and API tokens (OP-4).

Passwords are kept as argon2id hashes. Secrets of sessions and tokens are 256 random bits; only a hash
of them is kept: for those a fast hash is enough, and a stolen database logs nobody in.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace

from argon2 import PasswordHasher

from sekiso.errors import AlreadyExistsError, Family, NotFoundError, RuleError, SekisoError
from sekiso.model.library import CredentialKind, CredentialRecord, Role, UserRecord
from sekiso.model.task import Subject, SubjectKind
from sekiso.services.appliance_settings import ApplianceValues, values_of
from sekiso.services.core import Actor, Core, new_id, require
from sekiso.services.passwords import Passwords
from sekiso.store.database.api import UnitOfWork

FIRST_USER = "admin"
_DEFAULTS = ApplianceValues()
#: What holds unless an administrator has set something else.
SESSION_S, IDLE_S = _DEFAULTS.session_hours * 3600.0, _DEFAULTS.session_idle_minutes * 60.0
MAX_FAILURES, LOCK_S = _DEFAULTS.lockout_failures, _DEFAULTS.lockout_minutes * 60.0
_MAX_NAME_CHARS = 64
_TOUCH_S = 60.0
#: How many logins were refused that are counted at no user: unknown names, users that are locked.
_REFUSED = "users.refused-logins"


class LoginFailedError(SekisoError):
    """A login is refused. No params: it does not tell which part was wrong."""

    code = "login.failed"
    family = Family.USAGE
    brief = "The login failed."
    why = "Login name or password is wrong, or the user is disabled or locked for some minutes."
    resolution = "Try again; after several failures in a row a user is locked for some minutes."


class LoginNeededError(SekisoError):
    """A request without a valid session or API token. No params."""

    code = "login.needed"
    family = Family.USAGE
    brief = "You are not logged in."
    why = "There is no session, or it has ended, or the API token is not valid (any more)."
    resolution = "Log in again."


@dataclass(frozen=True, slots=True)
class UserView:
    """A user as it is shown. Times are Unix seconds."""

    id: str
    name: str
    role: Role
    disabled: bool
    locked: bool
    created_s: float


@dataclass(frozen=True, slots=True)
class ApiTokenView:
    """An API token without its secret. Times are Unix seconds."""

    id: str
    name: str
    created_s: float
    expires_s: float | None
    last_used_s: float | None


@dataclass(frozen=True, slots=True)
class NewApiToken:
    """An API token, the only time that its secret is shown."""

    id: str
    name: str
    token: str
    expires_s: float | None


@dataclass(frozen=True, slots=True)
class Session:
    """A session that was opened.

    Attributes:
        secret: proves it.
        actor: the user.
        expires_s: its end, Unix seconds.
    """

    secret: str
    actor: Actor
    expires_s: float


class UserService:
    """Users and what proves them."""

    def __init__(self, core: Core, *, hasher: PasswordHasher | None = None) -> None:
        """Serve the users of an appliance.

        Args:
            core: what every service works with.
            hasher: hashes passwords; argon2id with the library's own parameters unless given.
        """
        self._core = core
        self._passwords = Passwords(hasher or PasswordHasher())
        # Compared with when there is no such user, so that time does not tell.
        self._nobody = self._passwords.hashed("", secrets.token_urlsafe(16))

    def first_start(self, password: str | None = None) -> str | None:
        """Make the administrator `admin` if there is no user at all.

        Args:
            password: the password; one is made up when left out.

        Returns:
            The password that was made up, once; None otherwise.

        Raises:
            RuleError: the password cannot be used.
        """
        with self._core.db.begin() as work:
            if work.users.all():
                return None
            made = secrets.token_urlsafe(15) if password is None else password
            record = self._record(FIRST_USER, made, Role.ADMINISTRATOR)
            work.users.add(record)
            work.audit.append(actor="appliance", action="user.create", subject=_subject(record))
        return made if password is None else None

    def login(self, name: str, password: str) -> Session:
        """Open a session.

        Raises:
            LoginFailedError: name or password is wrong, or the user is disabled or locked.
        """
        now_s = self._core.clock()
        with self._core.db.read() as work:
            record = _find(work, name)
        right = self._passwords.match(self._nobody if record is None else record.password_hash, password)
        fresh = self._passwords.renewed(record.password_hash, password) if record and right else None
        with self._core.db.begin() as work:
            admitted = _admitted(work, record, right=right, now_s=now_s)
            if admitted is not None:
                admitted = replace(admitted, password_hash=fresh or admitted.password_hash)
                work.users.replace(admitted)
                session_s = values_of(work).session_hours * 3600.0
                secret, credential = _credential(admitted, CredentialKind.SESSION, "", now_s, session_s)
                work.credentials.add(credential)
                work.audit.append(actor=admitted.name, action="user.login", subject=_subject(admitted))
                return Session(secret, _actor(admitted), now_s + session_s)
        # Outside of the transaction: the failure has been counted.
        raise LoginFailedError

    def authenticate(self, secret: str, *, touch: bool = True) -> Actor | None:
        """Return whose session or API token a secret proves; None if it proves nothing (any more).

        Args:
            secret: the secret.
            touch: whether this counts as use: a session that nobody uses ends.
        """
        now_s = self._core.clock()
        with self._core.db.read() as work:
            found = work.credentials.by_secret(_hash(secret))
            if found is None or _is_over(found, now_s, values_of(work).session_idle_minutes * 60.0):
                return None
            record = work.users.find(found.user_id)
        if record is None or record.disabled:
            return None
        if touch and (found.last_used_s is None or now_s - found.last_used_s > _TOUCH_S):
            self._touch(found.id, now_s)
        return _actor(record)

    def logout(self, secret: str) -> None:
        """End a session; harmless when it has ended."""
        with self._core.db.begin() as work:
            found = work.credentials.by_secret(_hash(secret))
            if found is not None and found.kind is CredentialKind.SESSION:
                work.credentials.remove(found.id)

    def list(self) -> tuple[UserView, ...]:
        """Return every user by name."""
        now_s = self._core.clock()
        with self._core.db.read() as work:
            return tuple(_view(record, now_s) for record in work.users.all())

    def get(self, reference: str) -> UserView:
        """Return a user by identifier or name.

        Raises:
            NotFoundError: there is none.
        """
        with self._core.db.begin() as work:
            return _view(work.users.by_reference(reference), self._core.clock())

    def add(self, actor: Actor, name: str, password: str, role: Role) -> UserView:
        """Make a user.

        Raises:
            AlreadyExistsError: the name is taken.
            RuleError: name or password cannot be used.
        """
        require(actor, Role.ADMINISTRATOR)
        record = self._record(name, password, role)
        with self._core.db.begin() as work:
            if _find(work, name) is not None:
                raise AlreadyExistsError(what="The user", name=name, remedy="Choose another name.")
            work.users.add(record)
            details = {"role": role.value}
            work.audit.append(
                actor=actor.name, action="user.create", subject=_subject(record), details=details
            )
        return _view(record, self._core.clock())

    def change(
        self,
        actor: Actor,
        reference: str,
        *,
        role: Role | None = None,
        disabled: bool | None = None,
        password: str | None = None,
    ) -> UserView:
        """Change a user; None leaves as it is. A new password ends its sessions.

        Raises:
            NotFoundError: there is no such user.
            RuleError: the password cannot be used, or no administrator would be left.
        """
        require(actor, Role.ADMINISTRATOR)
        with self._core.db.read() as work:
            before = work.users.by_reference(reference)
        # Hashing takes long and is no part of the transaction.
        hashed = self._passwords.hashed(before.name, password) if password is not None else None
        with self._core.db.begin() as work:
            before = work.users.get(before.id)
            after = replace(
                before,
                role=before.role if role is None else role,
                disabled=before.disabled if disabled is None else disabled,
                password_hash=hashed or before.password_hash,
                failed_logins=0,
                locked_until_s=None,
            )
            _keep_an_administrator(work, before, after)
            work.users.replace(after)
            if hashed is not None or after.disabled:
                _end_sessions(work, after.id)
            details = {"role": after.role.value, "disabled": after.disabled, "password": hashed is not None}
            work.audit.append(
                actor=actor.name, action="user.change", subject=_subject(after), details=details
            )
        return _view(after, self._core.clock())

    def change_password(self, actor: Actor, old: str, new: str, *, keep: str = "") -> None:
        """Change one's own password; one's other sessions end.

        Args:
            actor: who asks.
            old: the present password.
            new: the new one.
            keep: secret of the session that goes on.

        Raises:
            LoginFailedError: the present password is another one.
            RuleError: the new one cannot be used.
        """
        now_s = self._core.clock()
        with self._core.db.read() as work:
            record = work.users.get(actor.user_id)
        right = self._passwords.match(record.password_hash, old)
        hashed = self._passwords.hashed(record.name, new) if right else ""
        with self._core.db.begin() as work:
            admitted = _admitted(work, record, right=right, now_s=now_s)
            if admitted is not None:
                work.users.replace(replace(admitted, password_hash=hashed))
                _end_sessions(work, record.id, keep=_hash(keep))
                work.audit.append(actor=actor.name, action="user.change-password", subject=_subject(record))
                return
        raise LoginFailedError

    def remove(self, actor: Actor, reference: str) -> None:
        """Delete a user, with sessions and tokens.

        Raises:
            NotFoundError: there is no such user.
            RuleError: no administrator would be left.
        """
        require(actor, Role.ADMINISTRATOR)
        with self._core.db.begin() as work:
            record = work.users.by_reference(reference)
            _keep_an_administrator(work, record, None)
            for credential in work.credentials.of_user(record.id):
                work.credentials.remove(credential.id)
            work.users.remove(record.id)
            work.audit.append(actor=actor.name, action="user.delete", subject=_subject(record))

    def create_token(self, actor: Actor, name: str, *, valid_s: float | None = None) -> NewApiToken:
        """Make an API token of one's own.

        Args:
            actor: whose token it is.
            name: what it is called.
            valid_s: for how long; None = until it is revoked.

        Raises:
            RuleError: name or time cannot be used.
        """
        if not name.strip() or len(name) > _MAX_NAME_CHARS or not name.isprintable():
            raise RuleError(
                field="name",
                reason="The name of an API token has 1 to 64 printable characters.",
                remedy="Choose another name.",
            )
        if valid_s is not None and not 60.0 <= valid_s <= 10 * 366 * 86400.0:
            raise RuleError(
                field="valid_s",
                reason="An API token is valid for one minute to ten years.",
                remedy="Choose another time, or leave it out.",
            )
        now_s = self._core.clock()
        with self._core.db.begin() as work:
            record = work.users.get(actor.user_id)
            secret, credential = _credential(record, CredentialKind.API_TOKEN, name, now_s, valid_s)
            work.credentials.add(credential)
            work.audit.append(
                actor=actor.name,
                action="token.create",
                subject=Subject(SubjectKind.TOKEN, credential.id, name),
            )
        return NewApiToken(credential.id, name, secret, credential.expires_s)

    def tokens(self, actor: Actor) -> tuple[ApiTokenView, ...]:
        """Return one's own API tokens, newest first."""
        with self._core.db.read() as work:
            return tuple(
                ApiTokenView(c.id, c.name, c.created_s, c.expires_s, c.last_used_s)
                for c in work.credentials.of_user(actor.user_id)
                if c.kind is CredentialKind.API_TOKEN
            )

    def revoke_token(self, actor: Actor, token_id: str) -> None:
        """Make one's own API token invalid; an administrator anybody's.

        Raises:
            NotFoundError: there is no such token of one's own.
        """
        with self._core.db.begin() as work:
            found = work.credentials.find(token_id)
            own = found is not None and found.user_id == actor.user_id
            if (
                found is None
                or found.kind is not CredentialKind.API_TOKEN
                or not (own or actor.role is Role.ADMINISTRATOR)
            ):
                raise NotFoundError(what="The API token", name=token_id, remedy="List your tokens.")
            work.credentials.remove(token_id)
            work.audit.append(
                actor=actor.name,
                action="token.revoke",
                subject=Subject(SubjectKind.TOKEN, token_id, found.name),
            )

    def _record(self, name: str, password: str, role: Role) -> UserRecord:
        if not name or name != name.strip() or len(name) > _MAX_NAME_CHARS or not name.isprintable():
            raise RuleError(
                field="name",
                reason="A login name has 1 to 64 printable characters and no space at its ends.",
                remedy="Choose another name.",
            )
        hashed = self._passwords.hashed(name, password)
        return UserRecord(new_id(), name, role, hashed, created_s=self._core.clock())

    def _touch(self, credential_id: str, now_s: float) -> None:
        with self._core.db.begin() as work:
            found = work.credentials.find(credential_id)
            if found is not None:
                work.credentials.replace(replace(found, last_used_s=now_s))


def _admitted(work: UnitOfWork, seen: UserRecord | None, *, right: bool, now_s: float) -> UserRecord | None:
    """Return the user if the password is right and the user may log in; else count the failure.

    Every refusal writes something, so that the time it takes does not tell one from the other.

    Args:
        work: the transaction.
        seen: the user as the password was compared with; None = there is none.
        right: whether the password is right.
        now_s: Unix seconds.
    """
    record = work.users.find(seen.id) if seen is not None else None
    locked = record is not None and record.locked_until_s is not None and record.locked_until_s > now_s
    if seen is None or record is None or locked:
        work.settings.put(_REFUSED, int(work.settings.get(_REFUSED) or 0) + 1)
        return None
    if not right or record.disabled or record.password_hash != seen.password_hash:
        _count_failure(work, record, now_s)
        return None
    return replace(record, failed_logins=0, locked_until_s=None)


def _count_failure(work: UnitOfWork, record: UserRecord, now_s: float) -> None:
    values, failures = values_of(work), record.failed_logins + 1
    locked = now_s + values.lockout_minutes * 60.0 if failures >= values.lockout_failures else None
    work.users.replace(replace(record, failed_logins=0 if locked else failures, locked_until_s=locked))
    if locked is not None:
        work.audit.append(actor="appliance", action="user.lock", subject=_subject(record))


def _find(work: UnitOfWork, name: str) -> UserRecord | None:
    return next((u for u in work.users.all() if u.name.casefold() == name.casefold()), None)


def _credential(
    record: UserRecord, kind: CredentialKind, name: str, now_s: float, valid_s: float | None
) -> tuple[str, CredentialRecord]:
    secret = secrets.token_urlsafe(32)
    expires_s = None if valid_s is None else now_s + valid_s
    return secret, CredentialRecord(
        new_id(), kind, record.id, name, _hash(secret), now_s, expires_s, last_used_s=now_s
    )


def _is_over(found: CredentialRecord, now_s: float, idle_s: float) -> bool:
    if found.expires_s is not None and now_s >= found.expires_s:
        return True
    used_s = found.last_used_s if found.last_used_s is not None else found.created_s
    return found.kind is CredentialKind.SESSION and now_s - used_s > idle_s


def _end_sessions(work: UnitOfWork, user_id: str, *, keep: str = "") -> None:
    for credential in work.credentials.of_user(user_id):
        if credential.kind is CredentialKind.SESSION and credential.secret_sha256 != keep:
            work.credentials.remove(credential.id)


def _keep_an_administrator(work: UnitOfWork, before: UserRecord, after: UserRecord | None) -> None:
    def administers(record: UserRecord | None) -> bool:
        return record is not None and record.role is Role.ADMINISTRATOR and not record.disabled

    others = [u for u in work.users.all() if u.id != before.id and administers(u)]
    if administers(before) and not administers(after) and not others:
        raise RuleError(
            field="user",
            reason="No administrator would be left.",
            remedy="Make another user an administrator first.",
        )


def _view(record: UserRecord, now_s: float) -> UserView:
    locked = record.locked_until_s is not None and record.locked_until_s > now_s
    return UserView(record.id, record.name, record.role, record.disabled, locked, record.created_s)


def _actor(record: UserRecord) -> Actor:
    return Actor(record.name, record.role, record.id)


def _subject(record: UserRecord) -> Subject:
    return Subject(SubjectKind.USER, record.id, record.name)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
