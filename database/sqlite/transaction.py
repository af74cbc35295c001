"""The transaction objects for blocks: on a database thread, or with one hop for each statement."""

import logging
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from database.engine import Params, Row, Transaction, WriteEntries, unit_of_work
from database.errors import DatabaseError, TransactionLost, UnitOfWorkError
from database.sqlite.connection import HopConnection
from database.sqlite.dialect import SQLITE
from database.sqlite.journal import Journal
from database.sqlite.statements import (
    MustRunAgain,
    atomically,
    attempt,
    changes_of,
    control,
    execute,
    execute_many,
    fetch_all,
    fetch_one,
    fetch_while,
    fetch_within,
    insert,
    release,
    require_transaction,
    undo,
)

logger = logging.getLogger("strongroom.database")

T = TypeVar("T")
Statement = Callable[[sqlite3.Connection, str, Any], T]
Work = Callable[[], Coroutine[Any, Any, T]]
"""Makes the coroutine of a unit of work. It is called once for each run."""


_MOST_GATHERED = 128
"""The number of gathered rows that are written at once, however many more units follow."""


class InlineTransaction:
    """A transaction on the current thread. Its coroutines never suspend."""

    __slots__ = ("_connection", "_journal", "_time", "_unit")

    dialect = SQLITE

    def __init__(self, connection: sqlite3.Connection, unit: "_Unit | None" = None) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._unit = unit
        self._journal = unit.journal if unit is not None else None
        self._time: str | None = None

    async def fetch_all(self, sql: str, params: Params = ()) -> list[Row]:
        return self.call(fetch_all, sql, params)

    async def fetch_one(self, sql: str, params: Params = ()) -> Row | None:
        return self.call(fetch_one, sql, params)

    async def fetch_within(self, sql: str, params: Params, most_bytes: int) -> Row | None:
        return self.call(partial(fetch_within, most_bytes=most_bytes), sql, params)

    async def fetch_while(self, sql: str, params: Params, takes: Callable[[Row], bool]) -> None:
        self.call(partial(fetch_while, takes=takes), sql, params)

    async def execute(self, sql: str, params: Params = ()) -> int:
        return self.call(execute, sql, params)

    async def execute_many(self, sql: str, rows: Sequence[Params]) -> int:
        return self.call(execute_many, sql, rows)

    async def insert(self, sql: str, params: Params, rows: int) -> Sequence[int]:
        return self.call(partial(insert, rows=rows), sql, params)

    async def execute_returning(self, sql: str, params: Params = ()) -> list[Row]:
        return self.call(fetch_all, sql, params)

    async def append(self, entries: Sequence[Any]) -> None:
        if self._connection is None:
            raise UnitOfWorkError("a transaction can't be used after its block")
        if self._journal is None:
            raise UnitOfWorkError("only a unit of work that writes can append entries")
        self._journal.append(entries)

    async def gather(self, write: WriteEntries, rows: Sequence[Any]) -> None:
        unit = self._unit
        if self._connection is None or unit is None or unit.journal is None or unit.has_savepoint:
            await write(self, rows)
            return
        if not unit.journal.takes_gathered(write):
            unit.write_gathered()
        if unit.journal.gather(write, rows) < _MOST_GATHERED:
            unit.has_gathered = True
        else:
            # Within the time of this unit, after which the batch looks at the clock.
            unit.write_gathered()

    def time(self, read: Callable[[], str]) -> str:
        if self._time is None:
            self._time = read()
        return self._time

    def waiting_entries(self) -> Sequence[Any]:
        return self._journal.entries if self._journal is not None else ()

    def call(self, statement: Statement[T], sql: str, argument: Any) -> T:
        """The result of the statement. Raises `DatabaseError`, and `TransactionLost` when an
        earlier statement has ended the transaction."""
        connection = self._connection
        if connection is None:
            raise UnitOfWorkError("a transaction can't be used after its block")
        if not connection.in_transaction:
            require_transaction(connection)
        unit = self._unit
        if unit is not None and unit.has_gathered:
            unit.write_gathered()
        return statement(connection, sql, argument)

    def end(self) -> None:
        """Refuse later statements."""
        self._connection = None


class HoppingTransaction:
    """A transaction that hops to the connection's thread for each statement."""

    __slots__ = ("_connection", "_journal", "_time")

    dialect = SQLITE

    def __init__(self, connection: HopConnection, journal: Journal) -> None:
        self._connection: HopConnection | None = connection
        self._journal = journal
        self._time: str | None = None

    async def fetch_all(self, sql: str, params: Params = ()) -> list[Row]:
        return await self._call(fetch_all, sql, params)

    async def fetch_one(self, sql: str, params: Params = ()) -> Row | None:
        return await self._call(fetch_one, sql, params)

    async def fetch_within(self, sql: str, params: Params, most_bytes: int) -> Row | None:
        return await self._call(partial(fetch_within, most_bytes=most_bytes), sql, params)

    async def fetch_while(self, sql: str, params: Params, takes: Callable[[Row], bool]) -> None:
        await self._call(partial(fetch_while, takes=takes), sql, params)

    async def execute(self, sql: str, params: Params = ()) -> int:
        return await self._call(execute, sql, params)

    async def execute_many(self, sql: str, rows: Sequence[Params]) -> int:
        return await self._call(execute_many, sql, rows)

    async def insert(self, sql: str, params: Params, rows: int) -> Sequence[int]:
        return await self._call(partial(insert, rows=rows), sql, params)

    async def execute_returning(self, sql: str, params: Params = ()) -> list[Row]:
        return await self._call(fetch_all, sql, params)

    async def append(self, entries: Sequence[Any]) -> None:
        if self._connection is None:
            raise UnitOfWorkError("a transaction can't be used after its block")
        self._journal.append(entries)

    async def gather(self, write: WriteEntries, rows: Sequence[Any]) -> None:
        await write(self, rows)

    def time(self, read: Callable[[], str]) -> str:
        if self._time is None:
            self._time = read()
        return self._time

    def waiting_entries(self) -> Sequence[Any]:
        return self._journal.entries

    async def _call(self, statement: Statement[T], sql: str, argument: Any) -> T:
        if self._connection is None:
            raise UnitOfWorkError("a transaction can't be used after its block")
        return await self._connection.run(
            lambda raw: InlineTransaction(raw).call(statement, sql, argument)
        )

    def end(self) -> None:
        """Refuse later statements."""
        self._connection = None


class _Unit:
    """The unit of work that runs on this thread."""

    __slots__ = ("connection", "has_gathered", "has_savepoint", "is_spoilt", "journal", "owner")

    def __init__(
        self,
        connection: sqlite3.Connection,
        owner: object,
        journal: Journal | None,
        has_savepoint: bool,
    ) -> None:
        self.connection = connection
        self.owner = owner
        self.journal = journal
        self.has_savepoint = has_savepoint
        self.is_spoilt = False
        """Whether the unit has changes that should have been undone, or lost what others gathered:
        whatever it returns or raises, it has to run again."""
        self.has_gathered = False
        """Whether the unit has gathered rows that may still have to be written."""

    def write_gathered(self) -> None:
        """Write the gathered rows before the unit's next statement, which may read them. Raises
        `MustRunAgain` when they are refused, because that may be the fault of an earlier unit,
        whose rows are gone now."""
        self.has_gathered = False
        if self.journal is None:
            return
        try:
            write_gathered(self.journal, self.connection)
        except BaseException as error:
            self.is_spoilt = True
            raise MustRunAgain from error


class unit_transaction:  # noqa: N801 - used like a function; a generator takes three times as long
    """The transaction of the unit of work that the caller runs in.

    The block is atomic on its own: when it raises, its changes are undone, and the unit may catch
    the error outside the block and continue. Raises `UnitOfWorkError` outside a unit and in a unit
    of another `owner`, and `TransactionLost` when an earlier block has ended the unit's
    transaction.
    """

    __slots__ = ("_changes", "_mark", "_owner", "_transaction", "_unit")

    def __init__(self, owner: object = None) -> None:
        self._owner = owner

    async def __aenter__(self) -> Transaction:
        unit, owner = unit_of_work.get(), self._owner
        if not isinstance(unit, _Unit):
            raise UnitOfWorkError("there is no unit of work here")
        if owner is not None and unit.owner is not None and owner is not unit.owner:
            raise UnitOfWorkError("a unit of work can't use another database")
        if unit.is_spoilt:
            raise MustRunAgain
        connection, journal = unit.connection, unit.journal
        # Outside a transaction, a savepoint would begin one, and its release would commit.
        require_transaction(connection)
        if unit.has_savepoint:
            control(connection, "SAVEPOINT block")
        else:
            self._changes = changes_of(connection)
        self._unit = unit
        self._mark = journal.mark() if journal is not None else None
        self._transaction = InlineTransaction(connection, unit)
        return self._transaction

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        unit = self._unit
        try:
            if kind is not None:
                self._undo(unit)
            elif unit.has_savepoint:
                try:
                    release(unit.connection, "block")
                except BaseException:
                    self._undo(unit)
                    raise
        finally:
            self._transaction.end()

    def _undo(self, unit: _Unit) -> None:
        if unit.journal is not None and self._mark is not None:
            unit.journal.cut(self._mark)
        if unit.has_savepoint:
            undo(unit.connection, "block")
        elif unit.connection.in_transaction and changes_of(unit.connection) != self._changes:
            unit.is_spoilt = True


def drive(
    work: Work[T],
    connection: sqlite3.Connection,
    owner: object = None,
    journal: Journal | None = None,
    *,
    savepoint: bool = True,
) -> T:
    """Run a unit of work to its end on the calling thread, within the open transaction.

    `owner` identifies the database: the unit can't use transactions of another one. The unit is
    atomic: when it raises, its changes are undone, and its entries dropped from `journal`. Without
    a journal it can't append entries. Raises the errors of the work, `UnitOfWorkError` when it
    awaits anything but its statements, and `TransactionLost` when it continued after an error that
    ended the transaction. Without `savepoint` it is faster, but raises `MustRunAgain` when there is
    something to undo.
    """
    mark = journal.mark() if journal is not None else None
    unit = _Unit(connection, owner, journal, savepoint)
    try:
        if savepoint:
            return atomically(connection, partial(_run, work, unit), "unit")
        return attempt(connection, partial(_run, work, unit))
    except BaseException:
        if journal is not None and mark is not None:
            journal.cut(mark)
        raise


def _run(work: Work[T], unit: _Unit, _: sqlite3.Connection) -> T:
    token = unit_of_work.set(unit)
    try:
        result = _run_to_its_end(work())
    except BaseException:
        if unit.is_spoilt and unit.connection.in_transaction:
            raise MustRunAgain from None
        raise
    finally:
        unit_of_work.reset(token)
    if unit.is_spoilt:
        raise MustRunAgain
    return result


def write_gathered(journal: Journal, connection: sqlite3.Connection) -> None:
    """Write the gathered rows of the journal. Raises what their function raises, and
    `TransactionLost` when it has ended the transaction; the rows are gone then."""
    write, rows = journal.take_gathered()
    if not rows or write is None:
        return
    transaction = InlineTransaction(connection)
    try:
        _run_to_its_end(write(transaction, rows))
        # Also if the function swallowed the error, because later statements would autocommit.
        require_transaction(connection)
    finally:
        transaction.end()


def write_entries(journal: Journal, connection: sqlite3.Connection) -> None:
    """Write all entries of the journal, and remove them from it. Raises `DatabaseError`; roll the
    transaction back then."""
    entries, write = journal.take(), journal.write_entries
    if not entries or write is None:
        return
    transaction = InlineTransaction(connection)
    try:
        _run_to_its_end(write(transaction, entries))
        journal.written()
    except DatabaseError:
        raise
    except Exception as error:
        # A fault of the function. It must fail this transaction only, and not the writer.
        logger.exception("the entries of a transaction could not be written")
        raise TransactionLost(
            f"the entries of the transaction could not be written: {type(error).__name__}"
        ) from None
    finally:
        transaction.end()


def _run_to_its_end(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast(T, stop.value)
    except RuntimeError as error:
        if error.args in _OUTSIDE_A_LOOP:
            raise _awaited_something_else() from error
        raise
    try:
        coroutine.close()
    except Exception as error:
        # The coroutine continued instead of ending, or its clean-up failed.
        raise _awaited_something_else() from error
    raise _awaited_something_else()


_OUTSIDE_A_LOOP = (
    ("no running event loop",),
    # A future that an earlier run of the unit awaited.
    ("await wasn't used with future",),
)


def _awaited_something_else() -> UnitOfWorkError:
    return UnitOfWorkError(
        "a unit of work may await only its transaction and repositories bound to it"
    )
