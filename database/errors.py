"""Everything the database package raises; a driver's own exception never leaves it."""

import sqlite3


class DatabaseError(Exception):
    """Base of this package's errors. `code` is the public error code of the failure."""

    code = "internal"


class DatabaseBusy(DatabaseError):
    """The work waited too long, or too much was waiting. It had no effect: try again later."""

    code = "database_busy"

    def __init__(self, message: str = "the database is busy", retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Whole seconds after which another try makes sense."""


class DatabaseFull(DatabaseError):
    """The disk, the quota or the file's size limit is exhausted. The work had no effect."""

    code = "database_full"


class DatabaseClosed(DatabaseBusy):
    """The pool is not open: before `open()`, or after `close()` began."""


class FilesReplaced(DatabaseClosed):
    """A file of the open database was removed or replaced: what is written now would be lost."""

    is_committed = False
    """Whether it was noticed only after a COMMIT, which may be found where the files are now."""


class DatabaseUnavailable(DatabaseError):
    """Reading or writing the file failed in a way that this connection can't repair."""


class CommitOutcomeUnknown(DatabaseUnavailable):
    """A COMMIT failed after its pages may have reached the disk: whether the work is there shows
    when the file is opened anew."""


class DatabaseCorrupt(DatabaseUnavailable):
    """SQLite found the file malformed."""


class DatabaseReadOnly(DatabaseUnavailable):
    """The file, its directory or the connection admits no writes."""


class DatabaseConfigurationError(DatabaseError):
    """A setting of the connection did not take effect."""


class TransactionLost(DatabaseError):
    """SQLite rolled the whole transaction back; nothing of it was kept."""


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
    """A text or a row has more bytes than SQLite, or the caller, permits."""


class IntegrityError(DatabaseError):
    """A constraint refused the change."""


class UniqueViolation(IntegrityError):
    """A row with this key exists."""


class ForeignKeyViolation(IntegrityError):
    """The row refers to one that does not exist."""


class CheckViolation(IntegrityError):
    """A CHECK, NOT NULL or type constraint refused the value."""


class MigrationError(DatabaseError):
    """The schema can't be brought to the state that this version needs."""


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
"""What the driver raises and nobody else."""
STATEMENT_ERRORS = (*DRIVER_ERRORS, OverflowError, UnicodeEncodeError, MemoryError)
"""What running a statement can raise."""


def translate(error: Exception) -> DatabaseError:
    """The package's error for one of `STATEMENT_ERRORS`, chosen by SQLite's error name.

    Its message names the error and, for constraints, the constraint; SQLite puts no bound value
    into these. An error that is the package's own already comes back as it is, and one that is
    none of these is raised.
    """
    if isinstance(error, DatabaseError):
        return error
    if isinstance(error, (OverflowError, UnicodeEncodeError)):
        return InvalidValue("a value can't be stored: not a 64-bit integer or not valid Unicode")
    if isinstance(error, MemoryError):
        # The driver's form of SQLITE_NOMEM.
        return DatabaseUnavailable("SQLITE_NOMEM")
    if not isinstance(error, DRIVER_ERRORS):
        raise error
    name = _name(error)
    if name is None:
        # Raised by the driver itself, before SQLite: parameter counts and types, misuse.
        return StatementError(f"the driver refused the statement ({type(error).__name__})")
    kind = _BY_NAME.get(name)
    if kind is None:
        kind = next((k for prefix, k in _BY_PREFIX if name.startswith(prefix)), DatabaseError)
    if kind in (StatementError, DatabaseError):
        return kind(f"{name}: {error}")
    if issubclass(kind, IntegrityError):
        return kind(str(error))
    return kind(name)


def _name(error: Exception) -> str | None:
    name: str | None = getattr(error, "sqlite_errorname", None)
    if name == "unknown":
        # SQLite knows more names than the driver was made with.
        code: int = getattr(error, "sqlite_errorcode", 0)
        return _LATER_NAMES.get(code) or _PRIMARY_NAMES.get(code & 0xFF, name)
    return name


def concerns_connection(error: BaseException | None) -> bool:
    """Whether the connection that raised `error`, not just the statement, is of no more use."""
    if isinstance(error, STATEMENT_ERRORS):
        error = translate(error)
    # A write on a reading connection is the statement's fault.
    return isinstance(error, DatabaseUnavailable) and not isinstance(error, DatabaseReadOnly)
