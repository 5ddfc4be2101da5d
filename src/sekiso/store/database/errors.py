"""What can go wrong with the database itself, and how the drivers' errors become these."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from sekiso.errors import Family, SekisoError


class DatabaseBusyError(SekisoError):
    """Another transaction was in the way; nothing was changed. Params: reason."""

    code = "database.busy"
    family = Family.ENVIRONMENT
    retryable = True
    brief = "The database is busy; nothing was changed."
    why = "{reason}"
    resolution = "Try again."


class DatabaseUnavailableError(SekisoError):
    """The database does not answer, or refuses to work. Params: database (URL without password), reason."""

    code = "database.unavailable"
    family = Family.ENVIRONMENT
    retryable = True
    brief = "The database {database} cannot be used."
    why = "{reason}"
    resolution = "Check that it runs, that its address is right, and that its disk has free space."


class DatabaseUrlError(SekisoError):
    """The address of a database is of no use. Params: database (URL without password), reason, remedy."""

    code = "database.url"
    family = Family.USAGE
    brief = "The database {database} cannot be used."
    why = "{reason}"
    resolution = "{remedy}"


class DatabaseNewerError(SekisoError):
    """The database was changed by a later version. Params: database (URL without password), revision."""

    code = "database.newer"
    family = Family.UNSUPPORTED
    brief = "The database {database} was made by a later version of Sekiso."
    why = "Its schema {revision} is not known to this version."
    resolution = "Install that version again, or restore a backup made by this one."


class AuditBrokenError(SekisoError):
    """The audit history was changed from outside, so that nothing can be added. Params: number."""

    code = "audit.broken"
    family = Family.VERIFICATION
    brief = "The audit history cannot be continued."
    why = "An entry with the number {number} is there already that Sekiso has not written."
    resolution = "Restore a backup of the database, and find out who has changed it."


# PostgreSQL: serialization_failure, deadlock_detected, lock_not_available.
_BUSY_STATES = frozenset({"40001", "40P01", "55P03"})
# read_only_sql_transaction: a standby says so, too.
_READ_ONLY = "25006"
_SQLITE_BUSY, _SQLITE_LOCKED = 5, 6


def translated(error: SQLAlchemyError, database: str) -> SekisoError | None:
    """Return what a person is told of a driver's error; None for one that is a fault of the program.

    Args:
        error: the error.
        database: URL of the database without password.
    """
    if isinstance(error, PoolTimeoutError):
        return DatabaseBusyError(reason="Too many transactions are under way.")
    if not isinstance(error, DBAPIError):
        return None
    if _is_busy(error):
        return DatabaseBusyError(reason=driver_text(error))
    if isinstance(error, OperationalError | InterfaceError) or _is_unusable(error):
        return DatabaseUnavailableError(database=database, reason=driver_text(error))
    return None


def driver_text(error: DBAPIError) -> str:
    """Return the first line of what the driver says; it has no values in it."""
    return next(iter(str(error.orig).splitlines()), "")


def _is_busy(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    if isinstance(code, int):
        return code & 0xFF in (_SQLITE_BUSY, _SQLITE_LOCKED)
    return _state(error) in _BUSY_STATES


def _is_unusable(error: DBAPIError) -> bool:
    damaged = getattr(error.orig, "sqlite_errorname", None) in ("SQLITE_CORRUPT", "SQLITE_NOTADB")
    return damaged or _state(error) == _READ_ONLY


def _state(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)
