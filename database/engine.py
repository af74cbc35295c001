"""What every engine offers to the code above it."""

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias

Value: TypeAlias = str | bytes | int | float | None
"""What a statement is given, and what a column holds."""
Params: TypeAlias = Sequence[Value]


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
        """Run a writing statement once for each of `rows`; the number of rows changed in all."""
        ...

    async def execute_returning(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a writing statement that has RETURNING; the rows it returns."""
        ...


class Transaction(Protocol):
    """The executor inside a transaction; statements see what earlier ones changed.

    Of use only within its block: afterwards every method raises `UnitOfWorkError`.
    """

    async def fetch_all(self, sql: str, params: Params = ()) -> list[Row]: ...
    async def fetch_one(self, sql: str, params: Params = ()) -> Row | None: ...
    async def fetch_within(self, sql: str, params: Params, most_bytes: int) -> Row | None: ...
    async def fetch_while(self, sql: str, params: Params, takes: Callable[[Row], bool]) -> None: ...
    async def execute(self, sql: str, params: Params = ()) -> int: ...
    async def execute_many(self, sql: str, rows: Sequence[Params]) -> int: ...
    async def execute_returning(self, sql: str, params: Params = ()) -> list[Row]: ...
