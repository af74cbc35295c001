"""What goes wrong, as one line on standard error and an exit status."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from backend.cli.terminal import NotWritten, drop_unwritable_output, printable
from backend.errors import StrongroomError
from backend.log import get_logger
from backend.runtime import StartRefused
from backend.services.keyring import KeyConfigurationError
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

FAILURE, WRONG_USE, INTERRUPTED = 1, 2, 130

logger = get_logger("strongroom.command")


class CommandFailed(Exception):
    """The command could not do its work. The message is one line that says what to do."""


class WrongUse(Exception):
    """The arguments contradict one another. The message is one line that says what to do."""


def guarded(command: Callable[[], object]) -> int:
    """Run `command`; its exit status. Nothing but `SystemExit` is raised."""
    try:
        status = command()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has seen enough. What is left of it must not fail at the exit.
        drop_unwritable_output()
        return FAILURE
    except KeyboardInterrupt:
        return INTERRUPTED
    except typer.TyperException as error:
        complain(_usage(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort: no traceback for the user
        complain(sentence(error) or _unexpected(error))
        drop_unwritable_output()
        return WRONG_USE if _is_wrong_use(error) else FAILURE
    return status if isinstance(status, int) else 0


def complain(message: str) -> None:
    """Write one line to standard error, whatever the message holds."""
    line = " ".join(message.split())
    print(f"strongroom: {printable(line)}", file=sys.stderr)


def sentence(error: BaseException) -> str | None:
    """What the error means and what to do; None for one that nobody expected."""
    if isinstance(error, StrongroomError):
        return error.detail
    if isinstance(error, DatabaseError):
        return _database_sentence(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'reading or writing'}: {error.strerror}"
    known = (
        CommandFailed,
        WrongUse,
        NotWritten,
        SettingsError,
        StartRefused,
        KeyConfigurationError,
    )
    return str(error) if isinstance(error, known) else None


def _database_sentence(error: DatabaseError) -> str:
    match error:
        case ProcessLockHeld() | MigrationError() | DatabaseClosed():
            return str(error)
        case DatabaseConfigurationError():
            return f"SQLite did not take a setting: {error}"
        case DatabaseBusy():
            return "the database is busy: try again in a moment"
        case DatabaseFull():
            return "the disk is full: make room, and run the command again"
        case DatabaseCorrupt():
            return (
                f"the database file is damaged ({error}): strongroom verify tells more; "
                "restore a backup"
            )
        case DatabaseReadOnly():
            return (
                f"the database can't be written ({error}): the data directory and its files must "
                "belong to the user that runs this command"
            )
        case DatabaseUnavailable() if str(error).startswith("SQLITE_"):
            return (
                f"the database can't be read or written ({error}): look after the disk and the "
                "permissions of the data directory"
            )
    return str(error)


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "strongroom"
    return f"{error.format_message().rstrip('.')}: see {command} --help"


def _is_wrong_use(error: Exception) -> bool:
    # A setting that a flag gave is named by its flag.
    by_flag = isinstance(error, SettingsError) and str(error).startswith("--")
    return by_flag or isinstance(error, WrongUse)


def _unexpected(error: Exception) -> str:
    logger.debug("unexpected error", exc_info=error)
    return (
        f"unexpected {type(error).__name__}: run with STRONGROOM_LOG_LEVEL=DEBUG for the traceback"
    )


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block like an exception, so that what it has begun is cleaned up."""
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
