"""A connection that adds up how long it is in SQLite."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from database.sqlite.connection import ConnectionConfig, open_connection

T = TypeVar("T")


class TimedCursor(sqlite3.Cursor):
    """A cursor whose connection takes the time of its calls."""

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
    """A connection that knows how many `seconds` its cursors have worked."""

    seconds = 0.0

    def timed(self, function: Callable[..., T], *arguments: Any) -> T:
        """What the function returns; its time is added."""
        began = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            self.seconds += time.perf_counter() - began

    def execute(self, sql: str, parameters: Any = (), /) -> TimedCursor:
        return self.cursor(TimedCursor).execute(sql, parameters)


def timed_copy(database: Path, copy: Path) -> TimedConnection:
    """A timed connection on a copy of the database, with the settings of the engine's own."""
    source = open_connection(ConnectionConfig(database), read_only=True)
    try:
        target = sqlite3.connect(copy)
        source.backup(target)
        target.close()
    finally:
        source.close()
    # The first one makes the settings that stay with the file.
    open_connection(ConnectionConfig(copy), read_only=False).close()
    connection = sqlite3.connect(
        copy, factory=TimedConnection, isolation_level=None, cached_statements=256
    )
    for pragma in ("synchronous = FULL", "foreign_keys = ON", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {pragma}").close()
    connection.row_factory = sqlite3.Row
    return connection
