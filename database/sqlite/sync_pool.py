"""Connections for synchronous code: commands, migrations, scripts, tests."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator

from database.errors import DatabaseBusy, DatabaseClosed, concerns_connection
from database.sqlite.connection import ConnectionConfig, open_connection
from database.sqlite.statements import commit, control, require_transaction
from database.sqlite.write_lock import WriteLock


class ConnectionPool:
    """Lends each connection to one thread at a time, and keeps idle connections for reuse.

    Transactions of all threads and the asynchronous writer's batches share `write_lock`, so that
    no two connections of this process write or checkpoint at once.
    """

    def __init__(self, config: ConnectionConfig, write_lock: WriteLock) -> None:
        self._config = config
        self._write_lock = write_lock
        self._idle: dict[bool, list[sqlite3.Connection]] = {False: [], True: []}
        self._in_use = 0
        self._reading = 0
        self._guard = threading.Lock()
        self._closed = False

    @contextlib.contextmanager
    def connection(self, *, read_only: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection for the block, in autocommit mode; a transaction left open is rolled back.

        If others may write at the same time, write in `transaction()`. The driver's errors are not
        translated; `DatabaseManager` does that. Raises `DatabaseClosed` after `close()`.
        """
        connection = self._take(read_only)
        keep = False
        try:
            yield connection
            keep = True
        except Exception as error:
            keep = not concerns_connection(error)
            raise
        finally:
            self._give_back(connection, read_only, keep=keep)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A writing transaction: committed when the block ends, rolled back when it raises.

        Raises `DatabaseBusy` when it waits too long for other writers, and another `DatabaseError`
        when it can't begin or commit. Don't catch an error that may have ended the whole
        transaction, such as SQLITE_FULL, inside the block: later statements would autocommit.
        """
        if not self._write_lock.acquire(self._config.queue_timeout):
            raise DatabaseBusy("other programs have been writing to the database for too long")
        try:
            with self.connection() as connection:
                control(connection, "BEGIN IMMEDIATE")
                yield connection
                require_transaction(connection)
                with self._write_lock.committing(connection):
                    commit(connection)
        finally:
            self._write_lock.release()

    def open(self) -> None:
        """Lend connections again after `close`. A new pool is open."""
        with self._guard:
            self._closed = False

    def close(self) -> None:
        """Close idle connections now, and lent ones when they are returned."""
        with self._guard:
            self._closed = True
            idle = [connection for some in self._idle.values() for connection in some]
            self._idle = {False: [], True: []}
        for connection in idle:
            connection.close()

    @property
    def in_use(self) -> int:
        """The number of lent connections."""
        return self._in_use

    @property
    def reading(self) -> int:
        """The number of lent connections that only read."""
        return self._reading

    def _take(self, read_only: bool) -> sqlite3.Connection:
        with self._guard:
            if self._closed:
                raise DatabaseClosed("the database is closed")
            self._in_use += 1
            self._reading += read_only
            connection = self._idle[read_only].pop() if self._idle[read_only] else None
        if connection is not None:
            return connection
        try:
            return open_connection(self._config, read_only=read_only)
        except BaseException:
            with self._guard:
                self._in_use -= 1
                self._reading -= read_only
            raise

    def _give_back(self, connection: sqlite3.Connection, read_only: bool, *, keep: bool) -> None:
        if keep:
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK").close()
            except sqlite3.Error:
                # The block's own error is the one to report. This connection is not used again.
                keep = False
        with self._guard:
            self._in_use -= 1
            self._reading -= read_only
            keep = keep and not self._closed
            if keep:
                self._idle[read_only].append(connection)
        if not keep:
            connection.close()
