"""What every engine offers to the code above it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Literal, Protocol, TypeAlias

Value: TypeAlias = str | bytes | int | float | None
"""What a statement is given, and what a column holds."""
Params: TypeAlias = Sequence[Value]
JsonKind = Literal["plain", "boolean", "json"]
"""How a column is stored: as it is shown, as 0 or 1, or as JSON text."""


class Row(Protocol):
    """A row of a result: its values by name, or by position in the order of the columns."""

    def __getitem__(self, key: Any, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...
    def keys(self) -> list[str]: ...


unit_of_work: ContextVar[object | None] = ContextVar("strongroom_unit", default=None)
"""The unit of work that runs on this thread, as its engine knows it."""


def in_unit_of_work() -> bool:
    """Whether the caller runs inside a unit of work, on a database thread."""
    return unit_of_work.get() is not None


class Executor(Protocol):
    """What repositories need: the pool offers it, and so does a transaction.

    Every method raises `DatabaseError` and nothing of the driver's.
    """

    @property
    def dialect(self) -> "Dialect":
        """What only the engine knows how to do."""
        ...

    async def fetch_all(self, sql: str, params: Params = ()) -> list[Row]:
        """All rows of a reading statement."""
        ...

    async def fetch_one(self, sql: str, params: Params = ()) -> Row | None:
        """The first row of a reading statement, or `None` when there is none."""
        ...

    async def fetch_within(self, sql: str, params: Params, most_bytes: int) -> Row | None:
        """The first row of a reading statement, or `None` when there is none. Raises `TooLong` as
        soon as any text or row that it reads or makes has more than `most_bytes`."""
        ...

    async def fetch_while(self, sql: str, params: Params, takes: Callable[[Row], bool]) -> None:
        """Give the rows of a reading statement to `takes`, on the thread that reads them, until it
        refuses one: what comes after that one is not read."""
        ...

    async def execute(self, sql: str, params: Params = ()) -> int:
        """Run a writing statement; the number of rows it inserted, updated or deleted."""
        ...

    async def execute_many(self, sql: str, rows: Sequence[Params]) -> int:
        """Run a writing statement once for each of `rows`; the number of rows changed in all. It
        may take several at a time, so that no two rows of an upsert have the same key."""
        ...

    async def insert(self, sql: str, params: Params, rows: int) -> Sequence[int]:
        """Run an INSERT of so many rows into a table that gives them their ids; the ids, in the
        order of the rows."""
        ...

    async def execute_returning(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a writing statement that has RETURNING; the rows it returns."""
        ...


class Transaction(Protocol):
    """The executor inside a transaction; statements see what earlier ones changed.

    Of use only within its block: afterwards every method raises `UnitOfWorkError`.
    """

    @property
    def dialect(self) -> "Dialect": ...
    async def fetch_all(self, sql: str, params: Params = ()) -> list[Row]: ...
    async def fetch_one(self, sql: str, params: Params = ()) -> Row | None: ...
    async def fetch_within(self, sql: str, params: Params, most_bytes: int) -> Row | None: ...
    async def fetch_while(self, sql: str, params: Params, takes: Callable[[Row], bool]) -> None: ...
    async def execute(self, sql: str, params: Params = ()) -> int: ...
    async def execute_many(self, sql: str, rows: Sequence[Params]) -> int: ...
    async def insert(self, sql: str, params: Params, rows: int) -> Sequence[int]: ...
    async def execute_returning(self, sql: str, params: Params = ()) -> list[Row]: ...


class Dialect(Protocol):
    """What repositories leave to the engine, because each does it in its own way.

    Every method raises what its executor raises.
    """

    async def fetch_json_page(
        self,
        executor: Executor,
        select: str,
        params: Params,
        *,
        members: Mapping[str, JsonKind],
        keys: Sequence[str],
        large: Sequence[str],
        limit: int,
        most_bytes: int,
    ) -> tuple[list[bytes], tuple[Value, ...] | None]:
        """The first `limit` rows of `select`, each as a JSON object in UTF-8 with `members`, and
        the `keys` of the last one if there are more rows, else `None`.

        All objects together have at most `most_bytes`, unless there is only one; what is read is
        not much more. `large` are the columns that may have many kilobytes. `select` is ordered
        and takes at least one row more than `limit`, if there is one.
        """
        ...

    def utf8(self, column: str) -> str:
        """The expression that gives the text of `column` as bytes in UTF-8. For large texts that
        are only passed on: bytes are copied, but a string has to be decoded and encoded again."""
        ...

    def text_index(self, name: str, source: str, text: str, labels: str) -> "TextIndex":
        """The full-text index `name` over two columns of `source`, which has the id of each row
        as `id`: the text that people search, and labels, which are words made of other columns."""
        ...

    async def next_id(self, db: Executor, table: str) -> int:
        """An id for a new row of `table` that no row has had; the same one until a row has it."""
        ...


class TextIndex(Protocol):
    """Finds the rows of a table that have all of some words and labels, newest first.

    Every change has to be told in the transaction that changes the rows: new ones after they were
    inserted, others before they are deleted.
    """

    async def add(self, db: Executor, ids: Sequence[int]) -> None:
        """Index the rows with these ids, none of which is indexed yet."""
        ...

    async def remove(self, db: Executor, ids: Sequence[int]) -> None:
        """Take the rows with these ids out of the index; all must be in it."""
        ...

    async def tidy(self, db: Executor, *, begin: bool) -> bool:
        """Do a part of what frees the room that removed rows leave in the index; whether more is
        to be done. The first call of a round has to `begin` it."""
        ...

    async def check(self, db: Executor) -> bool:
        """Whether the index holds exactly what the rows say; reads all of both."""
        ...

    def joined(self, table: str, alias: str) -> tuple[str, str]:
        """What to select from for rows of `table`, called `alias`, that `matching` finds; and the
        expression of their ids, by which they are to be ordered."""
        ...

    def matching(
        self, words: Sequence[str], labels: Iterable[Sequence[str]]
    ) -> tuple[str, tuple[Value, ...]]:
        """The condition, and its parameters, for rows that have all of `words` in their text, and
        of each group of `labels` one. There must be some word or label; words are data."""
        ...
