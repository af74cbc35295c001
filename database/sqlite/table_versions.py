"""What commits change: so that an answer can be kept exactly as long as it is true.

Every write of a database goes through one process, one commit at a time. A `TableVersion`
counts the commits that change some tables, twice: before the COMMIT and after it. An answer that
was read while the count stood still on an even number shows what is there until it moves.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from database.changes import Change, Kind, TableVersion

ANYTHING: Change = ("", "update")
"""Stands for what can't be known."""
_ACTIONS: dict[int, Kind] = {
    sqlite3.SQLITE_INSERT: "insert",
    sqlite3.SQLITE_UPDATE: "update",
    sqlite3.SQLITE_DELETE: "delete",
}
_MAX_LEARNED = 1024
# Statements that change no row; whatever else there is, SQLite is asked about.
_HARMLESS = frozenset(
    {"SELECT", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA", "EXPLAIN"}
)


class TableVersions:
    """The versions of one database's tables."""

    def __init__(self) -> None:
        # Replaced, never changed: the writer's thread goes through them meanwhile.
        self._all: frozenset[TableVersion] = frozenset()
        self._by_change: dict[Change, frozenset[TableVersion]] = {}

    def counting(self, changes: Iterable[Change]) -> TableVersion:
        """A new version that counts the commits with any of `changes`."""
        version = TableVersion()
        self._all |= {version}
        for change in changes:
            self._by_change[change] = self._by_change.get(change, _NONE) | {version}
        return version

    def committing(self, connection: sqlite3.Connection) -> AbstractContextManager[None]:
        """Around the COMMIT of what `connection` has changed, whether it succeeds or not."""
        return _counted(self._concerned(connection))

    def anything(self) -> AbstractContextManager[None]:
        """Around what may commit changes to whatever it likes."""
        return _counted(self._all)

    def _concerned(self, connection: sqlite3.Connection) -> Collection[TableVersion]:
        if not isinstance(connection, ObservedConnection):
            return self._all
        concerned: set[TableVersion] = set()
        changes = connection.take_changes()
        if ANYTHING in changes:
            return self._all
        for change in changes:
            concerned |= self._by_change.get(change, _NONE)
        return concerned


_NONE: frozenset[TableVersion] = frozenset()


@contextmanager
def _counted(versions: Collection[TableVersion]) -> Iterator[None]:
    for version in versions:
        version.step()
    try:
        yield
    finally:
        for version in versions:
            version.step()


_cursor = sqlite3.Connection.cursor


class ObservedConnection(sqlite3.Connection):
    """A connection that knows which tables its statements change, by triggers and cascades too.

    It counts what was undone as well, so that it may name too much and never too little.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._learned: dict[str, frozenset[Change]] = {}
        self._changes: set[Change] = set()

    def take_changes(self) -> set[Change]:
        """What was changed since the last call."""
        taken, self._changes = self._changes, set()
        return taken

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """What sqlite3 does."""
        changes = self._learned.get(sql)
        if changes is None:
            changes = self._learn(sql, parameters)
        if changes:
            self._changes |= changes
        # As sqlite3 does it, but for looking up `cursor`, which is for others.
        return _cursor(self).execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        """What sqlite3 does."""
        rows = parameters if isinstance(parameters, list) else list(parameters)
        changes = self._learned.get(sql)
        if changes is None and rows:
            changes = self._learn(sql, rows[0])
        if changes:
            self._changes |= changes
        return _cursor(self).executemany(sql, rows)

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        """What sqlite3 does. What a cursor does that is not the connection's own is not known."""
        self._changes.add(ANYTHING)
        return super().cursor(*arguments, **options)

    def executescript(self, _: str, /) -> sqlite3.Cursor:
        """Refused: it commits, and nobody would know what."""
        raise sqlite3.ProgrammingError("executescript can't be used on an observed connection")

    def _learn(self, sql: str, parameters: Any) -> frozenset[Change]:
        words = sql.split(maxsplit=1)
        if not words or words[0].upper() in _HARMLESS:
            changes: frozenset[Change] = frozenset()
        else:
            try:
                changes = self._explain(sql, parameters)
            except sqlite3.Error:
                # It will fail in the same way, unless there is a reason that nobody knows.
                return frozenset({ANYTHING})
        if len(self._learned) >= _MAX_LEARNED:
            self._learned.clear()
        self._learned[sql] = changes
        return changes

    def _explain(self, sql: str, parameters: Any) -> frozenset[Change]:
        """What the statement may change, as SQLite says when it compiles it."""
        found: set[Change] = set()

        def authorize(action: int, table: str | None, *_: object) -> int:
            kind = _ACTIONS.get(action)
            if kind is not None and table is not None:
                found.add((table, kind))
            return sqlite3.SQLITE_OK

        self.set_authorizer(authorize)
        try:
            # Compiled for itself, whatever the driver's cache has of the statement.
            _cursor(self).execute(f"EXPLAIN {sql}", parameters).close()
        finally:
            self.set_authorizer(None)
        if "REPLACE" in sql.upper():
            # SQLite does not say that the rows which are replaced are deleted.
            found |= {(table, "delete") for table, kind in found if kind == "insert"}
        return frozenset(found)
