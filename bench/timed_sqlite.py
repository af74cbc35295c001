"""A connection that measures the time spent in SQLite."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from database.sqlite.connection import ConnectionConfig, open_connection

T = TypeVar("T")


class TimedCursor(sqlite3.Cursor):
    """A cursor whose calls its connection times."""

    connection: "TimedConnection"

    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        self.connection.timed(super().execute, sql, parameters)
        return self

    def fetchone(self) -> Any:
        return self.connection.timed(super().fetchone)

    def fetchall(self) -> list[Any]:
        return self.connection.timed(super().fetchall)

    def close(self) -> None:
        self.connection.timed(super().close)


class TimedConnection(sqlite3.Connection):
    """A connection that adds the time of its cursors' calls to `seconds`."""

    seconds = 0.0

    def timed(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call the function, add its time, and return its result."""
        began = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            self.seconds += time.perf_counter() - began

    def execute(self, sql: str, parameters: Any = (), /) -> TimedCursor:
        return self.cursor(TimedCursor).execute(sql, parameters)


def timed_copy(database: Path, copy: Path) -> TimedConnection:
    """A timed connection to a copy of the database, with the settings of the engine."""
    source = open_connection(ConnectionConfig(database), read_only=True)
    try:
        target = sqlite3.connect(copy)
        source.backup(target)
        target.close()
    finally:
        source.close()
    # The first connection makes the settings that are stored in the file.
    open_connection(ConnectionConfig(copy), read_only=False).close()
    connection = sqlite3.connect(
        copy, factory=TimedConnection, isolation_level=None, cached_statements=256
    )
    for pragma in ("synchronous = FULL", "foreign_keys = ON", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {pragma}").close()
    connection.row_factory = sqlite3.Row
    return connection
