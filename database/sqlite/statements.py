"""Running statements on the driver's connection, for every way of running one.

Each function raises `DatabaseError` and nothing of the driver's. A cursor never outlives its
function: one left open keeps the write-ahead log from being reset.
"""

import contextlib
import re
import sqlite3
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from typing import TypeVar

from database.engine import Params, Row
from database.errors import (
    STATEMENT_ERRORS,
    CommitOutcomeUnknown,
    DatabaseError,
    DatabaseUnavailable,
    TransactionLost,
    translate,
)

T = TypeVar("T")


def fetch_all(connection: sqlite3.Connection, sql: str, params: Params) -> list[Row]:
    """All rows of the statement."""
    try:
        cursor = connection.execute(sql, params)
        try:
            return cursor.fetchall()
        finally:
            cursor.close()
    except STATEMENT_ERRORS as error:
        raise translate(error) from None


def fetch_one(connection: sqlite3.Connection, sql: str, params: Params) -> Row | None:
    """The first row of the statement, or `None`."""
    try:
        cursor = connection.execute(sql, params)
        try:
            row: Row | None = cursor.fetchone()
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
    connection: sqlite3.Connection, sql: str, params: Params, takes: Callable[[Row], bool]
) -> None:
    """Give the statement's rows to `takes`, one after the other, until it refuses one: what comes
    after that one is not read."""
    try:
        cursor = connection.execute(sql, params)
        try:
            for row in cursor:
                if not takes(row):
                    return
        finally:
            cursor.close()
    except STATEMENT_ERRORS as error:
        raise translate(error) from None


def execute(connection: sqlite3.Connection, sql: str, params: Params) -> int:
    """The number of rows that the statement changed."""
    try:
        cursor = connection.execute(sql, params)
        changed = cursor.rowcount
        cursor.close()
    except STATEMENT_ERRORS as error:
        raise translate(error) from None
    return max(changed, 0)


def insert(connection: sqlite3.Connection, sql: str, params: Params, *, rows: int) -> range:
    """The ids of the rows that the statement inserted, as many as `rows`, in their order.

    One connection writes, so that ids which SQLite gives within a statement follow one another.
    """
    try:
        cursor = connection.execute(sql, params)
        last = cursor.lastrowid
        cursor.close()
    except STATEMENT_ERRORS as error:
        raise translate(error) from None
    assert last is not None  # noqa: S101 - what inserted rows has the last one's id
    return range(last - rows + 1, last + 1)


def execute_many(connection: sqlite3.Connection, sql: str, rows: Sequence[Params]) -> int:
    """The number of rows that the statement changed over all `rows`; all of them or none.

    A statement that has its parameters in one `VALUES (?, …)`, and no others, takes many rows at
    a time there; any other is run for each. Only inside a transaction.
    """
    if len(rows) == 1:
        return execute(connection, sql, rows[0])
    around = _around_values(sql)
    if around is None:
        return atomically(connection, lambda raw: _execute_each(raw, sql, rows), "many")
    if 1 < len(rows) <= _ROWS_AT_ONCE:
        # One statement is atomic by itself.
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
"""Rows of one statement, which is compiled and kept for each number of rows. Ten rows take two
thirds of the time of ten statements, and hand over the interpreter lock once; more in one would
hardly be faster."""
_VALUES = re.compile(r"(?<=VALUES )\(\?(?:, \?)*\)")


@lru_cache(maxsize=256)
def _around_values(sql: str) -> tuple[str, str, str] | None:
    """What is before the parameters of the statement's VALUES, these, and what is behind them;
    `None` for one that has none, or further parameters."""
    found = _VALUES.search(sql)
    if found is None or found[0].count("?") != sql.count("?"):
        return None
    return sql[: found.start()], found[0], sql[found.end() :]


def control(connection: sqlite3.Connection, statement: str) -> None:
    """Run a statement that returns nothing: BEGIN, SAVEPOINT and their like."""
    try:
        connection.execute(statement).close()
    except STATEMENT_ERRORS as error:
        raise translate(error) from None


def atomically(
    connection: sqlite3.Connection, function: Callable[[sqlite3.Connection], T], savepoint: str
) -> T:
    """What `function` returns, called inside a savepoint of the open transaction.

    When it raises, what it did is undone. Raises `TransactionLost` when the transaction has ended
    under it.
    """
    control(connection, f"SAVEPOINT {savepoint}")
    try:
        result = function(connection)
        release(connection, savepoint)
    except BaseException:
        undo(connection, savepoint)
        raise
    return result


def release(connection: sqlite3.Connection, savepoint: str) -> None:
    """Keep what was done since the savepoint, as part of what surrounds it."""
    require_transaction(connection)
    control(connection, f"RELEASE {savepoint}")


def undo(connection: sqlite3.Connection, savepoint: str, *, keep: bool = False) -> None:
    """Undo what was done since the savepoint, and drop it unless it is to be kept."""
    if not connection.in_transaction:
        return
    try:
        control(connection, f"ROLLBACK TO {savepoint}")
        if not keep:
            control(connection, f"RELEASE {savepoint}")
    except DatabaseError:
        # What can't be undone alone must not be committed with the rest either.
        control(connection, "ROLLBACK")
        raise


def require_transaction(connection: sqlite3.Connection) -> None:
    """Raises `TransactionLost` when the connection is not inside a transaction (any more)."""
    if not connection.in_transaction:
        # SQLITE_FULL, IOERR, NOMEM and INTERRUPT can end the whole transaction; what follows
        # would commit by itself.
        raise TransactionLost("the transaction was rolled back by an earlier failure")


def commit(connection: sqlite3.Connection) -> None:
    """Make the open transaction durable, or roll it back and raise why.

    Raises `CommitOutcomeUnknown` when it may be on the disk all the same.
    """
    try:
        control(connection, "COMMIT")
    except DatabaseError as error:
        # Should this fail too, `in_transaction` shows it to whoever uses the connection next.
        with contextlib.suppress(DatabaseError):
            roll_back(connection)
        if isinstance(error, DatabaseUnavailable):
            raise CommitOutcomeUnknown(str(error)) from None
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    """End the transaction, if there is one, without keeping anything of it."""
    if connection.in_transaction:
        control(connection, "ROLLBACK")


def still_open(connection: sqlite3.Connection) -> bool:
    """Whether the connection is inside a transaction; one that was closed is not."""
    try:
        return connection.in_transaction
    except sqlite3.Error:
        return False
