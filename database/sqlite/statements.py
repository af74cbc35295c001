"""All ways of running statements on the driver's connection.

Each function raises `DatabaseError`, never an exception of the driver. No function leaves a cursor
open, because an open cursor prevents a reset of the write-ahead log.

A text that is not UTF-8, which only another program can have written, is returned as a
`MalformedText`.
"""

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import TypeVar

from database.engine import MalformedText, Params, Row, Value
from database.errors import (
    STATEMENT_ERRORS,
    CommitOutcomeUnknown,
    DatabaseError,
    DatabaseUnavailable,
    TransactionLost,
    is_malformed_text,
    translate,
)

T = TypeVar("T")


class MustRunAgain(BaseException):
    """A unit without a savepoint failed after it had changed something.

    That can't be undone alone: roll the transaction back, and run its units again with savepoints.

    Not an `Exception`, so that no unit takes it for a failure of its own.
    """


def fetch_all(connection: sqlite3.Connection, sql: str, params: Params) -> list[Row]:
    """All rows of the statement."""
    try:
        cursor = connection.execute(sql, params)
        try:
            rows: list[Row] = []
            try:
                rows.extend(cursor)
            except sqlite3.OperationalError as error:
                # The cursor still stands at the row, so the statement need not run again: it may be
                # one that writes.
                with _taking_any_text(connection, error):
                    rows.extend(cursor)
            return rows
        finally:
            cursor.close()
    except STATEMENT_ERRORS as error:
        raise translate(error) from None


def fetch_tuples(
    connection: sqlite3.Connection, sql: str, params: Params
) -> list[tuple[Value, ...]]:
    """All rows of the statement, without the names of their columns. Raises `MalformedTextFound`
    for a text that is not UTF-8."""
    try:
        cursor = connection.cursor()
        cursor.row_factory = None
        try:
            return cursor.execute(sql, params).fetchall()
        finally:
            cursor.close()
    except STATEMENT_ERRORS as error:
        raise translate(error) from None


def fetch_one(connection: sqlite3.Connection, sql: str, params: Params) -> Row | None:
    """The first row of the statement, or `None`."""
    try:
        cursor = connection.execute(sql, params)
        try:
            row: Row | None
            try:
                row = cursor.fetchone()
            except sqlite3.OperationalError as error:
                with _taking_any_text(connection, error):
                    row = cursor.fetchone()
            return row
        finally:
            cursor.close()
    except STATEMENT_ERRORS as error:
        raise translate(error) from None


def fetch_within(
    connection: sqlite3.Connection, sql: str, params: Params, most_bytes: int
) -> Row | None:
    """The first row of the statement, or `None`. Raises `TooLong` as soon as any text or row that
    the statement reads or makes has more than `most_bytes`."""
    before = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, most_bytes)
    try:
        return fetch_one(connection, sql, params)
    finally:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, before)


def fetch_while(
    connection: sqlite3.Connection,
    sql: str,
    params: Params,
    takes: Callable[[Row], bool],
    *,
    any_text: bool = True,
) -> None:
    """Call `takes` with each row of the statement until it returns False. Later rows are not
    read. Raises `MalformedTextFound` for a text that is not UTF-8, unless `any_text` is set."""
    try:
        cursor = connection.execute(sql, params)
        try:
            try:
                _pass_rows(cursor, takes)
            except sqlite3.OperationalError as error:
                if not any_text:
                    raise
                with _taking_any_text(connection, error):
                    _pass_rows(cursor, takes)
        finally:
            cursor.close()
    except STATEMENT_ERRORS as error:
        raise translate(error) from None


def _pass_rows(cursor: sqlite3.Cursor, takes: Callable[[Row], bool]) -> None:
    for row in cursor:
        if not takes(row):
            return


@contextlib.contextmanager
def _taking_any_text(
    connection: sqlite3.Connection, error: sqlite3.OperationalError
) -> Iterator[None]:
    """Read texts that are not UTF-8 as `MalformedText`, if `error` was raised for one; otherwise
    raises it again. Texts are decoded by a function of Python only meanwhile, which is slow."""
    if not is_malformed_text(error):
        raise error
    connection.text_factory = _decoded
    try:
        yield
    finally:
        connection.text_factory = str


def _decoded(stored: bytes) -> str:
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return MalformedText(stored)


def execute(connection: sqlite3.Connection, sql: str, params: Params) -> int:
    """Run a statement. Returns the number of rows that it changed."""
    try:
        cursor = connection.execute(sql, params)
        changed = cursor.rowcount
        cursor.close()
    except STATEMENT_ERRORS as error:
        raise translate(error) from None
    return max(changed, 0)


def insert(connection: sqlite3.Connection, sql: str, params: Params, *, rows: int) -> range:
    """Run an INSERT of `rows` rows. Returns their ids in order.

    Only one connection writes, so the ids that SQLite assigns in one statement are consecutive.
    """
    try:
        cursor = connection.execute(sql, params)
        last = cursor.lastrowid
        cursor.close()
    except STATEMENT_ERRORS as error:
        raise translate(error) from None
    assert last is not None  # noqa: S101 - an INSERT sets the last row's id
    return range(last - rows + 1, last + 1)


def execute_many(connection: sqlite3.Connection, sql: str, rows: Sequence[Params]) -> int:
    """Run a statement for all `rows`, atomically. Returns the total number of changed rows.

    If all parameters of the statement are in one `VALUES (?, …)`, it takes many rows at a time.
    Otherwise it runs once for each row. Must be called inside a transaction.
    """
    if len(rows) == 1:
        return execute(connection, sql, rows[0])
    around = _around_values(sql)
    if around is None:
        return atomically(connection, lambda raw: _execute_each(raw, sql, rows), "many")
    if 1 < len(rows) <= _ROWS_AT_ONCE:
        # A single statement is atomic without a savepoint.
        return _execute_wide(connection, around, rows)
    parts = [rows[at : at + _ROWS_AT_ONCE] for at in range(0, len(rows), _ROWS_AT_ONCE)]
    return atomically(
        connection, lambda raw: sum(_execute_wide(raw, around, part) for part in parts), "many"
    )


def _execute_each(connection: sqlite3.Connection, sql: str, rows: Sequence[Params]) -> int:
    try:
        cursor = connection.executemany(sql, rows)
        changed = cursor.rowcount
        cursor.close()
    except STATEMENT_ERRORS as error:
        raise translate(error) from None
    return max(changed, 0)


def _execute_wide(
    connection: sqlite3.Connection, around: tuple[str, str, str], rows: Sequence[Params]
) -> int:
    head, marks, tail = around
    sql = f"{head}{', '.join([marks] * len(rows))}{tail}"
    return execute(connection, sql, list(chain.from_iterable(rows)))


_ROWS_AT_ONCE = 16
"""The most rows of one statement, which is compiled and cached for each number of rows. Ten rows
take two thirds of the time of ten statements, and release the interpreter lock only once. More rows
would hardly be faster."""
_VALUES = re.compile(r"(?<=VALUES )\(\?(?:, \?)*\)")


@lru_cache(maxsize=256)
def _around_values(sql: str) -> tuple[str, str, str] | None:
    """The statement's text before, in and after the parameters of its VALUES; `None` without
    VALUES, or with parameters elsewhere."""
    found = _VALUES.search(sql)
    if found is None or found[0].count("?") != sql.count("?"):
        return None
    return sql[: found.start()], found[0], sql[found.end() :]


def control(connection: sqlite3.Connection, statement: str) -> None:
    """Run a statement without a result, such as BEGIN or SAVEPOINT."""
    try:
        connection.execute(statement).close()
    except STATEMENT_ERRORS as error:
        raise translate(error) from None


def atomically(
    connection: sqlite3.Connection, function: Callable[[sqlite3.Connection], T], savepoint: str
) -> T:
    """Call `function` inside a savepoint of the open transaction, and return its result.

    When it raises, its changes are undone. Raises `TransactionLost` when the transaction ended
    during the call.
    """
    control(connection, f"SAVEPOINT {savepoint}")
    try:
        result = function(connection)
        release(connection, savepoint)
    except BaseException:
        undo(connection, savepoint)
        raise
    return result


def attempt(connection: sqlite3.Connection, function: Callable[[sqlite3.Connection], T]) -> T:
    """The result of `function`, within the open transaction and without a savepoint.

    Raises its errors if it has changed nothing, else `MustRunAgain`; and `TransactionLost` when the
    transaction ended during the call.
    """
    before = changes_of(connection)
    try:
        result = function(connection)
    except BaseException:
        if connection.in_transaction and changes_of(connection) != before:
            raise MustRunAgain from None
        raise
    require_transaction(connection)
    return result


def changes_of(connection: sqlite3.Connection) -> int:
    """A number that every change of the connection alters, whether it is undone or not."""
    return connection.total_changes + getattr(connection, "uncounted", 0)


def release(connection: sqlite3.Connection, savepoint: str) -> None:
    """Keep the changes since the savepoint, as part of the surrounding transaction."""
    require_transaction(connection)
    control(connection, f"RELEASE {savepoint}")


def undo(connection: sqlite3.Connection, savepoint: str, *, keep: bool = False) -> None:
    """Undo the changes since the savepoint, and release it unless `keep` is set."""
    if not connection.in_transaction:
        return
    try:
        control(connection, f"ROLLBACK TO {savepoint}")
        if not keep:
            control(connection, f"RELEASE {savepoint}")
    except DatabaseError:
        # If these changes can't be undone, the whole transaction must not be committed.
        control(connection, "ROLLBACK")
        raise


def require_transaction(connection: sqlite3.Connection) -> None:
    """Raises `TransactionLost` when the connection is not, or no longer, inside a transaction."""
    if not connection.in_transaction:
        # SQLITE_FULL, IOERR, NOMEM and INTERRUPT can end the whole transaction. Later statements
        # would autocommit.
        raise TransactionLost("the transaction was rolled back by an earlier failure")


def commit(connection: sqlite3.Connection) -> None:
    """Commit the open transaction durably. On failure, roll it back and raise the error.

    Raises `CommitOutcomeUnknown` when it may be on the disk nevertheless.
    """
    try:
        control(connection, "COMMIT")
    except DatabaseError as error:
        # If this fails too, `in_transaction` shows it to the next user of the connection.
        with contextlib.suppress(DatabaseError):
            roll_back(connection)
        if isinstance(error, DatabaseUnavailable):
            raise CommitOutcomeUnknown(str(error)) from None
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    """Roll back the transaction, if there is one."""
    if connection.in_transaction:
        control(connection, "ROLLBACK")


def still_open(connection: sqlite3.Connection) -> bool:
    """Whether the connection is inside a transaction; False for a closed connection."""
    try:
        return connection.in_transaction
    except sqlite3.Error:
        return False
