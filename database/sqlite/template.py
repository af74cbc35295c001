"""A whole database in memory, which replaces the content of an open one."""

import contextlib
import sqlite3
from pathlib import Path

from database.errors import DRIVER_ERRORS, translate
from database.sqlite.statements import control


class Template:
    """A copy of a database as it is when this is made. Any thread may use it, one at a time."""

    def __init__(self, path: Path) -> None:
        """Copy the database at `path`, which has no writer. Raises `DatabaseError`."""
        self._copy = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        try:
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as source:
                source.backup(self._copy)
        except DRIVER_ERRORS as error:
            self._copy.close()
            raise translate(error) from None

    def replace(self, connection: sqlite3.Connection) -> None:
        """Replace all that is in the database of `connection`, which is in no transaction.

        Readers in the middle of a statement see the earlier content to its end. All of it is one
        commit, which is not synced: the next one syncs it as well. Raises `DatabaseError`, and
        then nothing has changed.
        """
        [(synchronous,)] = connection.execute("PRAGMA synchronous").fetchall()
        control(connection, "PRAGMA synchronous = OFF")
        try:
            self._copy.backup(connection)
        except DRIVER_ERRORS as error:
            raise translate(error) from None
        finally:
            control(connection, f"PRAGMA synchronous = {int(synchronous)}")

    def close(self) -> None:
        """Free the memory."""
        self._copy.close()
