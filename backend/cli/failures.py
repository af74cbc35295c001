"""Turns every failure into one line on standard error and an exit status."""

from collections.abc import Callable

from backend.crypto.keyring import KeyConfigurationError
from backend.errors import StrongroomError
from backend.observability.log import get_logger
from backend.runtime import StartRefused
from config.settings import SettingsError
from database.errors import (
    DatabaseBusy,
    DatabaseClosed,
    DatabaseConfigurationError,
    DatabaseCorrupt,
    DatabaseError,
    DatabaseFull,
    DatabaseReadOnly,
    DatabaseUnavailable,
    MigrationError,
    ProcessLockHeld,
)
from strongroom._commands.failures import (
    FAILURE,
    INTERRUPTED,
    WRONG_USE,
    CommandFailed,
    Interrupted,
    WrongUse,
    complain,
    ended_at_once,
    ended_by_signals,
    handled,
    interrupted_at_once,
    is_wrong_use,
)
from strongroom._commands.failures import guarded as guarded_with
from strongroom._commands.failures import sentence as known_sentence

__all__ = [
    "FAILURE",
    "INTERRUPTED",
    "WRONG_USE",
    "CommandFailed",
    "Interrupted",
    "WrongUse",
    "complain",
    "ended_at_once",
    "ended_by_signals",
    "guarded",
    "handled",
    "interrupted_at_once",
    "sentence",
    "tell",
]

logger = get_logger("strongroom.command")


def guarded(command: Callable[[], object]) -> int:
    """Run `command` and return its exit status. Raises nothing.

    Signals that end a process raise an exception in the command, so that it can clean up.
    """
    return guarded_with(command, tell)


def tell(error: Exception) -> int:
    """Write one line that explains the error. Returns the exit status."""
    complain(sentence(error) or _unexpected(error))
    return WRONG_USE if _is_wrong_use(error) else FAILURE


def sentence(error: BaseException) -> str | None:
    """A sentence that explains the error and says what to do; `None` for an unexpected error."""
    if isinstance(error, StrongroomError):
        return error.detail
    if isinstance(error, DatabaseError):
        return _database_sentence(error)
    if isinstance(error, SettingsError | StartRefused | KeyConfigurationError):
        return str(error)
    return known_sentence(error)


def _database_sentence(error: DatabaseError) -> str:
    match error:
        case ProcessLockHeld() | MigrationError() | DatabaseClosed():
            return str(error)
        case DatabaseConfigurationError():
            return f"SQLite refused a setting: {error}"
        case DatabaseBusy():
            return "the database is busy: try again in a moment"
        case DatabaseFull():
            return "the disk is full: free some space, and run the command again"
        case DatabaseCorrupt():
            return (
                f"the database file is damaged ({error}): run strongroom verify for details, and "
                "restore a backup"
            )
        case DatabaseReadOnly():
            return (
                f"the database can't be written ({error}): the data directory and its files must "
                "belong to the user who runs this command"
            )
        case DatabaseUnavailable() if str(error).startswith("SQLITE_"):
            return (
                f"the database can't be read or written ({error}): check the disk and the "
                "permissions of the data directory"
            )
    return str(error)


def _is_wrong_use(error: Exception) -> bool:
    # The message names a setting by its flag if the flag gave the value.
    by_flag = isinstance(error, SettingsError) and str(error).startswith("--")
    return by_flag or is_wrong_use(error)


def _unexpected(error: Exception) -> str:
    logger.debug("unexpected error", exc_info=error)
    return (
        f"unexpected {type(error).__name__}: run with STRONGROOM_LOG_LEVEL=DEBUG for the traceback"
    )
