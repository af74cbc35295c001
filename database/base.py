"""The base classes of repositories, which store and return the rows of a table as models."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

from database.connection_manager import DatabaseManager, get_database_manager
from database.engine import Executor, Row, Value
from database.errors import InvalidValue
from database.json_texts import write_json


class Model(Protocol):
    """The interface of a repository's model class. It may have `of_row`, which also accepts rows
    that another program has damaged."""

    @classmethod
    def model_validate(cls, obj: Any, /) -> Self:
        """An instance made from a dict of columns."""
        ...


class Sql(NamedTuple):
    """A part of a statement: constant text, and its parameters' values."""

    text: str
    params: tuple[Value, ...] = ()


T = TypeVar("T", bound=Model)
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present time in UTC."""
    return datetime.now(UTC)


def time_text(time: datetime) -> str:
    """`time` as stored text: UTC, always 27 characters, so that text order is time order.

    Raises `InvalidValue` for a time without a zone, and for one out of range.
    """
    if time.tzinfo is UTC:
        # Without the offset `+00:00`.
        return time.isoformat(timespec="microseconds")[:-6] + "Z"
    if time.tzinfo is None:
        raise InvalidValue("a time can't be stored without a time zone")
    try:
        utc = time.astimezone(UTC)
    except OverflowError:
        raise InvalidValue("a time can't be stored: it is out of range") from None
    # isoformat() is twice as fast as strftime(), and pads years before 1000.
    return utc.isoformat(timespec="microseconds").replace("+00:00", "Z")


class TableAccess:
    """The base of all repositories: SQL over the pool or a transaction, and a clock."""

    db: Executor

    def __init__(
        self, db_manager: DatabaseManager | None = None, *, clock: Clock = utc_now
    ) -> None:
        manager = db_manager if db_manager is not None else get_database_manager()
        self.clock = clock
        self.db = manager.async_pool

    def using(self, executor: Executor) -> Self:
        """The same repository, working inside `executor`, which is usually a transaction."""
        # Called for each repository in each unit of work. `copy.copy` takes ten times as long.
        bound = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound.db = executor
        return bound

    def now(self) -> str:
        """The clock's time as stored text; in a transaction the time of its first change."""
        return self.db.time(self._read_clock)

    def _read_clock(self) -> str:
        return time_text(self.clock())


class BaseRepository(TableAccess, Generic[T]):
    """Rows of one table as models, over the asynchronous pool or a transaction.

    A subclass lists in `writable` the columns that callers may set; other columns in `data` raise
    `InvalidValue`. Methods raise `DatabaseError`, never an exception of the driver.
    """

    writable: ClassVar[frozenset[str]] = frozenset()
    versioned: ClassVar[bool] = True
    """Whether the table has `updated_at` and `version`."""
    defaults: ClassVar[Mapping[str, Value]] = MappingProxyType({"version": 1})
    """The values of the columns that `insert` may leave out, as the schema declares them."""

    def __init__(
        self,
        model_class: type[T],
        table_name: str,
        db_manager: DatabaseManager | None = None,
        *,
        clock: Clock = utc_now,
    ) -> None:
        super().__init__(db_manager, clock=clock)
        self.model_class = model_class
        self._of_row: Callable[[Any], T] = getattr(
            model_class, "of_row", model_class.model_validate
        )
        self.table_name = table_name

    async def create(self, data: Mapping[str, Any]) -> T:
        """Insert a row. Returns the stored row. Raises `IntegrityError` when a constraint refuses
        it."""
        return self.model(await self.add_row(data))

    async def add_row(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The same, but returns the stored columns."""
        [row] = await self.add_rows([data])
        return row

    async def add_rows(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[dict[str, Any]]:
        """The same for several rows, which set the same columns."""
        now = self.now()
        times = {"created_at": now, "updated_at": now} if self.versioned else {"created_at": now}
        return await self.insert_all([self.columns(data) | times for data in rows])

    async def get_by_id(self, id: int) -> T | None:
        """The row with this id, or `None`."""
        row = await self.db.fetch_one(f"SELECT * FROM {self.table_name} WHERE id = ?", (id,))
        return self.model(row) if row is not None else None

    async def update(self, id: int, data: Mapping[str, Any]) -> T | None:
        """Set the columns in `data` and leave the others. Returns the changed row, or `None` if no
        row has this id. Raises `IntegrityError` when a constraint refuses the change."""
        return await self.change(id, data) if data else await self.get_by_id(id)

    async def change(
        self,
        id: int,
        data: Mapping[str, Any],
        *,
        expected: int | None = None,
        where: Sql | None = None,
        computed: Mapping[str, Sql | Value] | None = None,
    ) -> T | None:
        """Set the columns in `data`, and those in `computed`, which clients may not set, if the row
        has the version `expected` and meets `where`. Returns the changed row, one version higher.

        `None` when no row has this id and meets the conditions. Raises `IntegrityError` when a
        constraint refuses the change.
        """
        conditions = ["id = ?"]
        params: list[Value] = [id]
        if expected is not None:
            conditions.append("version = ?")
            params.append(expected)
        if where is not None:
            conditions.append(where.text)
            params.extend(where.params)
        changed = await self.change_where(
            Sql(" AND ".join(conditions), tuple(params)), data, computed=computed
        )
        return changed[0] if changed else None

    async def change_where(
        self,
        where: Sql,
        data: Mapping[str, Any],
        *,
        computed: Mapping[str, Sql | Value] | None = None,
    ) -> Sequence[T]:
        """The same for all rows that meet `where`. Returns the changed rows."""
        return [self.model(row) for row in await self.change_rows(where, data, computed=computed)]

    async def change_rows(
        self,
        where: Sql,
        data: Mapping[str, Any],
        *,
        computed: Mapping[str, Sql | Value] | None = None,
    ) -> Sequence[Row]:
        """The same, but returns the stored columns."""
        columns: dict[str, Sql | Value] = {}
        if data:
            columns.update(self.columns(data))
        if computed:
            columns.update(computed)
        if self.versioned and "updated_at" not in columns:
            columns["updated_at"] = self.now()
        assignments: list[str] = []
        params: list[Value] = []
        for name, value in columns.items():
            if isinstance(value, Sql):
                text, values = value
                assignments.append(f"{name} = {text}")
                params.extend(values)
            else:
                assignments.append(f"{name} = ?")
                params.append(value)
        write = counted_change if self.versioned else _change
        text = write(self.table_name, ", ".join(assignments), where.text)
        return await self.db.execute_returning(f"{text} RETURNING *", (*params, *where.params))

    async def count_from(self, id: int, version: int) -> None:
        """Store a version, from which the next change counts on: for a row whose version was
        changed outside the service."""
        await self.db.execute(
            f"UPDATE {self.table_name} SET version = ? WHERE id = ?", (version, id)
        )

    async def delete(self, id: int) -> bool:
        """Remove the row and the rows that belong to it. Returns whether it existed."""
        return await self.db.execute(f"DELETE FROM {self.table_name} WHERE id = ?", (id,)) > 0

    async def list(self, limit: int = 50, *, before_id: int | None = None) -> Sequence[T]:
        """Up to `limit` rows, newest first; with `before_id`, only rows with lesser ids."""
        if before_id is None:
            rows = await self.db.fetch_all(
                f"SELECT * FROM {self.table_name} ORDER BY id DESC LIMIT ?", (limit,)
            )
        else:
            rows = await self.db.fetch_all(
                f"SELECT * FROM {self.table_name} WHERE id < ? ORDER BY id DESC LIMIT ?",
                (before_id, limit),
            )
        return [self.model(row) for row in rows]

    async def count(self) -> int:
        """The number of rows."""
        row = await self.db.fetch_one(f"SELECT count(*) FROM {self.table_name}")
        return int(row[0]) if row is not None else 0

    async def exists(self, id: int) -> bool:
        """Whether there is a row with this id."""
        row = await self.db.fetch_one(f"SELECT 1 FROM {self.table_name} WHERE id = ?", (id,))
        return row is not None

    # For subclasses

    def model(self, row: Row | Mapping[str, Value]) -> T:
        """The model of a row, also of one that was damaged in the file."""
        return self._of_row(row if type(row) is dict else dict(row))

    def columns(self, data: Mapping[str, Any]) -> dict[str, Value]:
        """`data` as column values. Raises `InvalidValue` for a column that can't be set."""
        if not data.keys() <= self.writable:
            unknown = data.keys() - self.writable
            raise InvalidValue(
                f"{self.table_name} has no settable column {', '.join(sorted(unknown))}"
            )
        return {
            # Most values are such texts, and calling a function takes longer than the look.
            name: value if type(value) is str and "\0" not in value else encode(value)
            for name, value in data.items()
        }

    async def insert(self, columns: Mapping[str, Value]) -> dict[str, Any]:
        """Insert a row with these columns. Returns all columns as they are stored."""
        [row] = await self.insert_all([columns])
        return row

    async def insert_all(self, rows: Sequence[Mapping[str, Value]]) -> Sequence[dict[str, Any]]:
        """Insert a few rows, which have the same columns in the same order. Returns all their
        columns as they are stored."""
        names = tuple(rows[0])
        if any(tuple(row) != names for row in rows):
            raise ValueError("rows that are inserted together must have the same columns")
        # Not RETURNING, for which SQLite fills a temporary table: all values are known.
        ids = await self.db.insert(
            _insertion(self.table_name, names, len(rows)),
            [value for row in rows for value in row.values()],
            len(rows),
        )
        defaults = self.defaults
        return [{**defaults, **row, "id": id} for row, id in zip(rows, ids, strict=True)]


def counted_change(table: str, assignments: str, condition: str) -> str:
    """The statement that changes the rows of a table that meet the condition, and counts it in
    their versions. `assignments` must set `updated_at`. No other statement counts a change."""
    return _change(table, f"version = version + 1, {assignments}", condition)


def _change(table: str, assignments: str, condition: str) -> str:
    return f"UPDATE {table} SET {assignments} WHERE {condition}"


@lru_cache(maxsize=1024)
def _insertion(table: str, columns: tuple[str, ...], rows: int) -> str:
    marks = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([marks] * rows)}"


def encode(value: Any) -> Value:
    """A Python value as a column's value: booleans as 0 or 1, times as text, enumerations by value,
    dicts and lists as JSON. Raises `InvalidValue` for anything else."""
    if type(value) is str:
        if "\0" in value:
            # PostgreSQL can't store NUL in a text.
            raise InvalidValue("a text can't be stored: it has a NUL character")
        return value
    if value is None or type(value) in (int, bytes):
        return value  # type: ignore[no-any-return]
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        # SQLite would store NaN as NULL.
        if not math.isfinite(value):
            raise InvalidValue("a number can't be stored: it is not finite")
        return value
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, Enum):
        return encode(value.value)
    if isinstance(value, (dict, list)):
        return json_text(value)
    raise InvalidValue(f"a {type(value).__name__} can't be stored")


def json_text(value: Any) -> str:
    """A value as stored JSON: see `write_json`.

    Raises `InvalidValue` for values that JSON lacks: infinities, NaN, other Python objects.
    """
    try:
        return write_json(value)
    except (TypeError, ValueError, RecursionError):
        raise InvalidValue("a value can't be stored as JSON") from None
