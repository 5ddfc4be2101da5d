"""Users, their sessions and API tokens, and small values of the appliance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select, update

from sekiso.model.library import CredentialRecord, UserRecord
from sekiso.store.database import tables
from sekiso.store.database.records import NamedRecordRows, RecordRows, Session


class UserTable(NamedRecordRows[UserRecord]):
    """See `api.UserRows`."""

    table = tables.users
    record_type = UserRecord


class CredentialTable(RecordRows[CredentialRecord]):
    """See `api.CredentialRows`."""

    table = tables.credentials
    record_type = CredentialRecord

    def by_secret(self, secret_sha256: str) -> CredentialRecord | None:
        """Return the credential with this hash."""
        found = self._select(tables.credentials.c.secret_sha256 == secret_sha256)
        return found[0] if found else None

    def of_user(self, user_id: str) -> Sequence[CredentialRecord]:
        """Return the credentials of a user, newest first."""
        columns = tables.credentials.c
        order = (columns.created_s.desc(), columns.id.desc())
        return self._select(columns.user_id == user_id, order_by=order)

    def forget_expired(self, time_s: float) -> int:
        """Remove what has expired; return how many."""
        return self._delete(tables.credentials.c.expires_s <= time_s)


class SettingTable:
    """See `api.SettingRows`."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection

    def get(self, name: str) -> Any:
        """Return a value as plain data; None if there is none."""
        columns = tables.settings.c
        return self._connection.execute(select(columns.value).where(columns.name == name)).scalar()

    def put(self, name: str, value: Any) -> None:
        """Store a value."""
        here = update(tables.settings).where(tables.settings.c.name == name)
        if not self._connection.execute(here.values(value=value)).rowcount:
            self._connection.execute(insert(tables.settings).values(name=name, value=value))
