"""All exceptions of the database package. It never raises an exception of the driver."""

import sqlite3


class DatabaseError(Exception):
    """Base of this package's errors. `code` is the public error code of the failure."""

    code = "internal"


class DatabaseBusy(DatabaseError):
    """The work waited too long, or too much work was waiting. It had no effect: try again later."""

    code = "database_busy"

    def __init__(self, message: str = "the database is busy", retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Whole seconds to wait before the next attempt."""


class DatabaseFull(DatabaseError):
    """The disk, the quota or the file's size limit is exhausted. The work had no effect."""

    code = "database_full"


class DatabaseClosed(DatabaseBusy):
    """The pool is not open: before `open()`, or after `close()` began."""


class FilesReplaced(DatabaseClosed):
    """A file of the open database was removed or replaced, so that further writes would be lost."""

    is_committed = False
    """Whether it was noticed only after a COMMIT, which may be found where the files are now."""


class DatabaseUnavailable(DatabaseError):
    """Reading or writing the file failed in a way that this connection can't repair."""


class CommitOutcomeUnknown(DatabaseUnavailable):
    """A COMMIT failed after its pages may have reached the disk. Whether the work was committed is
    known once the file is opened again."""


class DatabaseCorrupt(DatabaseUnavailable):
    """SQLite found the file malformed."""


class DatabaseReadOnly(DatabaseUnavailable):
    """The file, its directory or the connection is read-only."""


class DatabaseConfigurationError(DatabaseError):
    """A setting of the connection did not take effect."""


class TransactionLost(DatabaseError):
    """SQLite rolled back the whole transaction."""


class UnitOfWorkError(DatabaseError):
    """A unit of work awaited something other than its own statements, or a transaction was used
    outside its block."""


class WrongEventLoop(DatabaseError):
    """The pool was used on another event loop than the one that opened it."""

    def __init__(self) -> None:
        super().__init__(
            "the database belongs to the event loop that opened it: use it only on that loop, or "
            "open another manager on this one"
        )


class StatementError(DatabaseError):
    """The statement itself is wrong: unknown table, syntax, wrong number of parameters."""


class InvalidValue(DatabaseError):
    """A parameter can't be stored: a lone surrogate, an integer past 64 bits, too long a text."""

    code = "validation_failed"


class TooLong(InvalidValue):
    """A text or a row has more bytes than SQLite or the caller allows."""


class MalformedTextFound(StatementError):
    """A stored text is not UTF-8, and the caller asked for the text as it is stored."""


class IntegrityError(DatabaseError):
    """A constraint refused the change."""


class UniqueViolation(IntegrityError):
    """A row with this key exists."""


class ForeignKeyViolation(IntegrityError):
    """The row refers to one that does not exist."""


class CheckViolation(IntegrityError):
    """A CHECK, NOT NULL or type constraint refused the value."""


class MigrationError(DatabaseError):
    """The schema can't be migrated to the version that this program needs."""


class ProcessLockHeld(DatabaseError):
    """Another process owns the database file."""

    def __init__(self, message: str, pid: int | None) -> None:
        super().__init__(message)
        self.pid = pid
        """Process id of the holder, or `None` when it could not be read."""


_BY_NAME: dict[str, type[DatabaseError]] = {
    "SQLITE_CONSTRAINT_UNIQUE": UniqueViolation,
    "SQLITE_CONSTRAINT_PRIMARYKEY": UniqueViolation,
    "SQLITE_CONSTRAINT_ROWID": UniqueViolation,
    "SQLITE_CONSTRAINT_FOREIGNKEY": ForeignKeyViolation,
    "SQLITE_CONSTRAINT_CHECK": CheckViolation,
    "SQLITE_CONSTRAINT_NOTNULL": CheckViolation,
    "SQLITE_CONSTRAINT_DATATYPE": CheckViolation,
    "SQLITE_TOOBIG": TooLong,
    "SQLITE_INTERRUPT": DatabaseBusy,
}
_BY_PREFIX: tuple[tuple[str, type[DatabaseError]], ...] = (
    ("SQLITE_CONSTRAINT", IntegrityError),
    ("SQLITE_BUSY", DatabaseBusy),
    ("SQLITE_LOCKED", DatabaseBusy),
    ("SQLITE_FULL", DatabaseFull),
    ("SQLITE_READONLY", DatabaseReadOnly),
    ("SQLITE_CORRUPT", DatabaseCorrupt),
    ("SQLITE_NOTADB", DatabaseCorrupt),
    ("SQLITE_IOERR", DatabaseUnavailable),
    ("SQLITE_CANTOPEN", DatabaseUnavailable),
    ("SQLITE_NOMEM", DatabaseUnavailable),
    ("SQLITE_ERROR", StatementError),
    ("SQLITE_RANGE", StatementError),
)


_LATER_NAMES = {19 | 12 << 8: "SQLITE_CONSTRAINT_DATATYPE"}
_PRIMARY_NAMES = {
    1: "SQLITE_ERROR",
    5: "SQLITE_BUSY",
    6: "SQLITE_LOCKED",
    7: "SQLITE_NOMEM",
    8: "SQLITE_READONLY",
    9: "SQLITE_INTERRUPT",
    10: "SQLITE_IOERR",
    11: "SQLITE_CORRUPT",
    13: "SQLITE_FULL",
    14: "SQLITE_CANTOPEN",
    18: "SQLITE_TOOBIG",
    19: "SQLITE_CONSTRAINT",
    25: "SQLITE_RANGE",
    26: "SQLITE_NOTADB",
}

DRIVER_ERRORS = (sqlite3.Error, sqlite3.Warning)
"""Exceptions that only the driver raises."""
STATEMENT_ERRORS = (*DRIVER_ERRORS, OverflowError, UnicodeEncodeError, MemoryError)
"""Exceptions that running a statement can raise."""


def translate(error: Exception) -> DatabaseError:
    """The package's error for one of `STATEMENT_ERRORS`, chosen by SQLite's error name.

    Its message names the error and, for constraints, the constraint. SQLite includes no bound
    value. A `DatabaseError` is returned unchanged; any other exception is raised.
    """
    if isinstance(error, DatabaseError):
        return error
    if isinstance(error, (OverflowError, UnicodeEncodeError)):
        return InvalidValue("a value can't be stored: not a 64-bit integer or not valid Unicode")
    if isinstance(error, MemoryError):
        # The driver raises this for SQLITE_NOMEM.
        return DatabaseUnavailable("SQLITE_NOMEM")
    if not isinstance(error, DRIVER_ERRORS):
        raise error
    name = _name(error)
    if is_malformed_text(error):
        # The driver's own message holds the text.
        return MalformedTextFound("a text in the file is not UTF-8")
    if name is None:
        # The driver itself raised it before calling SQLite: wrong parameters, or misuse.
        return StatementError(f"the driver refused the statement ({type(error).__name__})")
    kind = _BY_NAME.get(name)
    if kind is None:
        kind = next((k for prefix, k in _BY_PREFIX if name.startswith(prefix)), DatabaseError)
    if kind in (StatementError, DatabaseError):
        return kind(f"{name}: {error}")
    if issubclass(kind, IntegrityError):
        return kind(str(error))
    return kind(name)


def is_malformed_text(error: Exception) -> bool:
    """Whether the driver raised `error` for a stored text that is not UTF-8."""
    return (
        isinstance(error, sqlite3.OperationalError)
        and _name(error) is None
        and str(error).startswith("Could not decode to UTF-8")
    )


def _name(error: Exception) -> str | None:
    name: str | None = getattr(error, "sqlite_errorname", None)
    if name == "unknown":
        # SQLite has error codes that are newer than the driver.
        code: int = getattr(error, "sqlite_errorcode", 0)
        return _LATER_NAMES.get(code) or _PRIMARY_NAMES.get(code & 0xFF, name)
    return name


def concerns_connection(error: BaseException | None) -> bool:
    """Whether `error` makes its connection unusable, not only the statement."""
    if isinstance(error, STATEMENT_ERRORS):
        error = translate(error)
    # A write on a reading connection is the statement's fault.
    return isinstance(error, DatabaseUnavailable) and not isinstance(error, DatabaseReadOnly)
