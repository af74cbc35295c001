"""Counting the commits that change tables, so that a cached answer is used only while it is valid.

All writes of a database go through one process, one commit at a time. A `TableVersion` counts each
commit that changes its tables twice: before the COMMIT and after it. An answer that was read while
the count stayed at one even number is valid until the count changes.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

from database.changes import Change, Kind, TableVersion

ANYTHING: Change = ("", "update")
"""Stands for unknown changes, and so for all of them."""
_ACTIONS: dict[int, Kind] = {
    sqlite3.SQLITE_INSERT: "insert",
    sqlite3.SQLITE_UPDATE: "update",
    sqlite3.SQLITE_DELETE: "delete",
}
_MAX_LEARNED = 1024
# Statements that change no row. For all others, SQLite reports the changes.
_HARMLESS = frozenset(
    {"SELECT", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA", "EXPLAIN"}
)
# Statements whose changes `total_changes` counts, and those that only delimit transactions.
_COUNTED = frozenset(
    {"INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "VALUES", *_HARMLESS} - {"PRAGMA"}
)
_INSERTING = frozenset({"INSERT", "REPLACE", "WITH"})


class TableVersions:
    """The versions of one database's tables."""

    def __init__(self) -> None:
        # Replaced and never modified, because the writer's thread may be iterating over it.
        self._all: frozenset[TableVersion] = frozenset()
        self._by_change: dict[Change, frozenset[TableVersion]] = {}

    def counting(
        self, changes: Iterable[Change], version: TableVersion | None = None
    ) -> TableVersion:
        """A version that counts the commits with any of `changes`: `version`, or a new one."""
        version = version or TableVersion()
        self._all |= {version}
        for change in changes:
            self._by_change[change] = self._by_change.get(change, _NONE) | {version}
        return version

    def forget(self) -> None:
        """Count no version any more. For the writer's caller, between two commits."""
        self._all = _NONE
        self._by_change = {}

    def committing(self, connection: sqlite3.Connection) -> AbstractContextManager[None]:
        """Wrap the COMMIT of the changes of `connection`, whether it succeeds or not."""
        return _counted(self._concerned(connection))

    def anything(self) -> AbstractContextManager[None]:
        """Wrap code that may commit changes to any table."""
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
_Learned: TypeAlias = tuple[frozenset[Change], bool]
"""What a statement may change, and whether it is an INSERT: that can use up ids of a table with
AUTOINCREMENT although it adds no row, and then `total_changes` stays as it was."""


class ObservedConnection(sqlite3.Connection):
    """A connection that records which tables its statements change, also by triggers and cascades.

    It includes changes that were rolled back, so it may report too many tables, but never too few.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._learned: dict[str, _Learned] = {}
        self._schema_may_change = False
        """Whether the open transaction has changed the schema, or may have."""
        self._changes: set[Change] = set()
        self.uncounted = 0
        """How often changes may have been made that `total_changes` does not count: to the schema,
        to settings of the file, and to the last id of a table by an INSERT that adds no row."""

    def take_changes(self) -> set[Change]:
        """The changes since the last call."""
        taken, self._changes = self._changes, set()
        return taken

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Like `sqlite3.Connection.execute`."""
        changes, inserts = self._learned.get(sql) or self._learn(sql, parameters)
        if changes:
            self._changes |= changes
        # Like sqlite3, but without calling this class's `cursor`, which is for other callers.
        cursor = _cursor(self).execute(sql, parameters)
        self.uncounted += inserts
        return cursor

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        """Like `sqlite3.Connection.executemany`."""
        rows = parameters if isinstance(parameters, list) else list(parameters)
        if not rows:
            return _cursor(self).executemany(sql, rows)
        changes, inserts = self._learned.get(sql) or self._learn(sql, rows[0])
        if changes:
            self._changes |= changes
        # Before it runs, because the rows in front of one that fails stay changed.
        self.uncounted += inserts
        return _cursor(self).executemany(sql, rows)

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        """Like `sqlite3.Connection.cursor`. The statements of such a cursor are not observed."""
        self._changes.add(ANYTHING)
        self.uncounted += 1
        return super().cursor(*arguments, **options)

    def executescript(self, _: str, /) -> sqlite3.Cursor:
        """Refused, because it commits without the changes being known."""
        raise sqlite3.ProgrammingError("executescript can't be used on an observed connection")

    def _learn(self, sql: str, parameters: Any) -> _Learned:
        if not self.in_transaction:
            self._schema_may_change = False
        words = sql.split(maxsplit=1)
        word = words[0].upper() if words else ""
        changes: frozenset[Change] = frozenset()
        if word and word not in _HARMLESS:
            try:
                changes = self._explain(sql, parameters)
            except sqlite3.Error:
                # The statement will probably fail in the same way. If not, its changes are unknown.
                self.uncounted += 1
                return frozenset({ANYTHING}), False
        if word not in _COUNTED:
            # Not kept, so that each run is noticed.
            self.uncounted += 1
            if word != "PRAGMA":
                # With another schema, statements may change other tables; after a rollback, those
                # from before.
                self._learned.clear()
                self._schema_may_change = True
            return changes, False
        inserts = word in _INSERTING and any(kind == "insert" for _, kind in changes)
        if not self._schema_may_change:
            if len(self._learned) >= _MAX_LEARNED:
                self._learned.clear()
            self._learned[sql] = changes, inserts
        return changes, inserts

    def _explain(self, sql: str, parameters: Any) -> frozenset[Change]:
        """The changes that the statement may make, as SQLite reports while it compiles it."""
        found: set[Change] = set()

        def authorize(action: int, table: str | None, *_: object) -> int:
            kind = _ACTIONS.get(action)
            if kind is not None and table is not None:
                found.add((table, kind))
            return sqlite3.SQLITE_OK

        self.set_authorizer(authorize)
        try:
            # EXPLAIN is compiled even if the driver has cached the statement.
            _cursor(self).execute(f"EXPLAIN {sql}", parameters).close()
        finally:
            self.set_authorizer(None)
        if "REPLACE" in sql.upper():
            # SQLite does not report the deletion of replaced rows.
            found |= {(table, "delete") for table, kind in found if kind == "insert"}
        return frozenset(found)
